"""A small net trained on real digits, for techniques that make weights zero or few."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Quant, Recipe, Step
from edgekit.techniques._score import predictor

INT8 = Quant(activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False)
PIXELS, LABELS = (torch.tensor(part) for part in load_digits(return_X_y=True))
IMAGES = (PIXELS.float().reshape(-1, 1, 8, 8) - 8) / 8
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = ORDER[:1200], ORDER[1200:]


class Batches:
    def __iter__(self) -> Iterator[Any]:
        for chosen in torch.randperm(len(TRAIN)).split(32):
            yield IMAGES[TRAIN[chosen]], LABELS[TRAIN[chosen]]


class Net(nn.Module):
    """Norms, a depthwise convolution, a linear layer; every kind of weight a pattern may meet."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.depth = nn.Sequential(nn.Conv2d(16, 16, 3, groups=16), nn.BatchNorm2d(16), nn.ReLU())
        self.point = nn.Sequential(nn.Conv2d(16, 32, 1), nn.BatchNorm2d(32), nn.ReLU())
        self.hidden, self.head = nn.Linear(32, 24), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(self.point(self.depth(self.first(x))), 1)
        return self.head(F.relu(self.hidden(x.view(x.shape[0], -1))))


def top1(predict: Any) -> float:
    return float((np.asarray(predict(IMAGES[TEST].numpy())).argmax(1) == LABELS[TEST].numpy()).mean())


def trained(epochs: int = 12) -> nn.Module:
    torch.manual_seed(0)
    net = Net().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(epochs):
        for x, y in Batches():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


@cache
def model() -> nn.Module:
    return trained()


def made(folder: Path, *steps: Step, precision: Any = "float32", quant: Quant | None = None) -> Candidate:
    """The trained net as a candidate with the steps of a recipe."""
    x = torch.randn(1, 1, 8, 8)
    program = torch.export.export(prepare_graph(torch.export.export(model(), (x,)).module()), (x,))
    path = folder / "float.pt2"
    programs.save(program, path)
    return Candidate(
        program=str(path), recipe=Recipe(name="t", precision=precision, steps=steps), quant=quant
    )


def task(**changed: Any) -> ek.Task:
    given = {
        "name": "digits",
        "model": Net,
        "example_inputs": (torch.zeros(1, 1, 8, 8),),
        "metric": top1,
        "calibration": [IMAGES[TRAIN[:64]]],
        "training": ek.Training(batches=Batches(), loss=F.cross_entropy),
    }
    return ek.Task(**{**given, **changed})


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


def metric(candidate: Candidate) -> float:
    return top1(predictor(programs.load(candidate.program).module()))


def weights(candidate: Candidate) -> dict[str, torch.Tensor]:
    """The stored weights of convolutions and linear layers by dotted name."""
    state = programs.load(candidate.program).state_dict
    return {name: tensor for name, tensor in state.items() if name.endswith("weight") and tensor.dim() > 1}


def share_of_zeros(candidate: Candidate) -> float:
    found = list(weights(candidate).values())
    return sum(int((w == 0).sum()) for w in found) / sum(w.numel() for w in found)
