"""Layouts of an image's axes."""

from collections.abc import Sequence


def permutation(source: str, target: str) -> list[int]:
    """Which axis of the source becomes each axis of the target: "NHWC" to "NCHW" is [0, 3, 1, 2]."""
    return [source.index(axis) for axis in target]


def permuted(shape: Sequence[int], source: str, target: str) -> tuple[int, ...]:
    """A shape in another layout."""
    return tuple(shape[axis] for axis in permutation(source, target))
