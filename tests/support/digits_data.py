"""Real digits of 8 by 8 pixels, for techniques that train: the data, a task, its score, a short training, a program."""

from collections.abc import Iterator
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

PIXELS, LABELS = (torch.tensor(part) for part in load_digits(return_X_y=True))
IMAGES = (PIXELS.float().reshape(-1, 1, 8, 8) - 8) / 8
ORDER = torch.randperm(len(LABELS), generator=torch.Generator().manual_seed(0))
TRAIN, TEST = ORDER[:1200], ORDER[1200:]
EXAMPLE = (torch.zeros(1, 1, 8, 8),)


class Batches:
    """Shuffled anew each epoch."""

    def __init__(self, size: int = 32) -> None:
        self.size = size

    def __iter__(self) -> Iterator[Any]:
        for chosen in torch.randperm(len(TRAIN)).split(self.size):
            yield IMAGES[TRAIN[chosen]], LABELS[TRAIN[chosen]]


def top1(predict: Any) -> float:
    return float((np.asarray(predict(IMAGES[TEST].numpy())).argmax(1) == LABELS[TEST].numpy()).mean())


def task_of(net: Any, batches: Any = None, unlabelled: Any = None, **changed: Any) -> ek.Task:
    training = ek.Training(
        batches=Batches() if batches is None else batches, loss=F.cross_entropy, unlabelled=unlabelled
    )
    given = {
        "name": "digits", "model": net, "example_inputs": EXAMPLE, "metric": top1, "training": training,
    }  # fmt: skip
    return ek.Task(**{**given, **changed})


def taught(net: nn.Module, epochs: int = 12, rate: float = 1e-2) -> nn.Module:
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=rate)
    for _ in range(epochs):
        for x, y in Batches():
            optimizer.zero_grad()
            F.cross_entropy(net(x), y).backward()
            optimizer.step()
    return net.eval()


def saved(net: nn.Module, path: Path) -> str:
    """Writes the net's prepared program."""
    graph = torch.export.export(net.eval(), EXAMPLE).module()
    programs.save(torch.export.export(prepare_graph(graph), EXAMPLE), path)
    return str(path)


def candidate_of(
    net: nn.Module, path: Path, *steps: Step, precision: Any = "float32", quant: Quant | None = None
) -> Candidate:
    recipe = Recipe(name="t", precision=precision, steps=steps)
    return Candidate(program=saved(net, path), recipe=recipe, quant=quant)


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


def metric(candidate: Candidate) -> float:
    return top1(predictor(programs.load(candidate.program).module()))
