"""OpenVINO's kernels of one bit beside a convolution of signs written down here, and the three ways to get them wrong."""

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgekit.errors import VerificationError

ov = pytest.importorskip("openvino")
from openvino import opset1  # noqa: E402

from edgekit.binary import kernels, selftest  # noqa: E402
from edgekit.binary.kernels import Layer  # noqa: E402

pytestmark = pytest.mark.long


def layer(inputs: int = 16, outputs: int = 24, kernel: int = 3, stride: int = 1, size: int = 7) -> Layer:
    random = np.random.default_rng(inputs + outputs)
    return Layer(
        name="conv",
        weight=random.choice([-1.0, 1.0], (outputs, inputs, kernel, kernel)),
        threshold=random.standard_normal(inputs).astype(np.float32),
        input_shape=(1, inputs, size, size),
        stride=(stride, stride),
        padding=(kernel // 2, kernel // 2),
    )


def inputs_of(found: Layer) -> np.ndarray:
    """Half of the values lie exactly at the threshold of their channel."""
    random = np.random.default_rng(5)
    x = random.standard_normal(found.input_shape).astype(np.float32)
    ties = np.broadcast_to(found.threshold.reshape(-1, 1, 1), x.shape)
    return np.where(random.random(x.shape) < 0.5, ties, x)


def by_torch(x: np.ndarray, found: Layer) -> np.ndarray:
    signs = torch.where(torch.from_numpy(x) > torch.from_numpy(found.threshold).view(-1, 1, 1), 1.0, -1.0)
    rows, columns = found.padding
    padded = F.pad(signs, [columns, columns, rows, rows], value=-1.0)
    return F.conv2d(padded, torch.from_numpy(found.weight).float(), stride=found.stride).numpy()


@pytest.mark.parametrize(
    ("inputs", "outputs", "kernel", "stride", "size"),
    [
        (16, 24, 3, 1, 7),
        (16, 32, 3, 2, 9),
        (40, 8, 1, 1, 5),
        (64, 9, 1, 2, 6),
        (8, 16, 5, 1, 8),
        (128, 64, 3, 1, 4),
    ],
)
def test_equal_bit_by_bit_to_the_convolution_of_signs(
    inputs, outputs, kernel, stride, size, tmp_path
) -> None:
    found = layer(inputs, outputs, kernel, stride, size)
    x = inputs_of(found)
    want = by_torch(x, found)
    assert np.array_equal(kernels.reference(x, found), want)
    answer = selftest._compiled(found, tmp_path / "layer.xml")
    gc.collect()
    assert np.array_equal(answer(x)[0], want)
    assert (tmp_path / "layer.bin").stat().st_size < found.weight.size / 8 + 4 * inputs + 100


def test_the_self_test_passes_here() -> None:
    assert selftest.run() == len(selftest.SHAPES)
    assert selftest.run([layer()]) == len(selftest.SHAPES) + 1


def test_input_channels_that_do_not_divide_by_8_are_refused() -> None:
    with pytest.raises(VerificationError, match=r"conv \(12 to 24 channels, 3x3.*divide by 8"):
        selftest.run([layer(inputs=12)])


def _fake_quantize_to_signs(x: ov.Output, found: Layer) -> ov.Node:
    low, minus, one = (
        opset1.constant(np.asarray(v, np.float32).reshape(1, -1, 1, 1)) for v in (found.threshold, -1, 1)
    )
    signs = opset1.fake_quantize(x, low, low, minus, one, 2)
    padding = list(found.padding)
    return opset1.binary_convolution(
        signs,
        kernels._packed(found.weight),
        list(found.stride),
        padding,
        padding,
        [1, 1],
        "xnor-popcount",
        -1.0,
    )


def _most_significant_first(weight: np.ndarray) -> ov.Node:
    tensor = ov.Tensor(ov.Type.u1, ov.Shape(list(weight.shape)))
    tensor.data[:] = np.packbits((weight > 0).ravel())
    return ov.op.Constant(tensor)


@pytest.mark.parametrize("mistake", ["signs", "order"])
def test_the_self_test_catches_what_gives_plausible_wrong_numbers(mistake, monkeypatch) -> None:
    if mistake == "signs":
        monkeypatch.setattr(selftest, "convolution", _fake_quantize_to_signs)
    else:
        monkeypatch.setattr(kernels, "_packed", _most_significant_first)
    with pytest.raises(VerificationError, match=r"self-test \(16 to 16 channels.*nothing is written"):
        selftest.run()


def test_a_file_that_cannot_run_is_an_error_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "broken.xml").write_text("<net>")
    with pytest.raises(VerificationError, match=r"cannot run broken\.xml"):
        selftest.compiled(tmp_path / "broken.xml")
