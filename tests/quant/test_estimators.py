"""Ranges: zero is always on the grid, weights stay narrow, outliers are clipped only where it pays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_nets import quant

from edgekit.errors import UserError
from edgekit.quant import estimators
from edgekit.quant.estimators import _grid
from edgekit.quant.estimators.histogram import BINS, StreamingHistogram

NAMES = ("histogram", "minmax", "moving_average")
floats = st.floats(-1e4, 1e4, allow_nan=False, width=32)


def observer(name: str, **choices):
    """The activation observer, made as pt2e makes it."""
    return _make(estimators.find(name).activation(_grid.activation_grid(quant(**choices))))


def _make(spec):
    return spec.observer_or_fake_quant_ctr(
        dtype=spec.dtype, quant_min=spec.quant_min, quant_max=spec.quant_max, qscheme=spec.qscheme,
        **({"ch_axis": spec.ch_axis} if spec.ch_axis is not None else {}),
    )  # fmt: skip


def test_they_are_found_by_file_name() -> None:
    assert estimators.names() == NAMES


def test_an_unknown_name_lists_the_allowed_ones() -> None:
    with pytest.raises(UserError, match="'entropy'; allowed are histogram, minmax, moving_average"):
        estimators.find("entropy")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(floats, min_size=1, max_size=30),
    activation=st.sampled_from(["int8", "uint8"]),
    symmetric=st.booleans(),
)
def test_zero_is_exact_and_the_grid_is_kept(
    name: str, values: list[float], activation: str, symmetric: bool
) -> None:
    found = observer(name, activation=activation, symmetric=symmetric)
    found(torch.tensor(values))
    scale, zero_point = (t.item() for t in found.calculate_qparams())
    low, high = (0, 255) if activation == "uint8" else (-128, 127)
    assert math.isfinite(scale) and scale > 0
    assert low <= zero_point <= high and zero_point == round(zero_point)
    if symmetric:
        assert zero_point in (0, 127, 128)


@settings(max_examples=40, deadline=None)
@given(values=st.lists(floats, min_size=2, max_size=30))
def test_minmax_holds_every_value(values: list[float]) -> None:
    found, x = observer("minmax"), torch.tensor(values)
    found(x)
    scale, zero_point = found.calculate_qparams()
    back = (torch.clamp(torch.round(x / scale) + zero_point, 0, 255) - zero_point) * scale
    assert float((back - x).abs().max()) <= 1.01 * float(scale)


@pytest.mark.parametrize("bits", [2, 4, 7, 8])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_weights_are_narrow_and_symmetric(bits: int, granularity: str) -> None:
    found = _make(
        estimators.find("histogram").weight(_grid.weight_grid(quant(bits=bits, granularity=granularity)))
    )
    weight = torch.randn(6, 3, 3, 3) * torch.logspace(-3, 3, 6).view(-1, 1, 1, 1)
    found(weight)
    scale, zero_point = found.calculate_qparams()
    limit = 2 ** (bits - 1) - 1
    integers = torch.round(weight / scale.view(-1, 1, 1, 1))
    assert not zero_point.any() and scale.numel() == (6 if granularity == "per_channel" else 1)
    assert (found.quant_min, found.quant_max) == (-limit, limit)
    assert int(integers.abs().max()) == limit


def test_the_histogram_clips_an_outlier_and_minmax_does_not() -> None:
    torch.manual_seed(0)
    x = torch.randn(1_000_000)
    x[0] = 100.0
    ranges = {}
    for name in ("histogram", "minmax"):
        found = observer(name)
        found(x)
        ranges[name] = 255 * found.calculate_qparams()[0].item()
    assert ranges["minmax"] > 100
    assert ranges["histogram"] < 60


def test_the_histogram_has_less_error_than_minmax_and_keeps_a_clean_range() -> None:
    x = torch.linspace(-1, 1, 10_001)
    found = observer("histogram")
    found(x)
    low, high = (float(v) for v in found.best_range())
    assert low == pytest.approx(-1, abs=0.02) and high == pytest.approx(1, abs=0.02)


def test_a_stream_counts_like_one_batch_and_holds_as_much() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(1000) * (1 + 3 * i) for i in range(9)]
    stream = observer("histogram")
    stream(batches[0])
    held = _numbers_held(stream)
    for batch in batches[1:]:
        stream(batch)
    everything = torch.cat(batches)
    whole = torch.histc(everything, bins=BINS, min=-float(stream.limit), max=float(stream.limit))
    assert _numbers_held(stream) == held
    assert float(stream.counts.sum()) == len(everything)
    assert float((stream.counts - whole).abs().sum()) <= 20  # values on the very border of a bin
    assert float(stream.limit) >= float(everything.abs().max())


def _numbers_held(module: StreamingHistogram) -> int:
    tensors = [v for v in (*module.__dict__.values(), *module.buffers()) if isinstance(v, torch.Tensor)]
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize("values", [torch.zeros(10), torch.empty(0), torch.full((4,), 1e-30)])
@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_without_range_is_no_error(name: str, values: torch.Tensor) -> None:
    found = observer(name)
    if values.numel() or name == "histogram":
        found(values)
    assert found.calculate_qparams()[0].item() > 0


def test_fixed_ranges_are_those_of_tflite() -> None:
    spec = _grid.fixed(_grid.activation_grid(quant("int8", 8)), 0.0, 1.0)
    assert (spec.scale, spec.zero_point) == (1 / 256, -128)
    spec = _grid.fixed(_grid.activation_grid(quant("uint8")), -1.0, 1.0)
    assert (spec.scale, spec.zero_point) == (1 / 128, 128)


def test_the_moving_average_is_the_mean_of_the_batches_while_calibrating() -> None:
    found = observer("moving_average")
    for high in (1.0, 2.0, 6.0):
        found(torch.tensor([-high / 2, high]))
    assert (float(found.min_val), float(found.max_val)) == (-1.5, 3.0)
