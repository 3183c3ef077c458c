"""Which tensors share a grid, which keep their own, and what one grid cannot hold."""

import pytest
import torch
from quant_nets import quant, traced
from torch import nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.quant.boundaries import float_interfaces
from edgekit.quant.calibrate import a_few
from edgekit.quant.quantizer import ProfileQuantizer

pytestmark = pytest.mark.long

X = torch.rand(1, 3, 6, 6)
SIGMOID = (1 / 256, 0)


class Net(nn.Module):
    """Features, a map of them, and how both become an output."""

    def __init__(self, end) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 2, 1)
        self.end = end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        f = self.a(x)
        return self.end(self, f, self.b(f))


def quantized(end, integer_io: bool = False, samples: bool = True) -> GraphModule:
    quantizer = ProfileQuantizer(
        quant(bits=8, integer_io=integer_io), "minmax", samples=lambda: [(X,)] if samples else []
    )
    prepared = prepare_pt2e(traced(Net(end).eval(), X).module(), quantizer)
    prepared(X)
    return convert_pt2e(prepared, fold_quantize=False)


def output(model: GraphModule) -> Node:
    return next(node for node in model.graph.nodes if node.op == "output").args[0][0]


def grid(node: Node) -> tuple[float, int]:
    return node.args[1], node.args[2]


def the_cat(model: GraphModule) -> Node:
    return next(node for node in model.graph.nodes if node.target is torch.ops.aten.cat.default)


@pytest.mark.parametrize(
    "end",
    [
        lambda m, f, g: g.sigmoid().flatten(1),
        lambda m, f, g: torch.nn.functional.pad(g.sigmoid(), (1, 1)).permute(0, 2, 3, 1).reshape(1, -1),
        lambda m, f, g: torch.cat((g.sigmoid(), f.sigmoid()), 1).transpose(1, 2),
        lambda m, f, g: g.sigmoid().flatten(1).unsqueeze(1).mean(1),
    ],
)
def test_what_follows_a_sigmoid_keeps_its_grid(end) -> None:
    assert grid(output(quantized(end))) == SIGMOID


def test_a_mean_of_a_fixed_grid_has_a_range_of_its_own() -> None:
    scale, _ = grid(output(quantized(lambda m, f, g: g.tanh().mean((2, 3)), integer_io=True)))
    assert scale < 1 / 256


def test_a_product_reads_a_sigmoid_as_it_is() -> None:
    model = quantized(lambda m, f, g: f * g.sigmoid())
    (product,) = [node for node in model.graph.nodes if node.target is torch.ops.aten.mul.Tensor]
    assert grid(product.args[1]) == SIGMOID


def test_alike_operands_share_one_grid() -> None:
    cat = the_cat(quantized(lambda m, f, g: m.c(torch.cat((f, g), 1))))
    assert len({grid(node) for node in [*cat.args[0], *cat.users]}) == 1
    assert all(node.args[0].args[0].target is torch.ops.aten.conv2d.default for node in cat.args[0])


def test_a_fixed_operand_is_rounded_to_the_common_grid() -> None:
    cat = the_cat(quantized(lambda m, f, g: m.c(torch.cat((g.sigmoid(), f * 9), 1))))
    common = {grid(node) for node in [*cat.args[0], *cat.users]}
    assert len(common) == 1
    assert common != {SIGMOID}
    assert grid(cat.args[0][0].args[0].args[0]) == SIGMOID


def test_an_operand_of_small_range_keeps_its_grid_for_other_readers() -> None:
    cat = the_cat(quantized(lambda m, f, g: m.c(torch.cat((f, g * 40), 1))))
    copy = cat.args[0][0].args[0].args[0]
    assert copy.target is torch.ops.aten.clone.default
    assert grid(copy.args[0])[0] < grid(cat.args[0][0])[0] / 4


BOXES = [
    lambda m, f, g: torch.cat((f.sigmoid() * 640, g.sigmoid()), 1).flatten(2).transpose(1, 2),
    lambda m, f, g: torch.cat((f.sigmoid(), g.sigmoid()), 1) * torch.tensor([640.0] * 7 + [1.0]).view(1, 8, 1, 1),
    lambda m, f, g: torch.stack((f * 640, g), 1),
]  # fmt: skip


@pytest.mark.parametrize("end", BOXES)
def test_an_output_of_boxes_and_scores_is_joined_in_float(end) -> None:
    model = quantized(end)
    assert not output(model).name.startswith("dequantize")
    (sentence,) = float_interfaces(model)
    assert sentence.startswith("output output_0 stays float32: its parts differ by ")
    assert sentence.endswith(" times in range, which one integer grid cannot hold")


def test_inside_a_network_they_are_joined_in_integers() -> None:
    model = quantized(lambda m, f, g: m.c(torch.cat((f.sigmoid() * 640, g.sigmoid()), 1)))
    assert output(model).name.startswith("dequantize")
    assert float_interfaces(model) == ()


def test_without_samples_all_are_alike() -> None:
    assert output(quantized(BOXES[2], samples=False)).name.startswith("dequantize")


def test_an_operator_without_a_rule_is_named() -> None:
    (sentence,) = float_interfaces(quantized(lambda m, f, g: torch.atan2(f, g).flatten(1)))
    assert sentence == "output output_0 stays float32: aten.atan2 has no integer rule"


def test_an_input_that_is_read_in_float_is_named() -> None:
    model = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 2)).eval()
    prepared = prepare_pt2e(
        traced(model, X).module(), ProfileQuantizer(quant(bits=8, integer_io=True), "minmax")
    )
    prepared(X)
    (sentence,) = float_interfaces(convert_pt2e(prepared, fold_quantize=False))
    assert sentence.endswith(" stays float32: aten.layer_norm has no integer rule")


@pytest.mark.parametrize(
    ("end", "scale"),
    [
        (lambda m, f, g: g.softmax(1), 1 / 256),
        (lambda m, f, g: g.log_softmax(1), 1 / 16),
        (lambda m, f, g: nn.functional.normalize(g, dim=-1), 1 / 128),
    ],
)
def test_integer_outputs_are_a_promise_of_the_profile(end, scale: float) -> None:
    assert grid(output(quantized(end, integer_io=True)))[0] == scale
    assert not output(quantized(end)).name.startswith("dequantize")


def test_an_operator_of_two_tensors_too() -> None:
    assert output(quantized(lambda m, f, g: f - g, integer_io=True)).name.startswith("dequantize")


def test_an_end_without_integer_kernel_costs_no_rounding_where_outputs_are_float() -> None:
    model = quantized(lambda m, f, g: (f * g).tanh())
    assert output(model).target is torch.ops.aten.tanh.default


def test_a_few_inputs_come_from_the_first_batches() -> None:
    few = a_few([torch.arange(6.0).view(6, 1), torch.arange(6.0).view(6, 1)], (torch.zeros(1, 1),))
    assert [float(x) for (x,) in few] == [0, 1, 2, 3, 0, 1, 2, 3]
    assert a_few(iter([torch.zeros(6, 1)]), (torch.zeros(1, 1),)) == []
