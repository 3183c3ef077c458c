"""The reference preprocessing beside Pillow's resize and arithmetic written down."""

import numpy as np
import pytest

from edgekit.errors import UserError
from edgekit.package import image
from edgekit.records import Preprocessing

PHOTO = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [(16, 20), (80, 90), (37, 20), (50, 53)])
def test_resizing_is_pillows(mode: str, size: tuple[int, int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    wanted = pillow.fromarray(PHOTO).resize(size[::-1], getattr(pillow.Resampling, mode.upper()))
    found = image.resized(PHOTO, Preprocessing(resize=size, resize_mode=mode))  # type: ignore[arg-type]
    assert np.abs(found.astype(int) - np.asarray(wanted).astype(int)).max() <= 1


def test_without_antialias_a_pixel_is_made_of_two_neighbours() -> None:
    line = np.array([0, 0, 0, 100, 200, 0, 0, 0], np.uint8).reshape(1, 8, 1)
    found = image.resized(line, Preprocessing(resize=(1, 2), antialias=False))
    assert found.ravel().tolist() == [0, 0]  # centres 2.0 and 6.0: pixels 1, 2 and 5, 6
    # with it: triangles of 4 pixels to each side, cut at the border: weights 5 7 7 5 3 1 of 28 on pixels 0 to 5, mirrored
    wanted = [round((5 * 100 + 3 * 200) / 28), round((3 * 100 + 5 * 200) / 28)]
    assert image.resized(line, Preprocessing(resize=(1, 2))).ravel().tolist() == wanted


def test_shorter_side_then_the_centre() -> None:
    asked = Preprocessing(resize=20, crop=(20, 20))
    assert image.resized(PHOTO, asked).shape == (20, 28, 3)
    assert image.tensor_of(PHOTO, asked).shape == (1, 3, 20, 20)
    with pytest.raises(ValueError, match="cannot cut 40 x 20"):
        image.tensor_of(PHOTO, Preprocessing(crop=(40, 20)))


def test_mean_std_scale_colour_and_layout() -> None:
    pixel = np.array([[[255, 0, 51]]], np.uint8)
    rgb = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 0.1), layout="NHWC")
    np.testing.assert_allclose(image.tensor_of(pixel, rgb).ravel(), [1.0, -0.5, 2.0], rtol=1e-6)
    bgr = Preprocessing(mean=(100.0,), std=(2.0,), scale=1.0, color_order="BGR")
    found = image.tensor_of(pixel, bgr)
    assert found.shape == (1, 3, 1, 1) and found.ravel().tolist() == [-24.5, -50.0, 77.5]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_the_image_of_a_tensor_is_the_image(layout: str, order: str) -> None:
    asked = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), layout=layout, color_order=order)  # type: ignore[arg-type]
    assert (image.image_of(image.tensor_of(PHOTO, asked), asked) == PHOTO).all()


@pytest.mark.parametrize("wrong", [{"resize": 0}, {"crop": (0, 3)}, {"std": (0.0,)}, {"scale": float("nan")}])
def test_what_no_app_can_do_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(UserError, match="preprocessing"):
        Preprocessing(**wrong)  # type: ignore[arg-type]
