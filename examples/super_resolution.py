"""Super-resolution: small pictures in, pictures of twice the side out, judged by the PSNR to the true large ones.

    edgekit export examples/super_resolution.py:task --target all -o out

The net is ESPCN's (Shi et al. 2016, arXiv 1609.05158): convolutions at the small size, then a pixel shuffle, added to the enlarged
picture itself. Pictures are drawn: edges, stripes and blobs, so that there is something to sharpen. All sizes are fixed here; say
`--set free=true` for an ONNX file that takes pictures of any size.
"""

from collections.abc import Callable, Iterator
from functools import cache, partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

SMALL, SCALE, BATCH = 32, 2, 16


def picture(random: np.random.RandomState) -> np.ndarray:
    """[3, 2 * SMALL, 2 * SMALL] in [0, 1]"""
    side = SCALE * SMALL
    rows, columns = np.mgrid[:side, :side] / side
    found = np.tile(random.uniform(0.2, 0.8, (3, 1, 1)), (1, side, side))
    for _ in range(6):
        angle, colour = random.uniform(0, np.pi), random.uniform(0, 1, (3, 1, 1))
        along = np.cos(angle) * rows + np.sin(angle) * columns - random.uniform(0, 1)
        kind = random.randint(3)
        if kind == 0:
            shape = along > 0
        elif kind == 1:
            shape = np.sin(along * random.uniform(20, 80)) > 0
        else:
            y, x = random.uniform(0, 1, 2)
            shape = (rows - y) ** 2 + (columns - x) ** 2 < random.uniform(0.05, 0.3) ** 2
        found = np.where(shape, 0.5 * found + 0.5 * colour, found)
    return np.clip(found, 0, 1).astype(np.float32)


@cache
def pairs(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Small pictures and large ones."""
    random = np.random.RandomState(seed)
    large = torch.from_numpy(np.stack([picture(random) for _ in range(count)]))
    return F.avg_pool2d(large, SCALE), large


class Enlarger(nn.Module):
    """[N, 3, H, W] -> [N, 3, 2 H, 2 W]."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 5, padding=2), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 3 * SCALE**2, 3, padding=1),
        )  # fmt: skip
        self.shuffle = nn.PixelShuffle(SCALE)

    def forward(self, small: torch.Tensor) -> torch.Tensor:
        plain = small.repeat_interleave(SCALE**2, 1)  # each pixel four times: nearest, once shuffled
        return self.shuffle(plain + self.body(small))


def train(steps: int, seed: int) -> nn.Module:
    """Trains a fresh net on pairs."""
    small, large = pairs(400, seed + 10)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Enlarger().train()
        optimizer = torch.optim.AdamW(model.parameters())
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
        for _ in range(steps):
            chosen = torch.randint(len(small), (BATCH,))
            optimizer.zero_grad()
            F.l1_loss(model(small[chosen]), large[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


class Sharpness:
    """The mean PSNR over held-out pictures, in dB."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, predict: Callable[[np.ndarray], np.ndarray]) -> float:
        small, large = (side.numpy() for side in pairs(self.count, self.seed))
        got = np.concatenate(
            [np.asarray(predict(part)) for part in np.split(small, range(BATCH, self.count, BATCH))]
        )
        error = np.square(np.clip(got, 0, 1) - large).mean((1, 2, 3))
        return float(-10 * np.log10(error).mean())


class Small:
    """Small pictures, to calibrate."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(pairs(self.count, self.seed)[0].split(BATCH))


def task(steps: int = 250, seed: int = 0, samples: int = 48, free: bool = False) -> ek.Task:
    """The task; the metric is in dB, so that a budget of max_drop=0.3 allows 0.3 dB."""
    axes = {2: ek.Dim("height", min=8, max=128), 3: ek.Dim("width", min=8, max=128)}
    return ek.Task(
        name="super-resolution",
        model=partial(train, steps, seed),
        example_inputs=(torch.zeros(1, 3, SMALL, SMALL),),
        calibration=Small(64, seed + 1),
        metric=Sharpness(samples, seed + 2),
        preprocessing=ek.Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), layout="NCHW"),
        dynamic={"small": {0: "batch", **axes}} if free else None,
    )
