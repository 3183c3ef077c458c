"""Transposed convolutions as convolutions and pixel shuffles: equal for every kernel, stride, padding and group."""

from itertools import product

import pytest
import torch
from quant_nets import quant, targets
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.quant.fold import observed
from edgekit.quant.layer_counts import count_layers
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.transposed import output_padding_to_slice, transposed_to_convolution

pytestmark = pytest.mark.long

LAYERS = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
SIZES = {1: (5,), 2: (4, 5)}


def exported(model: nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    return torch.export.export(model.eval(), (x,)).module()


def checked(graph_module: torch.fx.GraphModule, model: nn.Module, x: torch.Tensor) -> list[str]:
    graph_module.graph.lint()
    graph_module.recompile()
    torch.testing.assert_close(graph_module(x), model(x), rtol=1e-4, atol=1e-5)
    return targets(graph_module)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("native", [False, True])
def test_every_shape_gives_the_same_numbers(rank: int, native: bool) -> None:
    torch.manual_seed(0)
    for kernel, stride, padding, more, groups in product(
        (1, 3, 4, 7), (1, 2, 3), (0, 1, 3), (0, 1, 2), (1, 2)
    ):
        if more >= stride or 3 * stride - 2 * padding + kernel + more < 1:
            continue
        model = nn.Sequential(LAYERS[rank](4, 6, kernel, stride, padding, more, groups), nn.ReLU())
        x = torch.randn(1, 4, *SIZES[rank])
        graph_module = exported(model, x)
        transposed_to_convolution(graph_module, native)
        left = sum("conv_transpose" in name for name in checked(graph_module, model, x))
        assert left == (native and rank == 2 and groups == 1 and more <= padding)


def test_weights_that_are_no_constant_stay() -> None:
    class Computed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.conv_transpose2d(x, x.mean((2, 3)).reshape(4, 1, 1, 1), stride=2)

    x = torch.randn(1, 4, 4, 5)
    graph_module = exported(Computed(), x)
    transposed_to_convolution(graph_module)
    assert "conv_transpose2d.input" in checked(graph_module, Computed(), x)


@pytest.mark.parametrize("rank", [1, 2])
def test_output_padding_is_a_slice(rank: int) -> None:
    model = nn.Sequential(LAYERS[rank](4, 6, 3, 2, 1, 1, groups=2), nn.ReLU())
    x = torch.randn(1, 4, *SIZES[rank])
    graph_module = exported(model, x)
    output_padding_to_slice(graph_module)
    names = checked(graph_module, model, x)
    assert names.count("slice.Tensor") == rank
    assert names.index("relu.default") < names.index("slice.Tensor")


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize(
    ("padding", "stride", "turned"), [(0, 1, True), (4, 1, True), (5, 1, False), (2, 2, False)]
)
def test_a_dilated_kernel_is_turned_round(rank: int, padding: int, stride: int, turned: bool) -> None:
    model = nn.Sequential(LAYERS[rank](4, 6, 3, stride, padding, 0, 2, dilation=2), nn.ReLU())
    x = torch.randn(1, 4, *(9, 10)[:rank])
    graph_module = exported(model, x)
    transposed_to_convolution(graph_module, native=True)
    names = checked(graph_module, model, x)
    assert any("conv_transpose" in name for name in names) != turned


def test_a_transposed_layer_is_quantized_as_a_layer() -> None:
    torch.manual_seed(0)
    decoder = nn.ConvTranspose2d(8, 4, 3, 2, 1, 1, bias=False)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), decoder, nn.BatchNorm2d(4), nn.ReLU()).eval()
    x = torch.randn(1, 3, 8, 8)
    prepared = observed(exported(model, x), ProfileQuantizer(quant(), "minmax"))
    prepared(x)
    converted = convert_pt2e(prepared, fold_quantize=False)
    assert count_layers(converted) == (2, [])
    noise = converted(x) - model(x)
    assert noise.norm() < 0.05 * model(x).norm()


@pytest.mark.parametrize("full", [False, True])
def test_what_a_runtime_makes_integers_by_itself_is_counted(full: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2, 2), nn.ReLU(), nn.Conv2d(4, 2, 1)
    ).eval()
    x = torch.randn(1, 3, 8, 8)
    prepared = observed(exported(model, x), ProfileQuantizer(quant(integer_io=True), "minmax"))
    prepared(x)
    count, left = count_layers(convert_pt2e(prepared, fold_quantize=False), full)
    assert (count, len(left)) == ((3, 0) if full else (2, 1))
