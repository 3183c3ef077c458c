"""Binary layers of a small net on real digits: trained, written as ordinary operators, the same in every runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.compress import binarize
from edgekit.compress._score import predictor
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Recipe
from edgekit.specs import Context

PIXELS, LABELS = (torch.tensor(part) for part in load_digits(return_X_y=True))
IMAGES = (PIXELS.float().reshape(-1, 1, 8, 8) - 8) / 8
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = ORDER[:1200], ORDER[1200:]


class Batches:
    def __iter__(self) -> Any:
        for chosen in torch.randperm(len(TRAIN)).split(32):
            yield IMAGES[TRAIN[chosen]], LABELS[TRAIN[chosen]]


class Net(nn.Module):
    """A first convolution, two middle ones (3x3 and 1x1 with a stride), a depthwise one, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.middle = nn.Sequential(
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.deep = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32))
        self.last = nn.Sequential(nn.Conv2d(32, 32, 1, 2), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.last(self.deep(self.middle(self.first(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


def top1(predict: Any) -> float:
    return float((np.asarray(predict(IMAGES[TEST].numpy())).argmax(1) == LABELS[TEST].numpy()).mean())


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    torch.manual_seed(0)
    net = Net().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(12):
        for x, y in Batches():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    x = torch.randn(1, 1, 8, 8)
    program = torch.export.export(prepare_graph(torch.export.export(net.eval(), (x,)).module()), (x,))
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(program, path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="float32", steps=()))


def task(**changed: Any) -> ek.Task:
    given = {
        "name": "digits",
        "model": Net,
        "example_inputs": (torch.zeros(1, 1, 8, 8),),
        "metric": top1,
        "training": ek.Training(batches=Batches(), loss=F.cross_entropy),
    }
    return ek.Task(**{**given, **changed})


def apply(
    candidate: Candidate, work: Path, the_task: ek.Task | None = None, seed: int = 0, **options: Any
) -> Candidate:
    chosen = binarize.Options(**{"images": 640, **options})
    return binarize.apply(candidate, the_task or task(), chosen, Context(work=str(work), seed=seed))


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


def metric(candidate: Candidate) -> float:
    return top1(predictor(programs.load(candidate.program).module()))


@pytest.fixture(scope="module")
def done(candidate: Candidate, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return apply(candidate, tmp_path_factory.mktemp("binary"), images=6400, learning_rate=3e-3)


def test_it_trains_and_the_program_holds_signs(candidate, done) -> None:
    found = figures(done)
    assert found["binary layers"] == 2 and found["binary weights"] == 16 * 32 * 9 + 32 * 32
    assert found["metric binary"] == pytest.approx(metric(done), abs=0.002)
    print(metric(candidate), metric(done), found)
    for n in programs.calls(programs.load(done.program).graph_module):
        print(n.format_node(), programs.origin(n))
    assert metric(done) > 0.85
