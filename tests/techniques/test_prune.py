"""Structured pruning of a small net on real digits, from a candidate's program to a smaller program."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from digits_data import EXAMPLE, IMAGES, LABELS, TEST, TRAIN, figures, saved, task_of, taught, top1
from distill_students import small
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import ConversionError, NotApplicable, TaskError, UserError
from edgekit.profile.reading import load_target
from edgekit.prune import saved
from edgekit.quant import program as programs
from edgekit.records import Candidate, Quant, Recipe
from edgekit.techniques import prune, ptq
from edgekit.trace.model import export
from edgekit.trace.sources import keras

pytestmark = pytest.mark.long

STUDENTS = Path(__file__).parents[1] / "support" / "distill_students.py"


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class Net(nn.Module):
    def __init__(self, width: int = 24) -> None:
        super().__init__()
        self.stem, self.bn = nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.layer = nn.Sequential(Block(width), Block(width))
        self.head = nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(F.relu(self.bn(self.stem(x)))).mean((2, 3)))


def trained(net: nn.Module, epochs: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return taught(net, epochs, rate=3e-3)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return trained(Net(), 6)


def candidate_of(net: nn.Module, folder: Path) -> Candidate:
    programs.save(export(net, EXAMPLE), folder / "float.pt2")
    recipe = Recipe(name="t", precision="float32", steps=())
    return Candidate(program=str(folder / "float.pt2"), recipe=recipe)


@pytest.fixture(scope="module")
def candidate(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return candidate_of(model, tmp_path_factory.mktemp("float"))


def task(**changed: Any) -> ek.Task:
    return task_of(Net, **changed)


def apply(candidate: Candidate, work: Path, the_task: ek.Task | None = None, **options: Any) -> Candidate:
    context = Context(work=str(work), target=load_target("x86-server"))
    return prune.apply(candidate, the_task or task(), prune.Options(**options), context)


def run(candidate: Candidate, x: torch.Tensor) -> torch.Tensor:
    graph = programs.load(candidate.program).module()
    with torch.no_grad():
        return torch.cat([graph(x[i : i + 1]) for i in range(len(x))])


def test_a_student_that_took_the_place_of_the_model_is_pruned_as_itself(tmp_path) -> None:
    student = trained(small(), 3)
    own = msgspec.structs.replace(candidate_of(student, tmp_path), student=f"{STUDENTS}:small")
    done = apply(own, tmp_path / "pruned", macs=0.6, multiple=2)
    assert 0.4 < figures(done)["MACs kept"] < 0.8
    assert figures(done)["parameters before"] == sum(p.numel() for p in student.parameters())
    again = apply(done, tmp_path / "again", macs=0.7, multiple=2)
    assert figures(again)["parameters"] < figures(done)["parameters"]
    with pytest.raises(ConversionError):
        apply(candidate_of(student, tmp_path), tmp_path / "other")
    with pytest.raises(
        NotApplicable,
        match=r"small\.pt2 is an exported program; give distill the student as file\.py:function",
    ):
        apply(msgspec.structs.replace(own, student="small.pt2"), tmp_path / "none")


def test_the_program_is_smaller_and_recalibrating_helps(candidate, model, tmp_path) -> None:
    done = apply(candidate, tmp_path)
    found = figures(done)
    assert done.program == str(tmp_path / "program.pt2") and done.pruned == str(tmp_path / "pruned")
    assert done.unpruned == candidate.program
    assert found["MACs kept"] == pytest.approx(0.5, abs=0.1)
    assert found["MACs kept"] == pytest.approx(found["MACs"] / found["MACs before"])
    state = programs.load(done.program).state_dict
    weights = sum(p.numel() for name, p in state.items() if name in dict(model.named_parameters()))
    assert weights == found["parameters"] < 0.7 * found["parameters before"]
    assert all(t.shape[0] % 8 == 0 for t in state.values() if t.dim() == 4)
    assert found["metric pruned"] > found["metric before recalibration"]
    assert found["metric pruned"] == pytest.approx(top1(lambda x: run(done, torch.tensor(x)).numpy()))
    assert {figure.step for figure in done.figures} == {"prune"} and found["images of recalibration"] == 512


def test_a_recipe_prunes_what_was_trained_after_it_was_pruned(candidate, tmp_path) -> None:
    """prune > train > prune: the second step finds the module in its first shapes, with the weights of the training."""
    first = apply(candidate, tmp_path / "a", macs=0.7)
    graph = programs.load(first.program).module()
    net = Net()
    saved.rebuild(net, Path(first.pruned))
    net.load_state_dict(graph.state_dict())
    programs.save(export(trained(net, 1), EXAMPLE), tmp_path / "trained.pt2")
    between = msgspec.structs.replace(first, program=str(tmp_path / "trained.pt2"))
    second = apply(between, tmp_path / "b", macs=0.6, multiple=4)
    assert second.unpruned == between.program
    found = [figure.value for figure in second.figures if figure.name == "MACs"]
    assert found[1] / found[0] == pytest.approx(0.6, abs=0.1)
    again = Net()
    told = saved.rebuild(again, Path(second.pruned))
    again.load_state_dict(programs.load(second.program).state_dict)
    x = IMAGES[TEST[:5]]
    assert torch.allclose(again.eval()(x), run(second, x), atol=1e-4)
    earlier = saved.read(Path(first.pruned)).kept
    for root, kept in told.kept.items():
        assert set(kept) <= set(earlier[root]), "channels are numbered as in the task's own module"
        assert len(kept) == again.get_submodule(root).out_channels


def test_the_same_seed_gives_the_same_program(candidate, tmp_path) -> None:
    x = IMAGES[TEST[:3]]
    runs = [run(apply(candidate, tmp_path / name, criterion="taylor", images=64), x) for name in "ab"]
    assert torch.equal(*runs)


def test_the_channels_that_stay_get_early_weights_back(candidate, model, tmp_path) -> None:
    early = tmp_path / "early.safetensors"
    save_file({name: 0.5 * value for name, value in model.state_dict().items()}, str(early))
    options = {"macs": 0.5, "multiple": 4, "recalibrate": 0}
    plain = apply(candidate, tmp_path / "plain", **options)
    back = apply(candidate, tmp_path / "back", rewind=str(early), **options)
    ours, theirs = (programs.load(c.program).state_dict for c in (back, plain))
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.allclose(value, 0.5 * theirs[name]), name
    with pytest.raises(UserError, match=r"of another net than Net: stem\.weight differs"):
        other = tmp_path / "other.safetensors"
        save_file(Net(16).state_dict(), str(other))
        apply(candidate, tmp_path / "other", rewind=str(other), **options)
    with pytest.raises(UserError, match="cannot be read"):
        apply(candidate, tmp_path / "none", rewind=str(tmp_path / "none.safetensors"), **options)


def test_depth_goes_before_width(candidate, tmp_path) -> None:
    """Net has two equal blocks and a narrow rest: half of the depth leaves about half of the MACs."""
    short = apply(candidate, tmp_path / "a", macs=1, depth=0.5)
    assert figures(short)["blocks dropped"] == 1 and figures(short)["channels kept"] == 1
    assert figures(short)["MACs kept"] == pytest.approx(0.51, abs=0.02)
    both = apply(short, tmp_path / "b", macs=0.6)
    told = saved.read(Path(both.pruned))
    assert len(told.dropped) == 1 and "out_channels" in {
        key for changed in told.numbers.values() for key in changed
    }
    again = Net()
    saved.rebuild(again, Path(both.pruned))
    again.load_state_dict(programs.load(both.program).state_dict)
    x = IMAGES[TEST[:5]]
    assert torch.allclose(again.eval()(x), run(both, x), atol=1e-4)
    at_once = figures(apply(candidate, tmp_path / "c", macs=0.3, depth=0.5))
    assert at_once["MACs kept"] == pytest.approx(0.3, abs=0.06) and at_once["blocks dropped"] == 1
    enough = figures(apply(candidate, tmp_path / "d", macs=0.7, depth=0.5))
    assert enough["channels kept"] == 1, "the blocks alone were more than was asked"


@pytest.mark.parametrize("criterion", ["hessian", "shapley", "random"])
def test_criteria_that_need_data(candidate, tmp_path, criterion: str) -> None:
    done = apply(candidate, tmp_path, criterion=criterion, images=64, steps=2, macs=0.6)
    assert ("shapley noise" in figures(done)) == (criterion == "shapley")
    assert figures(done)["MACs kept"] == pytest.approx(0.6, abs=0.1)


def test_calibration_data_recalibrates_where_there_is_no_training(candidate, tmp_path) -> None:
    bare = task(training=None, calibration=[IMAGES[TRAIN[:100]], IMAGES[TRAIN[100:200]]])
    assert figures(apply(candidate, tmp_path, bare))["images of recalibration"] == 200
    with pytest.raises(TaskError, match="neither training nor calibration data; set recalibrate=0"):
        apply(candidate, tmp_path / "b", task(training=None))
    found = figures(apply(candidate, tmp_path / "c", task(training=None), recalibrate=0))
    assert found["images of recalibration"] == 0
    assert found["metric pruned"] == found["metric before recalibration"]


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(ConversionError, match=r"does not fit the model of the task, Net: stem\.weight is"):
        apply(candidate, tmp_path, task(model=lambda: Net(32)))
    with pytest.raises(UserError, match=r"no layer is called 'layer\.2'; did you mean layer\.[01]"):
        apply(candidate, tmp_path, ignore="layer.2, head")
    with pytest.raises(TaskError, match="criterion 'taylor' needs Training"):
        apply(candidate, tmp_path, task(training=None), criterion="taylor")
    bad = ek.Training(batches=[(IMAGES[:4], LABELS[:4] + 20)], loss=F.cross_entropy)
    with pytest.raises(TaskError, match="the model has 10 outputs"):
        apply(candidate, tmp_path, task(training=bad), criterion="taylor")
    for wrong, message in (
        ({"macs": 1.5}, "prune: macs is 1.5; allowed: above 0, at most 1"),
        ({"criterion": "none"}, "criterion is 'none'; allowed: bn_scale, fpgm"),
        ({"multiple": -1}, "multiple is -1; allowed: a whole number, at least 0"),
        ({"images": 0}, "images is 0; allowed: a whole number, at least 1"),
        ({"depth": 0}, "depth is 0; allowed: above 0, at most 1"),
        ({"macs": 1}, "macs and depth are 1, which keeps all of the network"),
    ):
        with pytest.raises(UserError, match=message):
            prune.Options(**wrong)
    assert not (tmp_path / "program.pt2").exists()


def test_a_quantized_program_is_pruned_too_late(candidate, tmp_path) -> None:
    int8 = Quant(
        activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False
    )
    calibrated = task(calibration=[IMAGES[TRAIN[:32]]])
    quantized = ptq.apply(
        msgspec.structs.replace(candidate, quant=int8),
        calibrated,
        ptq.Options(),
        Context(work=str(tmp_path / "q")),
    )
    with pytest.raises(
        ConversionError, match="Prune before steps that rewrite the program, as quantizing does"
    ):
        apply(quantized, tmp_path)


def test_a_keras_model_is_refused(candidate, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(keras, "has_layers", lambda model: True)
    with pytest.raises(NotApplicable, match="pruning needs a torch module"):
        apply(candidate, tmp_path)
