"""The task of benchmarks/pretrained_distillation.py: the transformer of examples/text.py, few of whose training texts have labels."""

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import edgekit as ek

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
import text

WIDTH, HEADS = 64, 2


class Texts:
    """Shuffled batches of the training texts from `first` to `last` - 1; without labels tokens alone."""

    def __init__(self, csv: str, first: int, last: int | None, labelled: bool) -> None:
        self.csv, self.first, self.last, self.labelled = csv, first, last, labelled

    def __iter__(self) -> Iterator[Any]:
        data = text.texts(self.csv)
        tokens, classes = (part[self.first : self.last] for part in (data.tokens, data.classes))
        for chosen in torch.randperm(len(tokens)).split(text.BATCH):
            yield (tokens[chosen], classes[chosen]) if self.labelled else tokens[chosen]


def task(csv: str = "", weights: str = "", labels: int = 500) -> ek.Task:
    """labels: how many training texts have one; the others come as unlabelled."""
    training = ek.Training(
        batches=Texts(csv, 0, labels, True), loss=F.cross_entropy, unlabelled=Texts(csv, labels, None, False)
    )
    return dataclasses.replace(text.transformer(csv, weights), training=training)


class Compact(text.Transformer):
    """One layer of two heads, half as wide."""

    def __init__(self, words: int, classes: int) -> None:
        nn.Module.__init__(self)
        self.embedding = nn.Embedding(words, WIDTH, padding_idx=text.PADDING)
        self.position = nn.Parameter(torch.randn(text.LENGTH, WIDTH) * 0.02)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(WIDTH, classes)


def compact(csv: str = "", seed: int = 0) -> nn.Module:
    """A student that was never trained."""
    torch.manual_seed(seed)
    data = text.texts(csv)
    return Compact(len(data.words), data.labels)
