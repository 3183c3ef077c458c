"""Which edges are quantized, and that the arithmetic is the one of the scales in the graph."""

import copy

import numpy as np
import pytest
import torch
from quant_nets import NETS, build, quant, targets, traced
from torch import nn
from torch.nn import functional as F
from torchao.quantization.pt2e import move_exported_model_to_eval
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e, prepare_qat_pt2e

from edgekit.errors import UserError
from edgekit.quant.layer_counts import count_layers
from edgekit.quant.quantizer import ProfileQuantizer

pytestmark = pytest.mark.long


def quantized(
    model: nn.Module, x: torch.Tensor, skip: tuple[str, ...] = (), **choices
) -> torch.fx.GraphModule:
    """Calibrated on `x`, converted, weights unfolded."""
    prepared = prepare_pt2e(
        traced(model.eval(), x).module(), ProfileQuantizer(quant(**choices), "minmax", skip=skip)
    )
    prepared(x)
    return convert_pt2e(prepared, fold_quantize=False)


def floats_between(graph_module: torch.fx.GraphModule) -> set[str]:
    """Operators that read or write something other than a quantized edge."""
    found = set()
    for node in graph_module.graph.nodes:
        if node.op != "call_function" or "quantize" in str(node.target):
            continue
        sources = [n for n in node.all_input_nodes if n.op != "get_attr"]
        if not all("dequantize" in n.name for n in sources):
            found.add(str(node.target).removeprefix("aten."))
    return found


@pytest.mark.parametrize(
    ("activation", "bits", "symmetric"), [("uint8", 7, False), ("int8", 8, False), ("int8", 8, True)]
)
def test_a_convolution_by_hand(activation: str, bits: int, symmetric: bool) -> None:
    torch.manual_seed(0)
    conv, x = nn.Conv2d(3, 4, 1), torch.randn(1, 3, 5, 5)
    graph_module = quantized(conv, x, activation=activation, bits=bits, symmetric=symmetric)
    q = [n.args for n in graph_module.graph.nodes if "quantized_decomposed.quantize" in str(n.target)]
    (_, s_x, z_x, low, high, _), (_, s_y, z_y, *_) = [a for a in q if isinstance(a[1], float)]
    (scales,) = [a[1] for a in q if not isinstance(a[1], float)]
    s_w = getattr(graph_module, scales.target).numpy()[:, None].astype(np.float64)
    weight = conv.weight.detach().numpy().reshape(4, 3)
    q_x = np.clip(np.round(x.numpy().reshape(3, 25) / np.float32(s_x)) + z_x, low, high)
    q_w = np.clip(np.round(weight / s_w), -(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1)
    sums = q_w @ (q_x - z_x) * s_w * s_x + conv.bias.detach().numpy()[:, None]
    by_hand = (np.clip(np.round(sums / s_y) + z_y, low, high) - z_y) * s_y
    steps = np.abs(graph_module(x).detach().numpy().reshape(4, 25) - by_hand) / s_y
    assert steps.max() <= 1.001  # a tie may round to either side
    assert np.mean(steps < 0.01) > 0.98
    assert (z_x == 0) if symmetric else (low <= z_x <= high)


@pytest.mark.parametrize("activation", ["uint8", "int8"])
@pytest.mark.parametrize(
    ("name", "layers", "left"), [("residual", 3, 0), ("squeeze", 4, 0), ("attention", 4, 1)]
)
def test_whole_networks_stay_right(name: str, layers: int, left: int, activation: str) -> None:
    model, x = build(name)
    graph_module = quantized(model, x, activation=activation, bits=8)
    found, floats = count_layers(graph_module)
    assert (found, len(floats)) == (layers, left)
    with torch.no_grad():
        signal, error = model(x), graph_module(x) - model(x)
    assert float(signal.square().mean() / error.square().mean()) > 10**2.5


@pytest.mark.parametrize("name", ["residual", "squeeze"])
def test_convolutional_networks_hold_no_float_edge(name: str) -> None:
    # a batch norm and an activation inside a unit, and the clip of a gate, read their layer directly
    inside = {"relu.default", "relu6.default", "hardtanh.default", "pad.default"}
    graph_module = quantized(*build(name))
    reads_pad = [
        n for n in graph_module.graph.nodes if any(i.name.startswith("pad") for i in n.all_input_nodes)
    ]
    assert all(str(n.target) == "aten.conv2d.default" for n in reads_pad)
    assert floats_between(graph_module) <= inside | ({"conv2d.default"} if reads_pad else set())


def test_the_input_of_an_asymmetric_pad_is_quantized_and_its_output_is_not() -> None:
    graph_module = quantized(*build("residual"))
    (pad,) = [n for n in graph_module.graph.nodes if "pad" in n.name and n.op == "call_function"]
    assert "dequantize" in pad.args[0].name
    assert [str(user.target) for user in pad.users] == ["aten.conv2d.default"]


def test_layer_batch_norm_and_activation_share_one_range() -> None:
    graph_module = quantized(*build("residual"))
    (stem,) = [n for n in graph_module.graph.nodes if n.name == "conv2d"]
    (relu,) = stem.users
    (quantize,) = relu.users
    assert (str(relu.target), "quantize_per_tensor" in quantize.name) == ("aten.relu.default", True)


def test_a_transformer_keeps_attention_norm_and_residual_sums_float() -> None:
    graph_module = quantized(*build("attention"))
    assert {"layer_norm.default", "add.Tensor"} <= floats_between(graph_module)
    assert "linear.default" not in floats_between(graph_module)


def test_a_residual_sum_with_the_input_is_quantized_where_a_layer_reads_it() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.conv(x)

    assert not floats_between(quantized(Sum(), torch.randn(1, 3, 4, 4)))


def test_a_concatenation_has_one_range() -> None:
    graph_module = quantized(*build("squeeze"))
    (cat,) = [n for n in graph_module.graph.nodes if n.name == "cat"]
    ranges = {(n.args[1], n.args[2]) for n in [*cat.args[0], *cat.users]}
    assert len(ranges) == 1


def test_activations_become_operators_with_integer_kernels() -> None:
    found = targets(quantized(*build("squeeze")))
    assert not {"silu.default", "hardsigmoid.default", "sub.Tensor", "chunk.default"} & set(found)
    assert {"sigmoid.default", "hardswish.default", "slice.Tensor"} <= set(found)


@pytest.mark.parametrize("skip", ["stem", "conv2d"])
def test_what_is_skipped_stays_float(skip: str) -> None:
    found, floats = count_layers(quantized(*build("residual"), skip=(skip,)))
    assert (found, [n.name for n in floats]) == (2, ["conv2d"])


def test_a_pad_of_minus_infinity_is_not_quantized() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.max_pool2d(F.pad(self.conv(x), (1, 1, 1, 1), value=float("-inf")), 3, 2)

    model, x = Padded().eval(), torch.randn(1, 3, 8, 8)
    assert torch.isfinite(quantized(model, x)(x)).all()


def test_training_uses_the_same_rules() -> None:
    model, _ = build("residual")
    program = torch.export.export(model.train(), (torch.randn(4, 3, 16, 16),))
    prepared = prepare_qat_pt2e(program.module(), ProfileQuantizer(quant(), "moving_average", qat=True))
    prepared(torch.randn(4, 3, 16, 16)).sum().backward()
    converted = convert_pt2e(copy.deepcopy(move_exported_model_to_eval(prepared)), fold_quantize=False)
    assert count_layers(converted)[0] == 3


def test_an_estimator_that_cannot_train_is_refused() -> None:
    with pytest.raises(UserError, match="'mse' cannot train; for qat allowed are moving_average"):
        ProfileQuantizer(quant(), "mse", qat=True)


def test_every_network_of_the_list_is_quantized_here() -> None:
    assert set(NETS) == {"residual", "squeeze", "attention"}
