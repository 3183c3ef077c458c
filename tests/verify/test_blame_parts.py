"""The parts of layer blame against arithmetic that can be written down."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.records import LayerDegradation
from edgekit.verify.blame import sentences as text
from edgekit.verify.blame.channels import Outputs
from edgekit.verify.blame.conversion import _reason, fit
from edgekit.verify.blame.graph_walk import Difference, channel_axis
from edgekit.verify.blame.match import Tensor, align, groups, match, same_grid
from edgekit.verify.blame.units import Unit, family, units


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("mac", ["aten.conv2d.default", "Conv", "DEPTHWISE_CONV_2D", "linear", "Gemm", "FULLY_CONNECTED", "aten.addmm.default"]),
        ("add", ["aten.add.Tensor", "ADD", "Sub"]),
        ("mul", ["aten.mul.Tensor", "Div"]),
        ("pool", ["aten.adaptive_avg_pool2d.default", "MEAN", "GlobalAveragePool", "ReduceMean", "reduce_mean"]),
        ("clip", ["aten.relu6.default", "Clip", "RELU", "aten.hardtanh.default"]),
        ("move", ["aten.view.default", "RESHAPE", "Transpose", "aten.pad.default", "slice_by_index"]),
        ("resize", ["aten.upsample_nearest2d.vec", "RESIZE_NEAREST_NEIGHBOR", "Resize", "upsample_bilinear"]),
        ("hardswish", ["aten.hardswish.default", "HARD_SWISH", "HardSwish"]),
    ],
)  # fmt: skip
def test_operators_of_all_dialects_have_one_kind(kind: str, names: list[str]) -> None:
    assert {family(name) for name in names} == {kind}


def test_align_keeps_the_order_and_takes_the_best_sum() -> None:
    pairs = align("abcad", "bad", lambda a, b: 1.0 if a == b else 0.0)
    assert [a for a, _ in pairs] == list("bad")
    assert align("ab", "ba", lambda a, b: {"a": 1.0, "b": 2.0}[a] if a == b else 0.0) == [("b", "b")]
    assert align("", "abc", lambda a, b: 1.0) == []


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        return x + self.head(x)


@pytest.fixture(scope="module")
def small() -> list[Unit]:
    module = torch.export.export(Small().eval(), (torch.zeros(1, 3, 5, 5),)).module()
    return units(module)  # type: ignore[arg-type]


def test_a_layer_its_norm_and_its_activation_are_one_unit(small: list[Unit]) -> None:
    assert [(u.node, u.value, u.module) for u in small] == [
        ("conv2d", "relu", "stem (Conv2d)"),
        ("conv2d_1", "conv2d_1", "head (Conv2d)"),
        ("add", "add", "the model itself (Small)"),
    ]
    assert small[0].chain == ("conv2d", "batch_norm", "relu") and small[0].clips
    assert [u.channels for u in small] == [4, 4, 0]


FILE = [
    Tensor("f", "Conv", (1, 4, 3, 3), ("x", "w"), hint="folded"),
    Tensor("relu", "Relu", (1, 4, 3, 3), ("f",), hint="relu"),
    Tensor("h", "Conv", (1, 4, 3, 3), ("relu", "w2"), hint="h"),
    Tensor("t", "Transpose", (1, 3, 3, 4), ("h",), hint="t"),
    Tensor("output_0", "Add", (1, 4, 3, 3), ("relu", "h"), hint="output_0"),
]


def test_a_match_says_what_it_rests_on(small: list[Unit]) -> None:
    found = match(small, FILE, ["add"])
    assert [(m.unit.node, m.tensor.name, m.at, m.by) for m in found] == [
        ("conv2d", "relu", "relu", "name"),
        ("conv2d_1", "h", "conv2d_1", "order"),
        ("add", "output_0", "add", "name"),
    ]


def test_other_dimensions_are_no_match(small: list[Unit]) -> None:
    wide = [Tensor(t.name, t.op, (1, 4, 9, 9), t.reads, hint=t.hint) for t in FILE]
    assert match(small, wide, ["add"]) == []


def test_a_quantize_belongs_to_what_it_reads() -> None:
    grid = (0.5, 3)
    first, second = groups(
        [
            Tensor("q", "QuantizeLinear", (1, 4), ("x",), grid, "q"),
            Tensor("d", "DequantizeLinear", (1, 4), ("q",), hint="d"),
            Tensor("g", "Gemm", (1, 4), ("d",), hint="g"),
            Tensor("q1", "QuantizeLinear", (1, 4), ("g",), grid, "q1"),
        ]
    )
    assert first.op == "input" and first.codes is not None and first.codes.name == "q"
    assert second.value.name == "g" and second.codes is not None and second.codes.name == "q1"


def test_the_same_grid_may_be_stored_unsigned() -> None:
    assert same_grid((0.5, -128), (0.5, 0)) and same_grid((0.5, 3), (0.5, 3))
    assert (
        not same_grid((0.5, 3), (0.5, 4)) and not same_grid((0.5, 3), (0.51, 3)) and not same_grid(None, None)
    )


def test_a_difference_in_decibels_and_steps() -> None:
    difference = Difference(step=0.5)
    difference.add(torch.tensor([10.0, 0.0]), torch.tensor([10.0, 1.0]))
    assert difference.snr_db == pytest.approx(20.0)
    assert (difference.max_abs, difference.max_steps) == (1.0, 2.0)
    assert difference.rms_steps == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("right", "got", "snr"), [(1.0, 1.0, None), (0.0, 1.0, -200.0), (1.0, math.nan, -200.0)]
)
def test_a_difference_without_error_without_signal_and_with_nan(
    right: float, got: float, snr: float | None
) -> None:
    difference = Difference()
    difference.add(torch.tensor([right]), torch.tensor([got]))
    assert difference.snr_db == snr


def test_the_infinity_of_a_mask_is_no_error_and_another_one_is() -> None:
    mask, difference = torch.tensor([[1.0, -math.inf, math.nan]]), Difference()
    difference.add(mask, mask + 0.5)
    assert (difference.max_abs, difference.snr_db) == (0.5, pytest.approx(6.02, abs=0.01))
    difference.add(mask, torch.zeros(1, 3))
    assert _reason(difference, 0.0) == "it answers NaN or infinity"


def test_the_lowest_float_is_a_number_whose_square_float32_does_not_hold() -> None:
    difference, lowest = Difference(axis=1), torch.full((1, 2, 3), torch.finfo(torch.float32).min)
    difference.add(lowest, lowest * 0.99)
    assert difference.snr_db == pytest.approx(40.0, abs=0.1) == difference.channel_snr_db


def test_one_loud_channel_does_not_hide_the_others() -> None:
    right = torch.ones(1, 5, 100)
    right[:, 2] = 1000.0
    difference = Difference(axis=1)
    difference.add(right, right + 1.0)
    assert difference.snr_db is not None and difference.snr_db > 50
    assert difference.channel_snr_db == pytest.approx(0.0)
    assert difference.outlier == (2, pytest.approx(1000.0))


@pytest.mark.parametrize(
    ("elements", "off", "steps", "wrong"),
    [(100, 100, 1, True), (100, 20, 1, False), (100, 1, 2, False), (100, 1, 3, True), (8, 8, 1, False)],
)
def test_rounding_ties_are_no_fault_but_a_shift_is(elements: int, off: int, steps: int, wrong: bool) -> None:
    right, difference = torch.arange(float(elements)), Difference(step=1.0)
    got = right.clone()
    got[:off] += steps
    difference.add(right, got)
    assert bool(_reason(difference, 40.0)) == wrong


def test_floats_are_judged_in_decibels_and_nan_is_named() -> None:
    close, far, broken = (Difference() for _ in range(3))
    close.add(torch.tensor([1.0]), torch.tensor([1.001]))
    far.add(torch.tensor([1.0]), torch.tensor([1.1]))
    broken.add(torch.tensor([1.0]), torch.tensor([math.inf]))
    assert _reason(close, 40.0) == ""
    assert _reason(far, 40.0) == "its output keeps 20.0 dB, at least 40 dB is expected"
    assert _reason(broken, 40.0) == "it answers NaN or infinity"


def test_a_file_that_holds_channels_last_fits() -> None:
    right = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert torch.equal(fit(right.numpy().transpose(0, 2, 3, 1), right), right)
    square = torch.arange(27.0).reshape(1, 3, 3, 3)
    assert torch.equal(fit(square.numpy().transpose(0, 2, 3, 1), square), square)
    assert torch.equal(fit(square.numpy(), square), square)
    pooled = torch.arange(8.0).reshape(1, 8, 1, 1)
    assert torch.equal(fit(np.arange(8.0, dtype=np.float32).reshape(1, 8), pooled), pooled)


def test_channels_are_where_the_operator_has_them(small: list[Unit]) -> None:
    assert channel_axis(small[0]) == 1
    linear = Unit("linear", "linear.default", "", "linear", ("linear",), False, (1, 5, 8))
    assert channel_axis(linear) == 2


def row(node: str, snr: float | None, wrong: bool) -> LayerDegradation:
    return LayerDegradation(
        node=node, module=f"{node} (Linear)", op="linear", tensor=node, matched="order", snr_db=snr,
        local_snr_db=snr, max_abs_error=0.0, wrong=wrong, reason="it is off" if wrong else "",
    )  # fmt: skip


def test_kernels_that_are_wrong_only_when_fused_are_no_fault_of_the_converter() -> None:
    rows = [row("first", 60.0, False), row("second", 3.0, True)]
    answers = Outputs(["scores"])
    said = text.conversion("onnxruntime", rows, answers, 8, fused_only=True)
    assert "linear of second (Linear), node second is the first operator" in said
    assert "fused kernels only" in said and "converter" not in said
    assert "converter" in text.conversion("onnxruntime", rows, answers, 8, fused_only=False)


def test_many_harmed_layers_are_no_case_for_skip() -> None:
    rows = [row(f"n{i}", 5.0, True) for i in range(6)]
    assert "6 units lose accuracy, too many to leave in float" in text.compression(rows, 5.0, 8, "")
