"""Generated Java and JavaScript beside the Python that is the reference: tensors equal within one level of a pixel."""

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from generated_code import member_of, run_java, run_node

from edgekit.engine.task_reference import attribute
from edgekit.package.bundle.golden_image import level_of
from edgekit.package.image import tensor_of
from edgekit.records import Preprocessing

pytestmark = pytest.mark.long

RUNNERS = {"java": run_java, "node": run_node}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CASES: dict[str, dict[str, Any]] = {
    "imagenet": {"mean": MEAN, "std": STD, "resize": 26, "crop": (22, 24)},
    "bicubic_bgr": {"mean": MEAN, "std": STD, "resize": (22, 24), "resize_mode": "bicubic", "color_order": "BGR", "layout": "NHWC"},
    "plain": {"mean": (127.5,), "std": (127.5,), "scale": 1.0, "resize": (22, 24), "antialias": False},
    "nearest": {"resize": (22, 24), "resize_mode": "nearest"},
}  # fmt: skip


def photos(count: int, channels: int = 3) -> list[np.ndarray]:
    """Smooth scenes with noise, of many sizes, some smaller than the model's input."""
    rng, made = np.random.default_rng(7), []
    for _ in range(count):
        h, w = rng.integers(20, 90, 2)
        y, x = np.mgrid[:h, :w]
        waves = [np.sin(x / rng.uniform(2, 20) + y / rng.uniform(2, 20)) for _ in range(channels)]
        scene = 127 + 90 * np.stack(waves, 2) + rng.normal(0, 25, (h, w, channels))
        made.append(scene.clip(0, 255).astype(np.uint8))
    return made


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.parametrize("case", CASES)
def test_generated_code_makes_the_tensor_of_python(case: str, runner: str, tmp_path: Path) -> None:
    asked = Preprocessing(**CASES[case])
    shape = (1, 3, 22, 24) if asked.layout == "NCHW" else (1, 22, 24, 3)
    assert _worst(RUNNERS[runner], asked, shape, photos(12), tmp_path) <= 1.0


@pytest.mark.parametrize("runner", RUNNERS)
def test_grey(runner: str, tmp_path: Path) -> None:
    asked = Preprocessing(mean=(0.5,), std=(0.5,), resize=(22, 24))
    assert _worst(RUNNERS[runner], asked, (1, 1, 22, 24), photos(5, 1), tmp_path) <= 1.0


@pytest.mark.parametrize("planted", [{"color_order": "BGR"}, {"mean": (0.5, 0.5, 0.5)}, {"resize": 28}])
def test_a_planted_mistake_is_seen(planted: dict[str, Any], tmp_path: Path) -> None:
    """What the test above would say of an app that does something else."""
    asked, wrong = (Preprocessing(**{**CASES["imagenet"], **change}) for change in ({}, planted))
    got = run_node(member_of(tmp_path / "export", wrong, (1, 3, 22, 24)), photos(3), tmp_path / "code")
    for image, tensor in zip(photos(3), got, strict=True):
        assert np.abs(tensor - tensor_of(image, asked).ravel()).max() > level_of(asked)


@pytest.mark.data
@pytest.mark.parametrize("runner", RUNNERS)
def test_fifty_photos(runner: str, tmp_path: Path) -> None:
    """The tensors, and what EfficientNet-Lite0 sees in them."""
    image = pytest.importorskip("PIL.Image")
    with tarfile.open(os.environ["EDGEKIT_DATA"]) as archive:
        members = [m for m in archive if m.name.lower().endswith((".jpg", ".jpeg", ".png", ".webp"))][:50]
        read = [archive.extractfile(member).read() for member in members]  # type: ignore[union-attr]
    assert len(read) == 50
    images = [np.asarray(image.open(io.BytesIO(data)).convert("RGB")) for data in read]
    asked = Preprocessing(mean=(0.5,), std=(0.5,), resize=256, crop=(224, 224))
    shape = (1, 3, 224, 224)
    got = RUNNERS[runner](member_of(tmp_path / "export", asked, shape), images, tmp_path / "code")
    wanted = [tensor_of(image, asked) for image in images]
    assert max(_levels(*pair, asked) for pair in zip(got, wanted, strict=True)) <= 1.0
    model = attribute(f"{Path(__file__).parents[2] / 'examples' / 'imagenet.py'}:build_model")()
    with torch.no_grad():
        ours, theirs = (
            [int(model(torch.from_numpy(each.reshape(shape))).argmax()) for each in side]
            for side in (wanted, got)
        )
    assert theirs == ours and len(set(ours)) > 40


def _worst(
    run: Callable[..., list[np.ndarray]],
    asked: Preprocessing,
    shape: tuple[int, ...],
    images: list[np.ndarray],
    place: Path,
) -> float:
    """The largest difference, in levels of a pixel."""
    got = run(member_of(place / "export", asked, shape), images, place / "code")
    return max(
        _levels(tensor, tensor_of(image, asked), asked) for image, tensor in zip(images, got, strict=True)
    )


def _levels(got: np.ndarray, wanted: np.ndarray, asked: Preprocessing) -> float:
    return float(np.abs(got - wanted.ravel()).max()) / level_of(asked)
