"""From a photo's bytes to the model's input: the one implementation that generated code is compared with.

Resizing is Pillow's: for every pixel of the result a weighted sum of those it covers, columns before rows, rounded to whole
levels after each. Java, TypeScript and Swift say the same in templates; they must agree within one level.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from edgekit.records import Preprocessing


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: np.ndarray) -> np.ndarray:
    a, x = -0.5, np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


FILTERS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
}


def tensor_of(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Does to an image what an app must do.

    Args:
        image: uint8 [H, W, C], colours as RGB.
        preprocessing: What to do.

    Returns:
        float32 [1, C, H, W] or [1, H, W, C], as the preprocessing's layout says.
    """
    pixels = cropped(resized(image, preprocessing), preprocessing)
    if preprocessing.color_order == "BGR":
        pixels = pixels[..., ::-1]
    mean, std = (np.array(v, np.float64) for v in (preprocessing.mean, preprocessing.std))
    values = ((pixels.astype(np.float64) * preprocessing.scale - mean) / std).astype(np.float32)[None]
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2) if preprocessing.layout == "NCHW" else values)


def image_of(tensor: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Finds the image of whole levels that comes nearest to a preprocessed one.

    Args:
        tensor: [1, C, H, W] or [1, H, W, C], as the preprocessing's layout says.
        preprocessing: What made it; its resize and crop are taken as done.

    Returns:
        uint8 [H, W, C], colours as RGB.
    """
    values = tensor[0].transpose(1, 2, 0) if preprocessing.layout == "NCHW" else tensor[0]
    mean, std = (np.array(v, np.float64) for v in (preprocessing.mean, preprocessing.std))
    levels = np.rint((values.astype(np.float64) * std + mean) / preprocessing.scale)
    pixels = np.clip(levels, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels[..., ::-1] if preprocessing.color_order == "BGR" else pixels)


def resized(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Scales uint8 [H, W, C] to the size that the preprocessing says."""
    size = preprocessing.resize
    if size is None:
        return image
    height, width = size if isinstance(size, tuple) else _shorter_side(image.shape, size)
    across = _scaled(image, 1, width, preprocessing)
    return _scaled(across, 0, height, preprocessing)


def cropped(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Cuts the centre out, where the preprocessing says so.

    Raises:
        ValueError: The image is smaller than what is to be cut out.
    """
    if preprocessing.crop is None:
        return image
    height, width = preprocessing.crop
    if image.shape[0] < height or image.shape[1] < width:
        raise ValueError(f"cannot cut {height} x {width} out of {image.shape[0]} x {image.shape[1]} pixels")
    top, left = round((image.shape[0] - height) / 2), round((image.shape[1] - width) / 2)
    return image[top : top + height, left : left + width]


def _shorter_side(shape: Sequence[int], size: int) -> tuple[int, int]:
    height, width = shape[:2]
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _scaled(image: np.ndarray, axis: int, length: int, preprocessing: Preprocessing) -> np.ndarray:
    if image.shape[axis] == length:
        return image
    if preprocessing.resize_mode == "nearest":
        step = image.shape[axis] / length
        return image.take([int((i + 0.5) * step) for i in range(length)], axis)
    table = _weights(image.shape[axis], length, preprocessing.resize_mode, preprocessing.antialias)
    sums = np.moveaxis(np.tensordot(table, image.astype(np.float64), (1, axis)), 0, axis)
    return np.clip(np.floor(sums + 0.5), 0, 255).astype(np.uint8)


def _weights(before: int, after: int, mode: str, antialias: bool) -> np.ndarray:
    """Row i holds what each pixel of a line gives to pixel i of its result."""
    support, kernel = FILTERS[mode]
    step = before / after
    stretch = max(step, 1.0) if antialias else 1.0
    table = np.zeros((after, before))
    for i in range(after):
        centre = (i + 0.5) * step
        low = max(0, math.floor(centre - support * stretch + 0.5))
        high = min(before, math.floor(centre + support * stretch + 0.5))
        row = kernel((np.arange(low, high) + 0.5 - centre) / stretch)
        table[i, low:high] = row / row.sum()
    return table
