"""Zeros in a small net of real digits: how many, where, and whether they stay."""

import contextlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from digits_data import Batches, figures, metric
from onnx import numpy_helper
from sparse_digits import INT8, made, share_of_zeros, task, weights
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context, ExportSpec
from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.export import _stage
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.records import Candidate
from edgekit.sparse.sparsity_schedule import Gradual
from edgekit.techniques import ptq, qat, sparsify

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return made(tmp_path_factory.mktemp("float"))


def apply(candidate: Candidate, work: Path, the_task: Any = None, seed: int = 0, **options: Any) -> Candidate:
    chosen = sparsify.Options(**{"images": 0, **options})
    return sparsify.apply(candidate, the_task or task(), chosen, Context(work=str(work), seed=seed))


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize("sparsity", [0.3, 0.8])
def test_the_share_of_zeros_is_what_was_asked(candidate, tmp_path, sparsity, scope) -> None:
    done = apply(candidate, tmp_path, sparsity=sparsity, scope=scope)
    layers = weights(done)
    count = sum(w.numel() for w in layers.values())
    if scope == "global":
        assert sum(int((w == 0).sum()) for w in layers.values()) == round(sparsity * count)
    else:
        assert all(int((w == 0).sum()) == round(sparsity * w.numel()) for w in layers.values())
    before = weights(candidate)
    assert all(torch.equal(w[w != 0], before[name][w != 0]) for name, w in layers.items()), "the rest stays"
    found = figures(done)
    assert found["zeros of all layers"] == pytest.approx(share_of_zeros(done))
    assert found["metric after"] == pytest.approx(metric(done)) and "images trained" not in found
    assert not any(torch.signbit(w[w == 0]).any() for w in layers.values()), "zeros are all the same bits"


def test_two_of_four_in_every_group(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, pattern="2:4", images=320, learning_rate=1e-3)
    layers = weights(done)
    sparse = {"point.0.weight", "hidden.weight", "head.weight"}
    for name, w in layers.items():
        if name in sparse:
            groups = (w.movedim(1, -1).reshape(-1, 4) != 0).sum(1)
            assert (groups == 2).all()
        else:
            assert (w != 0).all(), "one input channel makes no group of four"
    found = figures(done)
    assert (found["layers made sparse"], found["layers left dense"]) == (3, 2)
    assert found["zeros of the sparse layers"] == 0.5


def test_blocks_live_and_die_together(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, pattern="4x1", sparsity=0.6)
    layers = weights(done)
    assert (layers["head.weight"] != 0).all(), "10 outputs make no blocks of four"
    alive = torch.cat(
        [(w != 0).unflatten(0, (-1, 4)).sum(1).flatten() for n, w in layers.items() if n != "head.weight"]
    )
    assert set(alive.tolist()) == {0, 4} and int((alive == 0).sum()) == round(0.6 * len(alive))


def test_an_output_without_weights_is_a_doubt(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, sparsity=0.9, scope="layer")
    (doubt,) = done.doubts
    assert "1 of the 10 outputs of head are the same for every input" in doubt


def test_the_cubic_schedule_is_followed(candidate, tmp_path, monkeypatch) -> None:
    seen = []
    original = Gradual.__call__

    def watch(self: Gradual, progress: float) -> None:
        original(self, progress)
        masked = sum(int((~m.kept).sum()) for m in self._masks.masks)
        seen.append((progress, masked / sum(m.kept.numel() for m in self._masks.masks)))

    monkeypatch.setattr(Gradual, "__call__", watch)
    done = apply(
        candidate,
        tmp_path,
        schedule="gradual",
        sparsity=0.6,
        begin=0.1,
        end=0.5,
        images=3200,
        learning_rate=1e-2,
    )
    for progress, share in seen:
        t = int(50 * min(1, max(0, (progress - 0.1) / 0.4))) / 50
        assert share == pytest.approx(0.6 * (1 - (1 - t) ** 3), abs=1e-3)
    assert seen[0][1] == 0 and len({share for _, share in seen}) > 20
    assert share_of_zeros(done) == pytest.approx(0.6, abs=1e-3)
    assert figures(done)["metric after"] > 0.85


def test_training_wins_back_what_the_zeros_cost(candidate, tmp_path) -> None:
    cut = apply(candidate, tmp_path / "cut", sparsity=0.6)
    tuned = apply(candidate, tmp_path / "tuned", sparsity=0.6, images=3200, learning_rate=1e-2)
    assert metric(cut) < metric(candidate) - 0.05 < metric(tuned)
    assert share_of_zeros(tuned) == share_of_zeros(cut) and not (tmp_path / "tuned" / "checkpoint").exists()
    assert all(
        torch.equal(a == 0, b == 0)
        for a, b in zip(weights(cut).values(), weights(tuned).values(), strict=True)
    )


def test_movement_takes_other_weights(candidate, tmp_path) -> None:
    options = {
        "schedule": "gradual",
        "sparsity": 0.5,
        "images": 4800,
        "learning_rate": 1e-2,
        "alpha": 1.0,
        "begin": 0.2,
    }
    moved = apply(candidate, tmp_path / "a", criterion="movement", **options)
    small = apply(candidate, tmp_path / "b", **options)
    assert share_of_zeros(moved) == pytest.approx(0.5, abs=1e-3)
    first, second = (torch.cat([(w == 0).flatten() for w in weights(c).values()]) for c in (moved, small))
    assert (first != second).float().mean() > 0.05
    assert metric(moved) > 0.3, "above chance, 0.1; magnitude is better on so small a net"


@pytest.mark.parametrize("criterion", ["magnitude", "movement"])
def test_a_killed_stage_goes_on(candidate, tmp_path, monkeypatch, criterion) -> None:
    options = {
        "schedule": "gradual",
        "sparsity": 0.7,
        "images": 640,
        "learning_rate": 1e-3,
        "criterion": criterion,
    }
    calls = 0
    original = Gradual.__call__

    def kill(self: Gradual, progress: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise KeyboardInterrupt
        original(self, progress)

    whole = apply(candidate, tmp_path / "a", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Gradual, "__call__", kill)
        apply(candidate, tmp_path / "b", **options)
    assert list((tmp_path / "b" / "checkpoint").glob("step-*"))
    resumed = apply(candidate, tmp_path / "b", **options)
    one, other = (programs.load(c.program).state_dict for c in (whole, resumed))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(UserError, match="no layer is called 'hiden'; did you mean 'hidden'"):
        apply(candidate, tmp_path, ignore="hiden")
    with pytest.raises(
        NotApplicable, match=r"makes all of layer '[a-z]+\.0' .* zero; allowed here is at most 0\.\d+"
    ):
        apply(candidate, tmp_path, sparsity=0.999)
    with pytest.raises(NotApplicable, match="pattern 1:7 divides none"):
        apply(candidate, tmp_path, pattern="1:7", sparsity=6 / 7)
    with pytest.raises(UserError, match="leave out all 5"):
        apply(candidate, tmp_path, ignore="first,depth,point,hidden,head")
    with pytest.raises(TaskError, match="need Training"):
        apply(candidate, tmp_path, task(training=None), schedule="gradual", images=100)
    for options, message in (
        ({"pattern": "2/4"}, "pattern '2/4' is unknown; allowed are"),
        ({"pattern": "4:2"}, "pattern '4:2' is unknown"),
        ({"pattern": "1:4"}, "pattern 1:4 has 0.75, give that"),
        ({"sparsity": 1.0}, "sparsity is 1.0; allowed: above 0, below 1"),
        ({"begin": 0.8}, "from 0.8 to 0.7; it must rise"),
        ({"images": -1}, "images is -1"),
        ({"alpha": 2}, "alpha is 2; allowed: at least 0, at most 1"),
        ({"criterion": "movement"}, "give schedule=gradual"),
    ):
        with pytest.raises(UserError, match=message):
            sparsify.Options(**options)
    assert not (tmp_path / "program.pt2").exists()


def test_without_training_data_it_cuts_alone(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, task(training=None, calibration=None), images=10_000)
    assert "images trained" not in figures(done) and share_of_zeros(done) == 0.5


def test_layers_left_out_stay_dense(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, sparsity=0.8, ignore="depth, hidden", keep="both")
    dense = {name for name, w in weights(done).items() if (w != 0).all()}
    assert dense == {"first.0.weight", "depth.0.weight", "hidden.weight", "head.weight"}


def test_its_own_loss_is_used(candidate, tmp_path) -> None:
    """alpha 1: the task's loss alone, no teacher."""
    seen = []

    def loss(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(len(labels))
        return F.cross_entropy(outputs, labels)

    the_task = task(training=ek.Training(batches=Batches(), loss=loss))
    apply(candidate, tmp_path, the_task, images=64, learning_rate=1e-3, alpha=1.0)
    assert sum(seen) >= 64


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """2:4 where it fits, with 8-bit weights to come."""
    folder = tmp_path_factory.mktemp("half")
    return apply(made(folder, quant=INT8), folder / "sparse", pattern="2:4")


def integers(candidate: Candidate) -> dict[str, torch.Tensor]:
    """Stored integer weights, in the order of the layers."""
    folded = programs.fold_weights(programs.load(candidate.program)).state_dict
    return {name: t for name, t in folded.items() if t.dtype == torch.int8 and t.dim() > 1}


def zeros(layers: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    return [w == 0 for w in layers.values()]


def technique(name: str, candidate: Candidate, work: Path, **options: Any) -> Candidate:
    module = {"ptq": ptq, "qat": qat}[name]
    return module.apply(candidate, task(), module.Options(**options), Context(work=str(work), seed=0))


@pytest.mark.parametrize(
    ("name", "options"),
    [("ptq", {}), ("ptq", {"equalize": "on"}), ("qat", {"images": 320, "learning_rate": 1e-3})],
)
def test_integers_keep_the_zeros(half, tmp_path, name, options) -> None:
    done = technique(name, half, tmp_path, **options)
    before, after = zeros(weights(half)), zeros(integers(done))
    assert len(before) == len(after) == 5 and not done.doubts
    shapes = {tuple(mask.shape): mask for mask in after}
    assert all(shapes[tuple(mask.shape)][mask].all() for mask in before), "a zero stays a zero"


def test_rounding_that_moves_zeros_is_a_doubt(tmp_path) -> None:
    sparse = apply(
        made(tmp_path, quant=INT8), tmp_path / "sparse", sparsity=0.6, images=640, learning_rate=1e-2
    )
    done = technique("ptq", sparse, tmp_path, rounding="gptq")
    moved = "weights not rounded to nearest" in figures(done)
    assert done.doubts == ((ptq.FILLED,) if moved else ()) and moved


@pytest.mark.parametrize("name", ["x86-server", "tflite-int8"])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_files_hold_the_zeros(half, tmp_path, name, precision) -> None:
    target = load_target(name)
    done = technique("ptq", half, tmp_path) if precision == "int8" else half
    recipe = msgspec.structs.replace(done.recipe, precision=precision)
    done = msgspec.structs.replace(done, recipe=recipe)
    spec = ExportSpec(candidate=done, target=target, folder=str(tmp_path / "out"))
    artifact = _stage.export(spec)
    stored = sum(int((w == 0).sum()) for w in tensors_of(Path(artifact.path)))
    assert stored >= sum(int(mask.sum()) for mask in zeros(weights(half)))
    assert set(artifact.compressed_bytes) == {"gzip", "zstd"}


def tensors_of(path: Path) -> list[Any]:
    """Stored weights of rank 2 and more."""
    if path.suffix == ".onnx":
        return [a for t in onnx.load(path).graph.initializer if (a := numpy_helper.to_array(t)).ndim > 1]
    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    constant = []
    for detail in interpreter.get_tensor_details():
        if len(detail["shape"]) > 1 and detail["dtype"] in (np.float32, np.int8):
            with contextlib.suppress(ValueError):
                constant.append(interpreter.get_tensor(detail["index"]))
    return constant
