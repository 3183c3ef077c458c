"""Ranges: zero is always on the grid, weights stay narrow, outliers are clipped only where it pays."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quant_nets import quant

from edgekit.errors import UserError
from edgekit.quant import estimators, rules
from edgekit.quant.estimators import _grid
from edgekit.quant.estimators._histogram import BINS, SAMPLES, StreamingHistogram

NAMES = ("entropy", "minmax", "moving_average", "mse", "percentile")
HISTOGRAMS = ("entropy", "mse", "percentile")
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
    with pytest.raises(
        UserError, match="'histogram'; allowed are entropy, minmax, moving_average, mse, perc"
    ):
        estimators.find("histogram")


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


@pytest.mark.parametrize("name", ["minmax", "mse"])
@pytest.mark.parametrize("bits", [2, 4, 7, 8])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_weights_are_narrow_and_symmetric(name: str, bits: int, granularity: str) -> None:
    found = weight_observer(name, bits, granularity)
    weight = torch.randn(6, 3, 3, 3) * torch.logspace(-3, 3, 6).view(-1, 1, 1, 1)
    found(weight)
    scale, zero_point = found.calculate_qparams()
    limit = 2 ** (bits - 1) - 1
    integers = torch.round(weight / scale.view(-1, 1, 1, 1))
    assert not zero_point.any() and scale.numel() == (6 if granularity == "per_channel" else 1)
    assert (found.quant_min, found.quant_max) == (-limit, limit)
    assert int(integers.abs().max()) == limit if name == "minmax" else int(integers.abs().max()) >= limit


def weight_observer(name: str, bits: int, granularity: str = "per_channel"):
    return _make(estimators.weight(name, _grid.weight_grid(quant(bits=bits, granularity=granularity))))


def test_an_unknown_estimator_of_weights_lists_the_allowed_ones() -> None:
    with pytest.raises(UserError, match="of weights 'entropy'; allowed are minmax, mse"):
        weight_observer("entropy", 8)


def rounding_error(weight: torch.Tensor, scale: torch.Tensor, limit: int) -> torch.Tensor:
    scale = scale.view(-1, 1)
    return (((weight / scale).round().clamp(-limit, limit) * scale - weight) ** 2).sum(1)


@pytest.mark.parametrize("bits", [3, 7])
@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_no_other_factor_represents_a_weight_better(bits: int, granularity: str) -> None:
    torch.manual_seed(0)
    weight, limit = torch.randn(5, 600), 2 ** (bits - 1) - 1
    weight[2, 0] = 9.0  # an outlier of one channel
    found = weight_observer("mse", bits, granularity)
    found(weight)
    rows = weight if granularity == "per_channel" else weight.view(1, -1)
    least = rounding_error(rows, found.calculate_qparams()[0], limit)
    largest = rows.abs().amax(1) / limit
    every = torch.stack([rounding_error(rows, largest * f, limit) for f in torch.linspace(0.2, 1, 81)])
    assert (least <= 1.01 * every.amin(0)).all()
    assert bits == 7 or (least < 0.8 * every[-1]).all()  # with few bits clipping pays


def test_a_weight_of_zeros_is_no_error() -> None:
    found = weight_observer("mse", 7)
    weight = torch.zeros(3, 4)
    weight[1] = 1.0
    found(weight)
    scale, _ = found.calculate_qparams()
    assert (scale > 0).all() and float(scale[1]) == pytest.approx(1 / 63)


@pytest.mark.parametrize("symmetric", [False, True])
def test_histograms_clip_an_outlier_and_minmax_does_not(symmetric: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(1_000_000)
    x[0] = 100.0
    ranges = {}
    for name in (*HISTOGRAMS, "minmax"):
        found = observer(name, symmetric=symmetric)
        for batch in x.split(SAMPLES):
            found(batch)
        ranges[name] = 255 * found.calculate_qparams()[0].item()
    assert ranges["minmax"] > 100
    assert all(ranges[name] < 60 for name in HISTOGRAMS)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", HISTOGRAMS)
def test_histograms_keep_a_range_without_outliers(name: str, symmetric: bool) -> None:
    for x in (torch.linspace(-1, 1, 100_001), torch.linspace(-1, 1, 100_001).relu() * 3):
        found = observer(name, symmetric=symmetric)
        found(x)
        low, high = (float(v) for v in found.best_range())
        assert high == pytest.approx(float(x.max()), rel=0.02)
        assert low == pytest.approx(-high if symmetric and name != "percentile" else float(x.min()), rel=0.02)


@pytest.mark.parametrize("name", HISTOGRAMS)
def test_what_a_relu_clips_away_does_not_move_the_range(name: str) -> None:
    """Exact zeros are on every grid: a tensor with a million more of them has the same range."""
    torch.manual_seed(0)
    values = torch.randn(200_000).abs()
    ends = []
    for zeros in (0, 1_000_000):
        found = observer(name)
        for batch in torch.cat([values, torch.zeros(zeros)]).split(SAMPLES):
            found(batch)
        ends.append(float(found.best_range()[1]))
    assert ends[0] == pytest.approx(ends[1], rel=0.25 if name == "percentile" else 0.02)


def test_the_percentile_clips_one_in_ten_thousand_at_each_end() -> None:
    torch.manual_seed(0)
    x = torch.cat([torch.randn(1_000_000), torch.randn(1_000_000).abs()])
    found = observer("percentile")
    for batch in x.split(SAMPLES):
        found(batch)
    low, high = (float(v) for v in found.best_range())
    assert float((x > high).float().mean()) == pytest.approx(1e-4, rel=0.05)
    assert float((x < low).float().mean()) == pytest.approx(1e-4, rel=0.05)


def test_the_divergence_is_that_of_the_distribution_written_out() -> None:
    """Against loops over bins and integers, for one range that clips both ends."""
    torch.manual_seed(0)
    found = observer("entropy")
    found(torch.randn(20_000))
    low, high = -1.5, 2.0
    (got,) = found.errors(torch.tensor([low]).double(), torch.tensor([high]).double())
    scale = (high - low) / 255
    zero = round(-low / scale)
    counts, width = found.counts.tolist(), 2 * float(found.limit) / BINS
    counts[BINS // 2], counts[BINS // 2 - 1] = counts[BINS // 2 + 1], counts[BINS // 2 - 2]
    integers = [round((-float(found.limit) + (i + 0.5) * width) / scale) + zero for i in range(BINS)]
    inside = [i for i in range(BINS) if counts[i] and 0 <= integers[i] <= 255]
    p = {i: counts[i] for i in inside}
    p[inside[0]] += sum(counts[: inside[0]])
    p[inside[-1]] += sum(counts[inside[-1] + 1 :])
    q = {}
    for i in inside:
        level = [j for j in inside if integers[j] == integers[i]]
        q[i] = sum(counts[j] for j in level) / len(level)
    total_p, total_q = sum(p.values()), sum(q.values())
    want = sum(p[i] / total_p * math.log(p[i] / total_p * total_q / q[i]) for i in inside)
    assert float(got) == pytest.approx(want, rel=1e-9)


def test_a_stream_counts_like_one_batch_and_holds_as_much() -> None:
    torch.manual_seed(0)
    batches = [torch.randn(1000) * (1 + 3 * i) for i in range(9)]
    stream = observer("mse")
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


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_of_a_large_tensor_an_even_part_is_counted(layout: torch.memory_format) -> None:
    x = torch.arange(64.0).view(1, 64, 1, 1).repeat(1, 1, 112, 112)  # each channel has its own value
    found = observer("mse")
    for _ in range(4):
        found(x.contiguous(memory_format=layout))
    assert (found.low, found.high) == (0, 63)
    assert 3.5 * SAMPLES < float(found.counts.sum()) <= 4 * SAMPLES
    shares = found.counts[found.counts > 0] / found.counts.sum() * 64
    assert len(shares) == 64 and float(shares.min()) > 0.9 and float(shares.max()) < 1.1


def test_in_time_every_value_is_met() -> None:
    x = torch.zeros(1, 2, 112, 112)
    x[0, 1, 50, 50] = 90.0
    found = observer("mse")
    for _ in range(-(-x.numel() // SAMPLES)):
        found(x)
    assert found.high == 90


def _numbers_held(module: StreamingHistogram) -> int:
    tensors = [v for v in (*module.__dict__.values(), *module.buffers()) if isinstance(v, torch.Tensor)]
    return sum(tensor.numel() for tensor in tensors)


@pytest.mark.parametrize("values", [torch.zeros(10), torch.empty(0), torch.full((4,), 1e-30)])
@pytest.mark.parametrize("name", NAMES)
def test_a_tensor_without_range_is_no_error(name: str, values: torch.Tensor) -> None:
    found = observer(name)
    if values.numel() or name in HISTOGRAMS:
        found(values)
    assert found.calculate_qparams()[0].item() > 0


def test_fixed_grids_are_those_of_tflite() -> None:
    spec = _grid.fixed(_grid.activation_grid(quant("int8", 8)), *rules.FIXED[rules.ATEN.sigmoid.default])
    assert (spec.scale, spec.zero_point) == (1 / 256, -128)
    spec = _grid.fixed(_grid.activation_grid(quant("uint8")), *rules.FIXED[rules.ATEN.tanh.default])
    assert (spec.scale, spec.zero_point) == (1 / 128, 128)
    spec = _grid.fixed(_grid.activation_grid(quant("int8", 8)), *rules.FIXED_FULL[rules.ATEN.log_softmax.int])
    assert (spec.scale, spec.zero_point) == (1 / 16, 127)


def test_the_moving_average_is_the_mean_of_the_batches_while_calibrating() -> None:
    found = observer("moving_average")
    for high in (1.0, 2.0, 6.0):
        found(torch.tensor([-high / 2, high]))
    assert (float(found.min_val), float(found.max_val)) == (-1.5, 3.0)
