"""Tables: numbers and categories of a customer in, the chance of an order out; each category is an embedding.

    edgekit export examples/tabular.py:task --target all -o out

The net is the plain one of Guo and Berkhahn 2016 (arXiv 1604.06737): embeddings of the categories beside normalised numbers, then two linear
layers. Inputs have names and types of their own, `numbers` float and `categories` whole numbers, in every format. The table is
made: the chance depends on products of both, so that neither alone will do. The metric is the area under the ROC curve.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

NUMBERS, SIZES, WIDTH, BATCH = 8, (40, 12, 7, 200), 8, 128
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


@cache
def rows(count: int, seed: int) -> Rows:
    """Numbers [count, 8], categories [count, 4] and truth [count]."""
    world, random = np.random.RandomState(0), np.random.RandomState(seed)
    tastes = [world.standard_normal((size, NUMBERS)) for size in SIZES]
    numbers = random.standard_normal((count, NUMBERS)) * 2 + 1
    categories = np.stack([random.randint(size, size=count) for size in SIZES], 1)
    score = sum((taste[categories[:, i]] * np.tanh(numbers)).sum(1) for i, taste in enumerate(tastes))
    truth = score + random.standard_normal(count) > 0
    return numbers.astype(np.float32), categories.astype(np.int64), truth


class Net(nn.Module):
    """(numbers [N, 8], categories [N, 4]) -> {"order": chance [N]}."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(size, WIDTH) for size in SIZES)
        self.norm = nn.BatchNorm1d(NUMBERS)
        self.layers = nn.Sequential(
            nn.Linear(NUMBERS + WIDTH * len(SIZES), 128),
            nn.ReLU(),
            nn.Linear(128, 64),
            nn.ReLU(),
            nn.Linear(64, 1),
        )

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> dict[str, torch.Tensor]:
        known = [table(categories[:, i]) for i, table in enumerate(self.tables)]
        return {"order": torch.sigmoid(self.layers(torch.cat([self.norm(numbers), *known], 1))[:, 0])}


def loss(answer: dict[str, torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
    """The cross entropy of the chance."""
    return F.binary_cross_entropy(answer["order"], truth)


def train(steps: int, seed: int) -> nn.Module:
    """Trains a fresh net."""
    numbers, categories, truth = map(torch.from_numpy, rows(20000, seed + 10))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Net().train()
        optimizer = torch.optim.AdamW(model.parameters(), 4e-3, weight_decay=1e-2)
        for _ in range(steps):
            chosen = torch.randint(len(truth), (BATCH,))
            optimizer.zero_grad()
            loss(model(numbers[chosen], categories[chosen]), truth[chosen].float()).backward()
            optimizer.step()
    return model.eval()


class Area:
    """The area under the ROC curve over held-out rows."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, predict: Callable[..., Any]) -> float:
        numbers, categories, truth = rows(self.count, self.seed)
        parts = [slice(i, i + BATCH) for i in range(0, self.count, BATCH)]
        scores = np.concatenate([np.asarray(predict(numbers[p], categories[p])["order"]) for p in parts])
        ranks, hits = scores.argsort().argsort() + 1, int(truth.sum())
        return float((ranks[truth].sum() - hits * (hits + 1) / 2) / (hits * (len(truth) - hits)))


class Table:
    """Rows to calibrate by name, or to train with their truth."""

    def __init__(self, count: int, seed: int, labelled: bool = False) -> None:
        self.count, self.seed, self.labelled = count, seed, labelled

    def __iter__(self) -> Iterator[Any]:
        for numbers, categories, truth in zip(
            *(torch.from_numpy(a).split(BATCH) for a in rows(self.count, self.seed)), strict=True
        ):
            inputs = {"numbers": numbers, "categories": categories}
            yield (inputs, truth.float()) if self.labelled else inputs


def task(steps: int = 1500, seed: int = 0, samples: int = 2000) -> ek.Task:
    """The task; `samples` rows in the metric."""
    return ek.Task(
        name="tabular",
        model=partial(train, steps, seed),
        example_inputs={
            "numbers": torch.zeros(1, NUMBERS),
            "categories": torch.zeros(1, len(SIZES), dtype=torch.int64),
        },
        calibration=Table(512, seed + 1),
        metric=Area(samples, seed + 2),
        training=ek.Training(batches=Table(5000, seed + 10, labelled=True), loss=loss),
    )
