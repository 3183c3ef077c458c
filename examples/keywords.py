"""Keyword spotting with its front end in the model: half a second of sound in, a word out, nothing to compute in the app.

    edgekit export examples/keywords.py:task --target all -o out

The front end is a short-time Fourier transform as one convolution with fixed sines and cosines, powers of eight bands an octave or so,
and their logarithm: plain operators, which every target has, where `torch.stft` needs complex numbers. Behind it stands a net of
depthwise convolutions (Zhang et al. 2017, "Hello Edge", arXiv 1711.07128).

The words are made: each is three syllables, a syllable is a voiced buzz through two resonances, as vowels are (Klatt 1980, doi
10.1121/1.383940), at a pitch, pace and place of its own each time, in noise. Class 0 is none of the words.
"""

import math
from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

RATE, SAMPLES = 8000, 4000
WINDOW, HOP, BANDS = 256, 80, 24
VOWELS = ((300, 2300), (700, 1200), (350, 800), (550, 1800))  # Hz of two resonances
WORDS = ((0, 1, 2), (2, 1, 0), (3, 0, 1), (1, 3, 3), (2, 2, 3), (0, 3, 0))
CLASSES = len(WORDS) + 1
BATCH = 32


def sound(random: np.random.RandomState) -> tuple[np.ndarray, int]:
    """(wave [SAMPLES] in [-1, 1], class)"""
    kind = random.randint(CLASSES)
    vowels = WORDS[kind - 1] if kind else tuple(random.randint(len(VOWELS), size=3))
    if not kind and vowels in WORDS:
        kind = WORDS.index(vowels) + 1
    length = random.randint(700, 1100)
    pitch = random.uniform(90, 220)
    wave = np.zeros(SAMPLES)
    start = random.randint(0, SAMPLES - 3 * length)
    for number, vowel in enumerate(vowels):
        part = slice(start + number * length, start + (number + 1) * length)
        wave[part] = _syllable(VOWELS[vowel], length, pitch * random.uniform(0.95, 1.05), random)
    wave += random.uniform(0.01, 0.15) * random.standard_normal(SAMPLES)
    return (wave / np.abs(wave).max() * random.uniform(0.3, 1.0)).astype(np.float32), kind


def _syllable(
    formants: tuple[int, int], length: int, pitch: float, random: np.random.RandomState
) -> np.ndarray:
    time = np.arange(length) / RATE
    found = np.zeros(length)
    for harmonic in range(1, int(RATE / 2 / pitch)):
        hertz = harmonic * pitch
        gain = sum(1 / (1 + ((hertz - f * random.uniform(0.97, 1.03)) / 90) ** 2) for f in formants)
        found += gain * np.sin(2 * np.pi * hertz * time + random.uniform(0, 2 * np.pi))
    return found * np.hanning(length)


@cache
def sounds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Waves [count, SAMPLES] and classes [count]."""
    random = np.random.RandomState(seed)
    waves, kinds = zip(*(sound(random) for _ in range(count)), strict=True)
    return np.stack(waves), np.array(kinds)


class FrontEnd(nn.Module):
    """[N, SAMPLES] -> [N, BANDS, frames]: the logarithm of the power in each band."""

    def __init__(self) -> None:
        super().__init__()
        bins, time = torch.arange(WINDOW // 2), torch.arange(WINDOW)
        angle = 2 * math.pi * bins[:, None] * time / WINDOW
        window = torch.hann_window(WINDOW)
        self.register_buffer("waves", (torch.cat([angle.cos(), angle.sin()]) * window)[:, None])
        edges = torch.from_numpy(np.geomspace(2, WINDOW // 2, BANDS + 2)).float()
        low, mid, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
        bank = torch.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)).clamp(min=0)
        self.register_buffer("bank", bank[..., None])

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        parts = F.conv1d(wave[:, None], self.waves, stride=HOP)
        half = WINDOW // 2
        power = parts[:, :half] ** 2 + parts[:, half:] ** 2
        return (F.conv1d(power, self.bank) + 1e-3).log()


class Spotter(nn.Module):
    """[N, SAMPLES] -> logits [N, CLASSES]."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.front, self.norm = FrontEnd(), nn.BatchNorm1d(BANDS)
        layers: list[nn.Module] = [
            nn.Conv1d(BANDS, width, 5, 2, 2, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
        ]
        for _ in range(3):
            layers += [
                nn.Conv1d(width, width, 9, 1, 4, groups=width, bias=False),
                nn.BatchNorm1d(width),
                nn.ReLU(),
            ]
            layers += [nn.Conv1d(width, width, 1, bias=False), nn.BatchNorm1d(width), nn.ReLU()]
        self.trunk, self.head = nn.Sequential(*layers), nn.Linear(width, CLASSES)

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        return self.head(self.trunk(self.norm(self.front(wave))).mean(2))


def train(steps: int, seed: int) -> nn.Module:
    """Trains a fresh net: AdamW, one cycle of the learning rate."""
    waves, kinds = map(torch.from_numpy, sounds(1500, seed + 10))
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Spotter().train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(waves), (BATCH,))
            optimizer.zero_grad()
            F.cross_entropy(model(waves[chosen]), kinds[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


class Accuracy:
    """The share of held-out sounds that get their class."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        waves, kinds = sounds(self.count, self.seed)
        said = [np.asarray(predict(part)).argmax(1) for part in np.split(waves, range(50, self.count, 50))]
        return float((np.concatenate(said) == kinds).mean())


class Sounds:
    """Batches to calibrate, or with their classes to train."""

    def __init__(self, count: int, seed: int, labelled: bool = False) -> None:
        self.count, self.seed, self.labelled = count, seed, labelled

    def __iter__(self) -> Iterator[torch.Tensor | tuple[torch.Tensor, torch.Tensor]]:
        waves, kinds = map(torch.from_numpy, sounds(self.count, self.seed))
        pairs = zip(waves.split(BATCH), kinds.split(BATCH), strict=True)
        return (pair if self.labelled else pair[0] for pair in pairs)


def task(steps: int = 400, seed: int = 0, samples: int = 300) -> ek.Task:
    """The task; `steps` of training, `samples` in the metric."""
    return ek.Task(
        name="keywords",
        model=partial(train, steps, seed),
        example_inputs=(torch.zeros(1, SAMPLES),),
        calibration=Sounds(128, seed + 1),
        metric=Accuracy(samples, seed + 2),
        training=ek.Training(batches=Sounds(1500, seed + 10, labelled=True), loss=F.cross_entropy),
    )
