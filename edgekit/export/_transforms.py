"""Fourier transforms of fixed length as products with stored matrices.

A transform takes one axis after the other; along an axis it is linear in the real and in the imaginary part, so that torch's own
transform of single samples is the matrix. A short-time transform is two convolutions with such matrices as kernels, its inverse one
transposed convolution.
"""

from collections.abc import Callable
from math import prod
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.fx import Node

from edgekit.export._parts import Parts, Writer, parts_of
from edgekit.quant import tensors

ATEN = torch.ops.aten
MOST_NUMBERS = 1 << 22  # of one stored matrix, 16 MB


class Transform(NamedTuple):
    """How an operator is written.

    Attributes:
        fits: Whether it can be, with these arguments.
        write: Writes it before the node, for the parts of its input.
    """

    fits: Callable[[Node], bool]
    write: Callable[[Writer, Node, Any], Any]


# ------------------------------------------------------------------------------------------------ whole signals


class _Step(NamedTuple):
    """A transform along one axis."""

    axis: int
    length: int | None
    transform: Any


def _arguments(node: Node, defaults: dict[str, Any]) -> list[Any]:
    """Lists the arguments after the tensor, by position or by name."""
    given = dict(zip(defaults, node.args[1:], strict=False)) | dict(node.kwargs)
    return list((defaults | given).values())


def _steps(node: Node) -> tuple[list[_Step], Any]:
    """Returns the transforms along single axes, in their order, and the norm."""
    name, rank = node.target._schema.name.removeprefix("aten::fft_"), node.args[0].meta["val"].dim()
    if name[-1] not in "2n":
        length, axis, norm = _arguments(node, {"n": None, "dim": -1, "norm": None})
        return [_Step(axis % rank, length, node.target)], norm
    two = [-2, -1] if name[-1] == "2" else None
    lengths, axes, norm = _arguments(node, {"s": None, "dim": two, "norm": None})
    axes = list(range(rank))[-len(lengths) if lengths else 0 :] if axes is None else axes
    kind = name[:-1]
    inner = {"rfft": ATEN.fft_fft, "irfft": ATEN.fft_ifft}.get(kind, getattr(ATEN, f"fft_{kind}")).default
    sizes = [None if n == -1 else n for n in lengths or [None] * len(axes)]
    found = [_Step(axis % rank, n, inner) for axis, n in zip(axes, sizes, strict=True)]
    found[-1] = found[-1]._replace(transform=getattr(ATEN, f"fft_{kind}").default)
    return (found[::-1] if kind == "rfft" else found), norm  # one of real numbers begins with that axis


def _is_short(node: Node) -> bool:
    shape = node.args[0].meta["val"].shape
    steps, _ = _steps(node)
    fixed = all(isinstance(shape[step.axis], int) for step in steps)
    return fixed and all(shape[s.axis] * max(shape[s.axis], s.length or 0) <= MOST_NUMBERS for s in steps)


def _transformed(write: Writer, node: Node, value: Any) -> Any:
    steps, norm = _steps(node)
    for step in steps:
        value = _along(write, parts_of(value), step, norm)
    return value


def _along(write: Writer, z: Parts, step: _Step, norm: Any) -> Parts:
    rank, length = z.real.meta["val"].dim(), z.real.meta["val"].shape[step.axis]
    last = step.axis == rank - 1
    found = Parts(None, None)
    for part, unit in zip(z, (1, 1j), strict=True):
        if part is None:
            continue
        rows = part if last else write(ATEN.transpose.int, part, step.axis, -1)
        matrix = step.transform(torch.eye(length) * unit, step.length, -1, norm)
        sides = (matrix.real, matrix.imag) if matrix.is_complex() else (matrix, None)
        products = (None if m is None else write(ATEN.matmul.default, rows, write.stored(m)) for m in sides)
        found = Parts(*(write.plus(was, more) for was, more in zip(found, products, strict=True)))
    if last:
        return found
    return Parts(*(None if p is None else write(ATEN.transpose.int, p, step.axis, -1) for p in found))


# ------------------------------------------------------------------------------------------------ frames

_STFT: dict[str, Any] = dict.fromkeys(
    ("n_fft", "hop_length", "win_length", "window", "normalized", "onesided")
)
_ISTFT = dict.fromkeys(("n_fft", "hop_length", "win_length", "window")) | {
    "center": True, "normalized": False, "onesided": None, "length": None, "return_complex": False,
}  # fmt: skip


def _is_fixed(node: Node, window: Any) -> bool:
    shape = node.args[0].meta["val"].shape
    stored = not isinstance(window, Node) or window.op == "get_attr"
    return stored and all(isinstance(size, int) for size in shape)


def _window(write: Writer, given: Any, win_length: int | None, size: int) -> torch.Tensor:
    """Returns the window as torch takes it: as long as a frame."""
    stored = tensors.read(write.graph_module, str(given.target)) if isinstance(given, Node) else given
    window = torch.ones(win_length or size) if stored is None else stored
    before = (size - len(window)) // 2
    return F.pad(window, (before, size - len(window) - before))


def _cut_in_frames(write: Writer, node: Node, signal: Any) -> Parts:
    """Two convolutions, whose kernels are the transforms of single samples."""
    size, hop, length, window, normalized, onesided = _arguments(node, _STFT)[:6]
    held = _window(write, window, length, size)
    unit = torch.eye(size)
    waves = ATEN.stft.default(unit, size, size, size, held, bool(normalized), onesided, True)[:, :, 0].t()
    shape, after = signal.meta["val"].shape, list(node.meta["val"].shape)
    rows = write(ATEN.reshape.default, signal, [prod(shape[:-1]), 1, shape[-1]])
    kernels = (write.stored(side.contiguous()[:, None]) for side in (waves.real, waves.imag))
    found = (write(ATEN.conv1d.default, rows, kernel, None, [hop or size // 4]) for kernel in kernels)
    return Parts(*(write(ATEN.reshape.default, part, after) for part in found))


def _can_be_joined(node: Node) -> bool:
    given = dict(zip(_ISTFT, _arguments(node, _ISTFT), strict=True))
    half = given["n_fft"] // 2 + 1 == node.args[0].meta["val"].shape[-2]
    return (
        _is_fixed(node, given["window"])
        and half
        and given["onesided"] is not False
        and not given["return_complex"]
    )


def _joined(write: Writer, node: Node, z: Parts) -> Node:
    """A transposed convolution of both parts adds the frames; what the windows add up to is divided out."""
    size, hop, win_length, given, center, normalized, *_ = _arguments(node, _ISTFT)
    shape, samples, hop = list(z.real.meta["val"].shape), node.meta["val"].shape[-1], hop or size // 4
    window = _window(write, given, win_length, size)
    half = torch.eye(shape[-2])
    waves = torch.cat(
        [torch.fft.irfft(half * unit, size, -1, "ortho" if normalized else None) for unit in (1, 1j)]
    )
    rows = write(ATEN.cat.default, [z.real, write.imaginary(z)], -2)
    rows = write(ATEN.reshape.default, rows, [prod(shape[:-2]), 2 * shape[-2], shape[-1]])
    kernel = write.stored((waves * window)[:, None])
    whole = write(ATEN.conv_transpose1d.default, rows, kernel, None, [hop])
    sums = F.conv_transpose1d(torch.ones(1, 1, shape[-1]), window.square()[None, None], stride=hop)
    start = size // 2 if center else 0
    end = min(start + samples, sums.shape[-1])
    cut = write(ATEN.slice.Tensor, whole, 2, start, end)
    found = write(ATEN.mul.Tensor, cut, write.stored(1 / sums[..., start:end]))
    if end < start + samples:
        found = write(ATEN.constant_pad_nd.default, found, [0, start + samples - end], 0.0)
    return write(ATEN.reshape.default, found, list(node.meta["val"].shape))


_OF_SIGNALS = Transform(_is_short, _transformed)
_NAMES = (
    "fft",
    "ifft",
    "rfft",
    "irfft",
    "hfft",
    "ihfft",
    "fft2",
    "ifft2",
    "rfft2",
    "irfft2",
    "fftn",
    "ifftn",
    "rfftn",
    "irfftn",
)
TRANSFORMS: dict[Any, Transform] = {
    **{getattr(ATEN, f"fft_{name}").default: _OF_SIGNALS for name in _NAMES},
    ATEN.stft.default: Transform(lambda node: _is_fixed(node, _arguments(node, _STFT)[3]), _cut_in_frames),
    ATEN.istft.default: Transform(_can_be_joined, _joined),
}
