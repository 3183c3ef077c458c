"""One binary layer as OpenVINO's BinaryConvolution (opset 1), and the result it must have.

Three details each lead to plausible wrong numbers without an error, which is why `edgekit.binary.selftest`
runs before any file is written: FakeQuantize must return 0 and 1, not -1 and 1; weights are packed least
significant bit first; the tensor of bits must own its memory. A fourth is a limit: if the number of input
channels is not divisible by 8, the kernel reads the wrong bits.

Measured on one core with AVX-512: `benchmarks/binary.py`.
"""

from typing import NamedTuple

import numpy as np
import openvino as ov
from openvino import opset1


class Layer(NamedTuple):
    """A binary convolution.

    Attributes:
        name: The name of the convolution.
        weight: [D, C, k, k], of -1 and 1.
        threshold: [C].
        input_shape: [N, C, H, W], before the border of -1 is added.
        stride: Along rows and columns.
        padding: Along rows and columns.
    """

    name: str
    weight: np.ndarray
    threshold: np.ndarray
    input_shape: tuple[int, int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]

    def __str__(self) -> str:
        out, inputs, *kernel = self.weight.shape
        size = "x".join(map(str, self.input_shape[2:]))
        return f"{self.name} ({inputs} to {out} channels, {kernel[0]}x{kernel[1]}, stride {self.stride[0]}, at {size})"


def convolution(x: ov.Output, layer: Layer) -> ov.Node:
    """Returns the sums of products of signs, [N, D, H', W'], of the float tensor x."""
    low, zero, one = (
        opset1.constant(np.asarray(value, np.float32).reshape(1, -1, 1, 1))
        for value in (layer.threshold, 0, 1)
    )
    bits = opset1.fake_quantize(x, low, low, zero, one, 2)
    padding = list(layer.padding)
    return opset1.binary_convolution(
        bits, _packed(layer.weight), list(layer.stride), padding, padding, [1, 1], "xnor-popcount", -1.0
    )


def _packed(weight: np.ndarray) -> ov.Node:
    """A constant with one bit for each weight, in memory that OpenVINO owns."""
    tensor = ov.Tensor(ov.Type.u1, ov.Shape(list(weight.shape)))
    tensor.data[:] = np.packbits((weight > 0).ravel(), bitorder="little")
    return ov.op.Constant(tensor)


def reference(x: np.ndarray, layer: Layer) -> np.ndarray:
    """Returns what `convolution` must return: the convolution of signs, with a border of -1.

    x = threshold gives -1. The sums are whole numbers, so they are exact in float32.
    """
    signs = np.where(x > layer.threshold.reshape(-1, 1, 1), 1, -1).astype(np.float32)
    rows, columns = layer.padding
    padded = np.pad(signs, [(0, 0), (0, 0), (rows, rows), (columns, columns)], constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.weight.shape[2:], (2, 3))
    windows = windows[:, :, :: layer.stride[0], :: layer.stride[1]]
    return np.tensordot(windows, layer.weight.astype(np.float32), ((1, 4, 5), (1, 2, 3))).transpose(
        0, 3, 1, 2
    )
