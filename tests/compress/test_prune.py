"""Structured pruning of a small net on real digits, from a candidate's program to a smaller program."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parents[1] / "prune"))

import nets

import edgekit as ek
from edgekit.compress import prune
from edgekit.quant import program as programs
from edgekit.records import Candidate, Recipe
from edgekit.specs import Context
from edgekit.target import load_target
from edgekit.trace import export

PIXELS, LABELS = (torch.tensor(part) for part in load_digits(return_X_y=True))
IMAGES = (PIXELS.float().reshape(-1, 1, 8, 8) - 8) / 8
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = ORDER[:1200], ORDER[1200:]
EXAMPLE = (torch.zeros(1, 1, 8, 8),)


class Batches:
    def __iter__(self) -> Any:
        for chosen in torch.randperm(len(TRAIN)).split(32):
            yield IMAGES[TRAIN[chosen]], LABELS[TRAIN[chosen]]


def top1(predict: Any) -> float:
    return float((np.asarray(predict(IMAGES[TEST].numpy())).argmax(1) == LABELS[TEST].numpy()).mean())


def build() -> nn.Module:
    return nets.Residual(width=16)


def trained(net: nn.Module, epochs: int, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=3e-3)
    for _ in range(epochs):
        for x, y in Batches():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return trained(build(), 4)


def candidate_of(net: nn.Module, folder: Path) -> Candidate:
    programs.save(export(net, EXAMPLE), folder / "float.pt2")
    recipe = Recipe(name="t", precision="float32", steps=())
    return Candidate(program=str(folder / "float.pt2"), recipe=recipe)


@pytest.fixture(scope="module")
def candidate(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return candidate_of(model, tmp_path_factory.mktemp("float"))


def task(**changed: Any) -> ek.Task:
    given = {
        "name": "digits",
        "model": build,
        "example_inputs": EXAMPLE,
        "metric": top1,
        "training": ek.Training(batches=Batches(), loss=F.cross_entropy),
    }
    return ek.Task(**{**given, **changed})


def apply(candidate: Candidate, work: Path, the_task: ek.Task | None = None, **options: Any) -> Candidate:
    context = Context(work=str(work), target=load_target("x86-server"))
    return prune.apply(candidate, the_task or task(), prune.Options(**options), context)


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


def run(candidate: Candidate, x: torch.Tensor) -> torch.Tensor:
    graph = programs.load(candidate.program).module()
    with torch.no_grad():
        return torch.cat([graph(x[i : i + 1]) for i in range(len(x))])


def test_the_program_is_smaller_and_recalibrating_helps(candidate, tmp_path) -> None:
    done = apply(candidate, tmp_path)
    found = figures(done)
    assert done.program == str(tmp_path / "program.pt2") and done.unpruned == candidate.program
    assert found["MACs kept"] == pytest.approx(0.5, abs=0.15) and found["MACs kept"] == pytest.approx(
        found["MACs"] / found["MACs before"]
    )
    weights = programs.load(done.program).state_dict
    assert sum(t.numel() for n, t in weights.items() if t.is_floating_point()) < 0.7 * 20_000
    widths = [t.shape[0] for n, t in weights.items() if t.dim() == 4]
    assert all(width % 8 == 0 for width in widths)
    assert found["metric pruned"] > found["metric before recalibration"]
    assert found["metric pruned"] == pytest.approx(
        top1(lambda x: run(done, torch.tensor(x)).numpy()), abs=1e-6
    )
    assert {figure.step for figure in done.figures} == {"prune"} and found["images of recalibration"] == 512
