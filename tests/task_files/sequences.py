"""Tiny sequence models of random weights, an LSTM and a net with attention: scored by how often float's answer is kept."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

import edgekit as ek

WORDS, LENGTH, WIDTH = 300, 8, 32
TOKENS = np.random.default_rng(0).integers(0, WORDS, (24, LENGTH))


class Recurrent(nn.Module):
    """[N, 8] tokens -> [N, 4]."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.cells = nn.Embedding(WORDS, WIDTH), nn.LSTM(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(self.table(words))
        return self.head(states.amax(1))


class Attentive(nn.Module):
    """The same by one encoder layer that masks word 0 as padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.table(words), src_key_padding_mask=words == 0).mean(1))


def build(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return kind().eval()


def _task(name: str, kind: type[nn.Module]) -> ek.Task:
    with torch.no_grad():
        right = build(kind)(torch.from_numpy(TOKENS)).argmax(1).numpy()

    def agreement(predict: Callable[[np.ndarray], np.ndarray]) -> float:
        return float((np.asarray(predict(TOKENS)).argmax(1) == right).mean())

    return ek.Task(
        name=name,
        model=lambda: build(kind),
        example_inputs=(torch.from_numpy(TOKENS[:1]),),
        calibration=[torch.from_numpy(TOKENS[:8]), torch.from_numpy(TOKENS[8:16])],
        metric=agreement,
    )


def lstm() -> ek.Task:
    return _task("lstm", Recurrent)


def attention() -> ek.Task:
    return _task("attention", Attentive)
