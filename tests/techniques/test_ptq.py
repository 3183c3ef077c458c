"""The technique from file to file, and the two that only mark a precision."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from edgekit.engine.specs import Context
from edgekit.errors import TaskError, UserError
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.quant.simulate import snr_db
from edgekit.records import Candidate, Quant, Recipe
from edgekit.techniques import float32, fp16, ptq

QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    with torch.no_grad():
        norm.train()(torch.randn(8, 8, 4, 4) * 2)
    layers = [nn.Conv2d(3, 8, 3, 2), norm, nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(72, 4)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def candidate(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    x = torch.randn(1, 3, 12, 12)
    program = torch.export.export(prepare_graph(torch.export.export(model, (x,)).module()), (x,))
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(program, path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="int8", steps=()), quant=QUANT)


def batches(count: int, size: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 12, 12, generator=generator) for _ in range(count)]


def apply(candidate: Candidate, calibration: Any, work: Path, **options: Any) -> Candidate:
    task = SimpleNamespace(calibration=calibration, training=None)
    return ptq.apply(candidate, task, ptq.Options(**options), Context(work=str(work)))


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


@pytest.mark.parametrize("estimator", ["mse", "minmax", "percentile", "entropy", "moving_average"])
def test_a_float_program_becomes_a_quantized_one(candidate, model, tmp_path, estimator: str) -> None:
    done = apply(candidate, batches(6, 2), tmp_path, estimator=estimator, batches=4)
    found = figures(done)
    assert done.program == str(tmp_path / "program.pt2") and Path(candidate.program).is_file()
    assert (found["calibration batches"], found["calibration runs"]) == (4, 8)
    assert (found["layers quantized"], found["layers left float"]) == (3, 0)
    assert {figure.unit for figure in done.figures} == {"count", "dB", "s"} and found["seconds"] > 0
    x = torch.cat(batches(16))
    graph_module = programs.load(done.program).module()
    got = torch.cat([graph_module(row[None]) for row in x])
    with torch.no_grad():
        noise = (got - model(x)).square().mean() / model(x).square().mean()
    assert float(noise) < (
        0.2 if estimator == "moving_average" else 10**-2
    )  # the average lags behind eight inputs


def test_weights_are_saved_unfolded(candidate, tmp_path) -> None:
    program = programs.load(apply(candidate, batches(1), tmp_path).program)
    weights = [t for t in program.state_dict.values() if t.dim() > 1]
    assert weights and all(t.dtype == torch.float32 for t in weights)
    assert programs.is_quantized(program)


def test_the_same_calibration_gives_the_same_numbers(candidate, tmp_path) -> None:
    x = batches(1)[0]
    both = [programs.load(apply(candidate, batches(3), tmp_path / n).program).module()(x) for n in ("a", "b")]
    assert torch.equal(*both)


def test_skipped_layers_are_counted_as_float(candidate, tmp_path) -> None:
    found = figures(apply(candidate, batches(1), tmp_path, skip="0, 5"))
    assert (found["layers quantized"], found["layers left float"]) == (1, 2)


def test_nothing_to_quantize_is_a_doubt(candidate, tmp_path) -> None:
    done = apply(candidate, batches(1), tmp_path, skip="0,3,5")
    assert "no layer was quantized" in done.doubts[0]


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "yields no batch"),
        (None, "yields no batch"),
        ([torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 9, 9)], r"batch 1 has shape \[1, 3, 9, 9\]"),
        ([torch.full((1, 3, 12, 12), torch.nan)], "batch 0 holds NaN"),
    ],
)
def test_calibration_errors_leave_no_file(candidate, tmp_path, calibration, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        apply(candidate, calibration, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_option_errors(candidate, tmp_path) -> None:
    with pytest.raises(UserError, match="batches is 0; allowed: a whole number, at least 1"):
        ptq.Options(batches=0)
    with pytest.raises(
        UserError, match="estimator is 'histogram'; allowed: entropy, minmax, moving_average, mse, percentile"
    ):
        apply(candidate, batches(1), tmp_path, estimator="histogram")
    with pytest.raises(UserError, match=r"needs a target with a \[quant\] table"):
        apply(msgspec.structs.replace(candidate, quant=None), batches(1), tmp_path)


@pytest.mark.parametrize(("technique", "bits"), [(fp16, 16), (float32, 32)])
def test_marking_a_precision_changes_no_program(candidate, tmp_path, technique, bits: int) -> None:
    done = technique.apply(candidate, None, technique.Options(), Context(work=str(tmp_path)))
    assert (done.program, figures(done), done.quant) == (candidate.program, {"bits per weight": bits}, None)
    assert list(tmp_path.iterdir()) == []


def row(*layers: nn.Module) -> nn.Module:
    """Layers with channels whose ranges differ a thousandfold."""
    torch.manual_seed(0)
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        model[0].weight.mul_(torch.logspace(-2, 1, model[0].weight.shape[0]).view(-1, 1, 1, 1))
    return model


def saved(model: nn.Module, folder: Path, **quant: Any) -> Candidate:
    x = torch.randn(1, 3, 12, 12)
    program = torch.export.export(prepare_graph(torch.export.export(model, (x,)).module()), (x,))
    programs.save(program, folder / "float.pt2")
    recipe = Recipe(name="t", precision="int8", steps=())
    chosen = msgspec.structs.replace(QUANT, **quant)
    return Candidate(program=str(folder / "float.pt2"), recipe=recipe, quant=chosen)


def smooth(count: int) -> list[torch.Tensor]:
    """Inputs whose neighbouring pixels are alike, as in photos."""
    return [x.cumsum(2).cumsum(3) / 4 for x in batches(count)]


def snr(done: Candidate, model: nn.Module, inputs: list[torch.Tensor]) -> float:
    graph = programs.load(done.program).module()
    with torch.no_grad():
        return snr_db([model(x) for x in inputs], [graph(x) for x in inputs])


def test_equalization_is_kept_where_one_scale_holds_all_channels(tmp_path) -> None:
    model = row(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3))
    candidate = saved(model, tmp_path, granularity="per_tensor")
    got = {}
    for option in ("off", "auto"):
        (tmp_path / option).mkdir()
        got[option] = apply(candidate, batches(20), tmp_path / option, equalize=option)
    found = figures(got["auto"])
    gain = found["output SNR with equalization (kept)"] - found["output SNR without equalization"]
    assert gain > 1 and found["pairs of layers to equalize"] == 1 and found["samples that judged"] == 16
    other = batches(40)[20:]
    assert snr(got["auto"], model, other) > snr(got["off"], model, other) + 1
    assert not any("equaliz" in name for name in figures(got["off"]))


def test_what_does_not_help_is_left_out_and_said(tmp_path) -> None:
    model = row(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU6(), nn.Conv2d(8, 2, 1))
    with torch.no_grad():
        model[2].weight.mul_(
            torch.logspace(1, -2, 8).view(1, -1, 1, 1)
        )  # the second layer evens the first out
    found = figures(apply(saved(model, tmp_path), batches(20), tmp_path, equalize="on"))
    assert found["layers not equalized: hardtanh"] == 1
    words = [name for name in found if name.startswith("output SNR with ")]
    assert sorted(word.partition(" (")[0] for word in words) == [
        "output SNR with bias correction",
        "output SNR with equalization",
    ]
    for word in words:
        name = word.removeprefix("output SNR with ").partition(" (")[0]
        gain = found[word] - found[f"output SNR without {name}"]
        assert word.endswith("(kept)") == (gain >= 0.1)
    kept = [found[word] for word in words if word.endswith("(kept)")]
    assert found["output SNR"] >= max([found["output SNR without bias correction"], *kept]) - 1e-9


def test_gptq_is_nearer_to_float_than_nearest(tmp_path) -> None:
    model = row(nn.Conv2d(3, 8, 3), nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    candidate = saved(model, tmp_path, weight_bits=4)
    got = {}
    for option in ("nearest", "gptq"):
        (tmp_path / option).mkdir()
        got[option] = apply(candidate, smooth(60), tmp_path / option, rounding=option)
    other = smooth(80)[60:]
    assert snr(got["gptq"], model, other) > snr(got["nearest"], model, other) + 1
    found = figures(got["gptq"])
    assert 0 < found["weights not rounded to nearest"] < 1
    assert found["output SNR"] == found["output SNR with gptq rounding (kept)"]
    shapes = [
        {k: v.shape for k, v in programs.load(done.program).state_dict.items()} for done in got.values()
    ]
    assert shapes[0] == shapes[1]


def test_choices_are_closed() -> None:
    with pytest.raises(msgspec.ValidationError, match="Invalid enum value 'adaround'"):
        msgspec.convert({"rounding": "adaround"}, ptq.Options)


def test_batches_that_come_once_leave_the_choices_as_they_were(candidate, tmp_path) -> None:
    found = figures(apply(candidate, iter(batches(4)), tmp_path, rounding="gptq"))
    assert found["calibration batches"] == 4 and not any("SNR" in name for name in found)
