"""edgekit.metrics beside figures worked out by hand; without torchmetrics one sentence says what to install."""

import importlib.util

import numpy as np
import pytest

from edgekit import metrics
from edgekit.errors import MissingRuntime, UserError

HERE = (
    importlib.util.find_spec("torchmetrics") is not None
    and importlib.util.find_spec("pycocotools") is not None
)
needed = pytest.mark.skipif(not HERE, reason="the extra `metrics` is not installed")

BOX = np.array([[0, 0, 10, 10]])


def image(*boxes: list[float], scores: list[float] | None = None) -> dict[str, np.ndarray]:
    found = {"boxes": np.array(boxes, np.float32), "labels": np.zeros(len(boxes), np.int64)}
    return found if scores is None else found | {"scores": np.array(scores, np.float32)}


@needed
def test_average_precision() -> None:
    true = [image([0, 0, 10, 10], [20, 20, 40, 40])]
    assert metrics.mean_average_precision(
        [image([0, 0, 10, 10], [20, 20, 40, 40], scores=[0.9, 0.8])], true
    ) == pytest.approx(1, abs=1e-3)
    half = [image([0, 0, 10, 10], scores=[0.9])]
    assert metrics.mean_average_precision(half, true, iou=0.5) == pytest.approx(0.5, abs=0.01)
    shifted = [image([0, 0, 10, 8.3], [20, 20, 40, 36.6], scores=[0.9, 0.8])]  # 0.83 of the union
    assert metrics.mean_average_precision(shifted, true) == pytest.approx(0.7, abs=0.01)
    none = [image(scores=[])]
    assert metrics.mean_average_precision(none, true) == 0


@needed
def test_masks_images_and_text() -> None:
    true = np.array([[[0, 0, 1, 1]]])
    assert metrics.mean_iou(np.array([[[0, 1, 1, 1]]]), true, 2) == pytest.approx((1 / 2 + 2 / 3) / 2)
    x = np.full((2, 1, 4, 4), 0.5, np.float32)
    assert metrics.psnr(x + 0.1, x) == pytest.approx(20, abs=1e-3)
    assert metrics.words_right(["the cat sat"], ["the cat sits"]) == pytest.approx(2 / 3)
    assert metrics.characters_right(["cat"], ["car"]) == pytest.approx(2 / 3)


@pytest.mark.skipif(HERE, reason="the extra is installed")
def test_without_the_extra() -> None:
    with pytest.raises(MissingRuntime, match=r'pip install "edgekit\[metrics\]"'):
        metrics.psnr(np.zeros((1, 1, 2, 2)), np.zeros((1, 1, 2, 2)))


def test_other_numbers_of_images() -> None:
    with pytest.raises(UserError, match="2 images were answered, 1 are known"):
        metrics.mean_average_precision([{}, {}], [{}])
