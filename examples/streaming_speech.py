"""Streaming speech: is somebody speaking? 32 ms of sound and a state in, a probability and the next state out.

    edgekit export examples/streaming_speech.py:task --target all -o out

The state of the recurrent layer is an input and an output, and `Task(state={"state_out": "state"})` says so: the metric feeds it back frame
by frame, as an app does, the manifest names it, and parity compares each step with the float model's own.

Speech is made: syllables of `keywords.py` in bursts, at a level of its own, in noise that wanders. The metric is the area under the ROC
curve over all frames.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from keywords import RATE, VOWELS, _syllable
from torch import nn

import edgekit as ek

FRAME, FRAMES, WIDTH = 256, 60, 48


def clip(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """(frames [FRAMES, FRAME], whether each holds speech)"""
    count = FRAMES * FRAME
    wander = np.interp(np.arange(count), np.linspace(0, count, 8), random.uniform(0.02, 0.3, 8))
    wave, speaks = wander * random.standard_normal(count), np.zeros(count)
    at = random.randint(0, RATE // 2)
    while at < count:
        pitch, level = random.uniform(90, 220), random.uniform(0.2, 1.0)
        for _ in range(random.randint(2, 6)):
            length = random.randint(700, 1500)
            if at + length >= count:
                break
            syllable = _syllable(VOWELS[random.randint(len(VOWELS))], length, pitch, random)
            wave[at : at + length] += level * syllable / np.abs(syllable).max()
            speaks[at : at + length] = 1
            at += length
        at += random.randint(RATE // 4, RATE)
    return wave.reshape(FRAMES, FRAME).astype(np.float32), speaks.reshape(FRAMES, FRAME).mean(1) > 0.5


@cache
def clips(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames [count, FRAMES, FRAME] and truth [count, FRAMES]."""
    random = np.random.RandomState(seed)
    waves, truth = zip(*(clip(random) for _ in range(count)), strict=True)
    return np.stack(waves), np.stack(truth)


class Detector(nn.Module):
    """(frame [N, FRAME], state [N, WIDTH]) -> probability [N, 1] and the next state."""

    def __init__(self) -> None:
        super().__init__()
        self.listen = nn.Conv1d(1, 32, 64, 32)
        self.mix, self.cell, self.head = (
            nn.Linear(32 * 7, WIDTH),
            nn.GRUCell(WIDTH, WIDTH),
            nn.Linear(WIDTH, 1),
        )

    def forward(self, frame: torch.Tensor, state: torch.Tensor) -> dict[str, torch.Tensor]:
        heard = F.relu(self.listen(frame[:, None])).flatten(1)
        state = self.cell(F.relu(self.mix(heard)), state)
        return {"speech": torch.sigmoid(self.head(state)), "state_out": state}


def train(steps: int, seed: int) -> nn.Module:
    """Trains through time, half a clip at once."""
    frames, truth = clips(96, seed + 10)
    waves, wanted = torch.from_numpy(frames), torch.from_numpy(truth).float()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Detector().train()
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        for _ in range(steps):
            chosen, start = torch.randint(len(waves), (16,)), int(torch.randint(FRAMES // 2, (1,)))
            state, found = torch.zeros(16, WIDTH), []
            for t in range(start, start + FRAMES // 2):
                answer = model(waves[chosen, t], state)
                state = answer["state_out"]
                found.append(answer["speech"][:, 0])
            right = wanted[chosen, start : start + FRAMES // 2]
            optimizer.zero_grad()
            F.binary_cross_entropy(torch.stack(found, 1), right).backward()
            optimizer.step()
    return model.eval()


class Area:
    """The area under the ROC curve (the chance that a frame of speech scores above one without), the state fed back."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, predict: Callable[..., Any]) -> float:
        waves, truth = clips(self.count, self.seed)
        state, found = np.zeros((self.count, WIDTH), np.float32), []
        for t in range(FRAMES):
            answer = predict(np.ascontiguousarray(waves[:, t]), state)
            state = np.asarray(answer["state_out"])
            found.append(np.asarray(answer["speech"])[:, 0])
        scores, said = np.stack(found, 1).ravel(), truth.ravel()
        ranks = scores.argsort().argsort() + 1
        speech, rest = int(said.sum()), int((~said).sum())
        return float((ranks[said].sum() - speech * (speech + 1) / 2) / (speech * rest))


class Steps:
    """Frames with states that the float model really reaches, one batch a moment, to calibrate."""

    def __init__(self, model: Callable[[], nn.Module], seed: int) -> None:
        self.model, self.seed = model, seed

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        waves, net, state = torch.from_numpy(clips(8, self.seed)[0]), self.model(), torch.zeros(8, WIDTH)
        for t in range(FRAMES):
            if t % 5 == 0:
                yield waves[:, t], state
            with torch.no_grad():
                state = net(waves[:, t], state)["state_out"]


def task(steps: int = 60, seed: int = 0, samples: int = 8) -> ek.Task:
    """The task; `samples` clips in the metric."""
    model = cache(partial(train, steps, seed))
    return ek.Task(
        name="streaming-speech",
        model=model,
        example_inputs=(torch.zeros(1, FRAME), torch.zeros(1, WIDTH)),
        calibration=Steps(model, seed + 1),
        metric=Area(samples, seed + 2),
        state={"state_out": "state"},
    )
