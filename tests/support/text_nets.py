"""Small networks that read made texts: the words of a text are all of one topic, so that some tell the others."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph

LENGTH, TOPICS, EACH = 10, 8, 3  # words: 0 padding, 1 unknown, then EACH of every topic
WORDS = 2 + TOPICS * EACH


def texts(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens [count, LENGTH], 6 to 10 of them words, and the classes: half the topics each."""
    drawn = torch.Generator().manual_seed(seed)
    topics = torch.randint(TOPICS, (count, 1), generator=drawn)
    tokens = 2 + topics * EACH + torch.randint(EACH, (count, LENGTH), generator=drawn)
    real = torch.arange(LENGTH) < torch.randint(6, LENGTH + 1, (count, 1), generator=drawn)
    return torch.where(real, tokens, 0), topics[:, 0] % 2


class Reader(nn.Module):
    """[N, LENGTH] -> [N, 2]: each word's vector beside the mean of all, mixed, and a mean again."""

    def __init__(self, width: int = 12, channels: int = 12, drop: float = 0.1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, width, padding_idx=0)
        self.mix = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.ReLU(), nn.Linear(2 * width, channels))
        self.drop, self.head = nn.Dropout(drop), nn.Linear(channels, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        vectors = self.embedding(tokens)
        mixed = self.mix(torch.cat([vectors, vectors.mean(1, keepdim=True).expand_as(vectors)], -1))
        return self.head(self.drop(mixed.mean(1)))


class Pair(nn.Module):
    """A text and the kind of each word, both looked up, beside a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds = nn.Embedding(WORDS, 6), nn.Embedding(3, 6)
        self.mix, self.head = nn.Linear(6, 6), nn.Linear(10, 2)

    def forward(self, picture: torch.Tensor, text: torch.Tensor, kind: torch.Tensor) -> torch.Tensor:
        mixed = self.mix(self.words(text.to(torch.int64)) + self.kinds(kind))
        return self.head(torch.cat([mixed.mean(1), picture], 1))


class Tagger(nn.Module):
    """[N, LENGTH] -> a class for each word."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix, self.head = (
            nn.Embedding(WORDS, 6),
            nn.LSTM(6, 8, batch_first=True),
            nn.Linear(8, 3),
        )

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.mix(self.embedding(tokens))[0])


def compact(channels: int = 12, drop: float = 0.1) -> nn.Module:
    torch.manual_seed(3)
    return Reader(channels=channels, drop=drop)


def example() -> tuple[torch.Tensor, ...]:
    return (texts(1, 0)[0],)


def graph(net: nn.Module, *inputs: torch.Tensor) -> torch.fx.GraphModule:
    return prepare_graph(torch.export.export(net.eval(), inputs or example()).module())


def saved(net: nn.Module, path: Path, *inputs: torch.Tensor) -> str:
    programs.save(torch.export.export(graph(net, *inputs), inputs or example()), path)
    return str(path)


class Batches:
    """Batches of made texts, shuffled anew each epoch."""

    def __init__(self, count: int = 320, seed: int = 1, labelled: bool = True, size: int = 32) -> None:
        self.tokens, self.classes = texts(count, seed)
        self.labelled, self.size = labelled, size

    def __iter__(self) -> Iterator[Any]:
        for some in torch.randperm(len(self.tokens)).split(self.size):
            yield (self.tokens[some], self.classes[some]) if self.labelled else self.tokens[some]


def accuracy(predict: Callable[[np.ndarray], np.ndarray]) -> float:
    tokens, classes = texts(200, 2)
    return float((np.asarray(predict(tokens.numpy())).argmax(1) == classes.numpy()).mean())


def task(**changed: Any) -> ek.Task:
    given: dict[str, Any] = {
        "name": "topics",
        "model": compact,
        "example_inputs": example(),
        "calibration": [texts(20, 4)[0]],
        "metric": accuracy,
        "training": ek.Training(
            batches=Batches(), loss=F.cross_entropy, unlabelled=Batches(1600, 3, labelled=False)
        ),
    }
    return ek.Task(**{**given, **changed})
