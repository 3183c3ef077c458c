"""Low-rank factorization against arithmetic that can be written down, and on a trained net of real digits."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.quant import program as programs
from edgekit.quant.graph_macs import count
from edgekit.quant.trainable import trainable
from edgekit.records import Candidate, Recipe
from edgekit.techniques import lowrank

pytestmark = pytest.mark.long


class Net(nn.Module):
    """Outputs of rank 8, 16 and 8: three layers that can be two, a depthwise one, a head too small to gain."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(3, 64, 3, 2, 1)
        self.depth = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.point = nn.Conv2d(64, 96, 1)
        self.full = nn.Linear(96, 64)
        self.head = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.point(F.relu(self.depth(F.relu(self.wide(x))))))
        x = F.relu(self.full(F.adaptive_avg_pool2d(x, 1).flatten(1)))
        return self.head(x)


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    torch.manual_seed(0)
    net = Net().eval().requires_grad_(False)
    for layer, rank in ((net.wide, 8), (net.point, 16), (net.full, 8)):
        out = len(layer.weight)
        low = torch.randn(out, rank) @ torch.randn(rank, layer.weight[0].numel())
        layer.weight.copy_(low.reshape(layer.weight.shape) / 20)
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(torch.export.export(net, (torch.zeros(1, 3, 16, 16),)), path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="float32", steps=()))


INPUTS = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def task(**changed: Any) -> ek.Task:
    given = {
        "name": "made",
        "model": Net,
        "example_inputs": (torch.zeros(1, 3, 16, 16),),
        "metric": lambda predict: float(predict(INPUTS[:8].numpy()).mean()),
        "calibration": [INPUTS[:24], INPUTS[24:]],
    }
    return ek.Task(**{**given, **changed})


def apply(candidate: Candidate, work: Path, the_task: ek.Task | None = None, **options: Any) -> Candidate:
    return lowrank.apply(candidate, the_task or task(), lowrank.Options(**options), Context(work=str(work)))


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


def answers(candidate: Candidate) -> torch.Tensor:
    return torch.cat([programs.load(candidate.program).module()(x[None]) for x in INPUTS]).detach()


@pytest.mark.parametrize("batches", [20, 0], ids=["by inputs", "by weights"])
def test_layers_of_low_rank_are_found_and_answer_the_same(batches, candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, energy=1 - 1e-9, batches=batches)
    torch.testing.assert_close(answers(done), answers(candidate), rtol=1e-3, atol=1e-4)
    found = figures(done)
    assert (found["layers looked at"], found["layers factorized"]) == (4, 3)
    program = programs.load(done.program)
    shapes = [tuple(t.shape) for t in program.state_dict.values() if t.dim() > 1]
    assert sorted(shapes) == sorted(
        [
            (8, 3, 3, 3),
            (64, 8, 1, 1),
            (64, 1, 3, 3),
            (16, 64, 1, 1),
            (96, 16, 1, 1),
            (8, 96),
            (64, 8),
            (4, 64),
        ]
    )
    own = (
        64 * 27 * 64 + 96 * 64 * 64 + 96 * 64 + 64 * 4,
        64 * 8 * (27 + 64) + 64 * 16 * 160 + 8 * 160 + 64 * 4,
    )
    assert found["MACs left"] == pytest.approx(own[1] / own[0])
    assert count(program).count == own[1] + 64 * 64 * 9


def test_it_is_the_nearest_pair_on_these_inputs(tmp_path) -> None:
    """Inputs that fill few directions: the weights alone do not show which; 8 of 32 are enough only for who has
    seen them.
    """
    torch.manual_seed(0)
    net = nn.Linear(64, 64).eval()
    inputs = torch.randn(200, 8) @ torch.randn(8, 64) + 3 * torch.randn(64)
    programs.save(torch.export.export(net, (torch.zeros(1, 64),)), tmp_path / "float.pt2")
    candidate = Candidate(
        program=str(tmp_path / "float.pt2"), recipe=Recipe(name="t", precision="float32", steps=())
    )
    the_task = task(calibration=[inputs], metric=lambda predict: float(predict(inputs.numpy()).mean()))
    want, error = net(inputs).detach(), {}
    for batches in (1, 0):
        done = apply(candidate, tmp_path / str(batches), the_task, macs=0.25, batches=batches)
        module = programs.load(done.program).module()
        got = torch.cat([module(x[None]) for x in inputs]).detach()
        error[batches] = float(((got - want) ** 2).mean() / want.var())
    assert error[1] < 1e-6 < 0.2 < error[0], error


def test_macs_that_may_be_left_are_not_exceeded(candidate, tmp_path) -> None:
    left = [figures(apply(candidate, tmp_path, macs=macs))["MACs left"] for macs in (0.35, 0.5, 0.7)]
    assert all(found <= asked for found, asked in zip(left, (0.35, 0.5, 0.7), strict=True))
    assert left[0] <= left[1] <= left[2]
    with pytest.raises(
        NotApplicable, match=r"cannot leave 0\.01 of the multiply-accumulates.*0\.\d\d are left"
    ):
        apply(candidate, tmp_path, macs=0.01)


def test_both_nodes_keep_the_module_and_train(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, energy=0.999)
    graph = programs.load(done.program).module()
    layers = [n for n in programs.calls(graph) if "conv2d" in str(n.target) or "linear" in str(n.target)]
    names = [programs.module_path(node) for node in layers]
    assert names == ["wide", "wide", "depth", "point", "point", "full", "full", "head"]
    model = trainable(graph)
    model(INPUTS[:4]).sum().backward()
    grads = [p.grad for p in model.parameters()]
    assert len(grads) == 13 and all(g is not None and g.abs().sum() > 0 for g in grads)


def test_what_is_skipped_stays_whole(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path, energy=0.999, skip="wide, full")
    assert figures(done)["layers factorized"] == 1
    with pytest.raises(UserError, match="skip names wyde; the model has no such module"):
        apply(candidate, tmp_path, skip="wyde")


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(TaskError, match="calibration"):
        apply(candidate, tmp_path, task(calibration=None))
    with pytest.raises(TaskError, match="calibration batch 0"):
        apply(candidate, tmp_path, task(calibration=[INPUTS[:, :1]]))
    with pytest.raises(UserError, match=r"energy is 1\.5; allowed: at least 0, at most 1"):
        lowrank.Options(energy=1.5)
    with pytest.raises(UserError, match="batches is -1; allowed: a whole number, at least 0"):
        lowrank.Options(batches=-1)
    with pytest.raises(NotApplicable, match="finds no layer that is cheaper as two"):
        apply(candidate, tmp_path, energy=1.0, skip="wide,point,full")
    with pytest.raises(UserError, match="skip leaves out all 4 layers; name fewer"):
        apply(candidate, tmp_path, skip="wide,point,full,head")
    assert not (tmp_path / "program.pt2").exists()


def test_a_network_of_grouped_convolutions_has_nothing_to_factorize(tmp_path) -> None:
    net = nn.Conv2d(3, 6, 3, groups=3).eval()
    programs.save(torch.export.export(net, (torch.zeros(1, 3, 16, 16),)), tmp_path / "float.pt2")
    recipe = Recipe(name="t", precision="float32", steps=())
    with pytest.raises(NotApplicable, match="no linear layer and no convolution without groups"):
        apply(Candidate(program=str(tmp_path / "float.pt2"), recipe=recipe), tmp_path)
