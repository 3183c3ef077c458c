"""Reading a line of figures: a picture of a line in, a row of symbols out, trained and read by CTC.

    edgekit export examples/ocr_line.py:task --target all -o out

Connectionist temporal classification (Graves et al. 2006, doi 10.1145/1143844.1143891) needs no place of each figure: the net answers a
symbol or a blank at each of 24 columns, and repeats and blanks are dropped (CRNN, Shi et al. 2015, arXiv 1507.05717, here of
convolutions alone). The lines are drawn in a font of 5 x 7 points, stretched, slanted, in noise. The metric is one less the
character error rate; artifacts are compared with the float model by the edit distance of what is read, `measures={...: "ctc"}`.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

HEIGHT, WIDTH, COLUMNS, BATCH = 16, 96, 24, 32
FONT = {
    "0": "01110100011001110101110011000101110", "1": "00100011000010000100001000010001110",
    "2": "01110100010000100010001000100011111", "3": "11111000100010000010000011000101110",
    "4": "00010001100101010010111110001000010", "5": "11111100001111000001000011000101110",
    "6": "00110010001000011110100011000101110", "7": "11111000010001000100010000100001000",
    "8": "01110100011000101110100011000101110", "9": "01110100011000101111000010001001100",
    "-": "00000000000000011111000000000000000", ".": "00000000000000000000000000110001100",
}  # fmt: skip
SYMBOLS = "".join(FONT)  # symbol 0 is the blank


def line(random: np.random.RandomState) -> tuple[np.ndarray, list[int]]:
    """(pixels [1, HEIGHT, WIDTH] in [0, 1], symbols from 1)"""
    pixels = np.full((HEIGHT, WIDTH), random.uniform(0, 0.3))
    ink, tall, wide = random.uniform(0.6, 1), random.randint(9, 14), random.randint(6, 10)
    top, left, slant = random.randint(0, HEIGHT - tall), random.randint(0, 8), random.uniform(-0.2, 0.2)
    symbols = list[int]()
    rows = np.arange(tall)
    while left + wide + 4 < WIDTH and len(symbols) < 10:
        number = random.randint(len(SYMBOLS))
        glyph = np.array(list(FONT[SYMBOLS[number]]), int).reshape(7, 5)
        for row in rows:
            shift = left + 2 + round(slant * (tall / 2 - row))
            inked = glyph[row * 7 // tall, np.arange(wide) * 5 // wide] > 0
            pixels[top + row, shift : shift + wide][inked] = ink
        symbols.append(number + 1)
        left += wide + random.randint(2, 4)
    pixels += random.uniform(0.02, 0.12) * random.standard_normal(pixels.shape)
    return np.clip(pixels, 0, 1).astype(np.float32)[None], symbols


@cache
def lines(count: int, seed: int) -> tuple[np.ndarray, list[list[int]]]:
    """Pixels [count, 1, HEIGHT, WIDTH], and the symbols of each."""
    random = np.random.RandomState(seed)
    pixels, symbols = zip(*(line(random) for _ in range(count)), strict=True)
    return np.stack(pixels), list(symbols)


class Reader(nn.Module):
    """[N, 1, 16, 96] -> logits [N, 24, 13]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((1, 24, (2, 2)), (24, 48, (2, 2)), (48, 64, (2, 1)), (64, 64, (1, 1))):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.look = nn.Sequential(*layers, nn.AvgPool2d((2, 1)))
        self.read = nn.Sequential(
            nn.Conv1d(64, 64, 5, padding=2), nn.ReLU(), nn.Conv1d(64, len(SYMBOLS) + 1, 1)
        )

    def forward(self, line: torch.Tensor) -> torch.Tensor:
        return self.read(self.look(line).squeeze(2)).transpose(1, 2)


def train(steps: int, seed: int) -> nn.Module:
    """Trains a fresh net by CTC."""
    pixels, symbols = lines(2000, seed + 10)
    inputs, lengths = torch.from_numpy(pixels), torch.tensor([len(s) for s in symbols])
    wanted = nn.utils.rnn.pad_sequence([torch.tensor(s) for s in symbols], batch_first=True)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Reader().train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=8e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(inputs), (BATCH,))
            chances = model(inputs[chosen]).log_softmax(-1).transpose(0, 1)
            optimizer.zero_grad()
            columns = torch.full((BATCH,), COLUMNS)
            F.ctc_loss(chances, wanted[chosen], columns, lengths[chosen], zero_infinity=True).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def read(logits: np.ndarray) -> list[int]:
    """The symbols of [COLUMNS, 13]: the best of each column, without repeats and blanks."""
    best = logits.argmax(1)
    return [int(s) for i, s in enumerate(best) if s and (i == 0 or s != best[i - 1])]


class Characters:
    """One less the character error rate over held-out lines."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        pixels, symbols = lines(self.count, self.seed)
        found = np.concatenate(
            [np.asarray(predict(p)) for p in np.split(pixels, range(BATCH, self.count, BATCH))]
        )
        wrong = sum(
            ek.metrics.edit_distance(read(logits), right)
            for logits, right in zip(found, symbols, strict=True)
        )
        return 1 - wrong / sum(map(len, symbols))


class Lines:
    """Lines without their symbols, to calibrate."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.from_numpy(lines(self.count, self.seed)[0]).split(BATCH))


def task(steps: int = 400, seed: int = 0, samples: int = 200) -> ek.Task:
    """The task; `samples` lines in the metric."""
    return ek.Task(
        name="ocr-line",
        model=partial(train, steps, seed),
        example_inputs=(torch.zeros(1, 1, HEIGHT, WIDTH),),
        calibration=Lines(128, seed + 1),
        metric=Characters(samples, seed + 2),
        measures={"output_0": "ctc"},
        preprocessing=ek.Preprocessing(mean=(0,), std=(1,), layout="NCHW"),
    )
