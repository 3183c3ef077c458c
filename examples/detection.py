"""Object detection: a small one-stage detector, trained on drawn scenes in about a minute, judged by its mean average precision.

    pip install "edgekit[metrics]"
    edgekit export examples/detection.py:task --target all -o out
    edgekit export examples/detection.py:task --set plain=true --target arm-mobile --recipe ptq -o out-plain

A scene holds discs, squares and triangles of 8 to 28 pixels on noise. The net has one grid of cells, stride 8; a cell answers the box
around an object whose centre lies in it and a score a class, as YOLO (Redmon et al. 2016, arXiv 1506.02640) and FCOS (Tian et al. 2019,
arXiv 1904.01355) do.

What int8 needs of a detector: boxes and scores in outputs of their own. With `plain=true` the net answers one array [N, cells, 4 +
classes], boxes in pixels beside scores of 0 to 1, as many exporters write it. One scale then has steps of a third of a pixel, and the
scores have four values left: ONNX Runtime's own quantizer loses 4.7 points of precision by it, edgekit leaves the join in float
(`benchmarks/one_scale_head.py`). The two forms have the same weights and the same float answers.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek

SIZE, STRIDE, CLASSES = 64, 8, 3  # disc, square, triangle
GRID = SIZE // STRIDE
BATCH, STEPS = 32, 400
KEPT, SCORE_AT, OVERLAP = 20, 0.05, 0.5


def scene(random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pixels [3, SIZE, SIZE] in [0, 1], boxes [K, 4] as corners, classes [K])"""
    pixels = 0.4 + 0.1 * random.standard_normal((3, SIZE, SIZE))
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    boxes, kinds = list[list[float]](), list[int]()
    for _ in range(random.randint(1, 4)):
        radius = random.uniform(4, 14)
        y, x = random.uniform(radius, SIZE - radius, 2)
        if any(abs((b[0] + b[2]) / 2 - x) < radius and abs((b[1] + b[3]) / 2 - y) < radius for b in boxes):
            continue  # one would hide the other
        kind = random.randint(CLASSES)
        colour = random.uniform(0, 1, (3, 1, 1))
        pixels = np.where(_inside(kind, rows - y, columns - x, radius), colour, pixels)
        boxes.append([x - radius, y - radius, x + radius, y + radius])
        kinds.append(kind)
    return np.clip(pixels, 0, 1).astype(np.float32), np.array(boxes, np.float32), np.array(kinds)


def _inside(kind: int, dy: np.ndarray, dx: np.ndarray, radius: float) -> np.ndarray:
    if kind == 0:
        return np.asarray(dy**2 + dx**2 < radius**2)
    if kind == 1:
        return np.asarray(np.maximum(np.abs(dy), np.abs(dx)) < radius)
    return np.asarray((np.abs(dx) < (dy + radius) / 2) & (np.abs(dy) < radius))


@cache
def scenes(count: int, seed: int) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Pixels [count, 3, SIZE, SIZE], and the boxes and classes of each."""
    random = np.random.RandomState(seed)
    pixels, boxes, kinds = zip(*(scene(random) for _ in range(count)), strict=True)
    return np.stack(pixels), list(boxes), list(kinds)


class Detector(nn.Module):
    """[N, 3, 64, 64] -> boxes [N, 64, 4] as corners in pixels, scores [N, 64, 3] of 0 to 1; or both in one array."""

    def __init__(self, plain: bool = False) -> None:
        super().__init__()
        self.plain = plain
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 16, 2), (16, 32, 2), (32, 64, 2), (64, 64, 1), (64, 64, 1)):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers)
        self.score = nn.Conv2d(64, CLASSES, 1)
        self.box = nn.Conv2d(64, 4, 1)
        nn.init.constant_(self.score.bias, -4.0)  # few cells hold an object: focal loss, Lin et al. 2017
        rows, columns = torch.meshgrid(torch.arange(GRID), torch.arange(GRID), indexing="ij")
        centres = (torch.stack([columns, rows], -1).reshape(-1, 2).float() + 0.5) * STRIDE
        self.register_buffer("centres", centres)

    def raw(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits [N, cells, CLASSES] and distances to the four sides [N, cells, 4], in strides, above 0."""
        features = self.trunk(x)
        scores, sides = (head(features).flatten(2).transpose(1, 2) for head in (self.score, self.box))
        return scores, F.relu(sides)

    def forward(self, x: torch.Tensor) -> Any:
        logits, sides = self.raw(x)
        scores, pixels = logits.sigmoid(), sides * STRIDE
        boxes = torch.cat([self.centres - pixels[..., :2], self.centres + pixels[..., 2:]], -1)
        if self.plain:
            return torch.cat([boxes, scores], -1)
        return {"boxes": boxes, "scores": scores}


def _wanted(boxes: list[np.ndarray], kinds: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores [N, cells, CLASSES] and distances [N, cells, 4] in strides, 0 where a cell holds no centre."""
    scores, sides = torch.zeros(len(boxes), GRID**2, CLASSES), torch.zeros(len(boxes), GRID**2, 4)
    for n, (given, classes) in enumerate(zip(boxes, kinds, strict=True)):
        for (x1, y1, x2, y2), kind in zip(given, classes, strict=True):
            column, row = int((x1 + x2) / 2 // STRIDE), int((y1 + y2) / 2 // STRIDE)
            cell, x, y = row * GRID + column, (column + 0.5) * STRIDE, (row + 0.5) * STRIDE
            scores[n, cell, int(kind)] = 1
            sides[n, cell] = torch.tensor([x - x1, y - y1, x2 - x, y2 - y]) / STRIDE
    return scores, sides


def loss(
    logits: torch.Tensor, sides: torch.Tensor, scores: torch.Tensor, right: torch.Tensor
) -> torch.Tensor:
    """Focal loss of the scores, and the distances where an object is."""
    chance = logits.sigmoid()
    error = torch.where(scores > 0, 1 - chance, chance)
    focal = (error**2 * F.binary_cross_entropy_with_logits(logits, scores, reduction="none")).sum()
    held = scores.amax(-1) > 0
    count = held.sum().clamp(min=1)
    return (focal + 2 * F.smooth_l1_loss(sides[held], right[held], reduction="sum")) / count


@cache
def trained(seed: int) -> Mapping[str, torch.Tensor]:
    """The weights after STEPS batches, the same for both forms of the answer."""
    pixels, boxes, kinds = scenes(2000, seed + 10)
    scores, sides = _wanted(boxes, kinds)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        model = Detector().train()
        optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=STEPS)
        for _ in range(STEPS):
            chosen = torch.randint(len(pixels), (BATCH,))
            optimizer.zero_grad()
            loss(*model.raw(torch.from_numpy(pixels)[chosen]), scores[chosen], sides[chosen]).backward()
            optimizer.step()
            schedule.step()
    return model.state_dict()


def build_model(plain: bool, seed: int) -> nn.Module:
    """The trained detector."""
    model = Detector(plain)
    model.load_state_dict(trained(seed))
    return model.eval()


# ------------------------------------------------------------------------------------------------ what an app does


def decoded(boxes: np.ndarray, scores: np.ndarray) -> dict[str, np.ndarray]:
    """The best boxes of one image that do not overlap with a better one of their class (greedy suppression)."""
    pairs = np.argwhere(scores >= SCORE_AT)
    order = pairs[np.argsort(-scores[pairs[:, 0], pairs[:, 1]], kind="stable")]
    kept = list[tuple[int, int]]()
    for cell, kind in order:
        if len(kept) == KEPT:
            break
        if all(k != kind or _overlap(boxes[cell], boxes[c]) < OVERLAP for c, k in kept):
            kept.append((int(cell), int(kind)))
    cells, kinds = [cell for cell, _ in kept], [kind for _, kind in kept]
    return {
        "boxes": boxes[cells].reshape(-1, 4),
        "scores": scores[cells, kinds],
        "labels": np.array(kinds, np.int64),
    }


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    common = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    areas = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()
    return float(common / max(areas - common, 1e-9))


class Precision:
    """The mean average precision (COCO) over held-out scenes."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __call__(self, predict: Callable[[np.ndarray], Any]) -> float:
        pixels, boxes, kinds = scenes(self.count, self.seed)
        found = []
        for first in range(0, self.count, BATCH):
            answer = predict(pixels[first : first + BATCH])
            pair = (
                (answer["boxes"], answer["scores"])
                if isinstance(answer, Mapping)
                else np.split(answer, [4], -1)
            )
            found += [decoded(*each) for each in zip(*map(np.asarray, pair), strict=True)]
        true = [{"boxes": b, "labels": k} for b, k in zip(boxes, kinds, strict=True)]
        return ek.metrics.mean_average_precision(found, true)


class Images:
    """Batches of scenes without their boxes, to calibrate."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed

    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.from_numpy(scenes(self.count, self.seed)[0]).split(8))


def task(plain: bool = False, seed: int = 0, samples: int = 128) -> ek.Task:
    """The task; `plain` for boxes and scores in one array."""
    boxes = ek.Measure(kind="boxes", scores="scores")
    return ek.Task(
        name="detection-plain" if plain else "detection",
        model=partial(build_model, plain, seed),
        example_inputs=(torch.zeros(1, 3, SIZE, SIZE),),
        calibration=Images(64, seed + 1),
        metric=Precision(samples, seed + 2),
        measures={} if plain else {"boxes": boxes},
        preprocessing=ek.Preprocessing(mean=(0, 0, 0), std=(1, 1, 1), layout="NCHW"),
    )
