"""Fake quantization against the observer it replaces, and the gradient of its scale."""

import pytest
import torch
from torch import nn
from torchao.quantization.pt2e.fake_quantize import FusedMovingAvgObsFakeQuantize
from torchao.quantization.pt2e.observer import MovingAverageMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.quant.estimators import _weights
from edgekit.quant.fake import LearnedGrid, fake_quantize
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.trainable import give_back, trainable
from edgekit.records import Quant


def observer(kind: type, scheme: torch.qscheme, **more: object) -> nn.Module:
    made = kind(dtype=torch.int8, qscheme=scheme, quant_min=-7, quant_max=7, eps=2.0**-20, **more)
    made(torch.randn(4, 6, generator=torch.Generator().manual_seed(0)))
    return made


GRIDS = [
    (_weights.TensorOnce, torch.per_tensor_symmetric, {}),
    (_weights.ChannelsOnce, torch.per_channel_symmetric, {"ch_axis": 0}),
]


@pytest.mark.parametrize(("kind", "scheme", "more"), GRIDS, ids=["tensor", "channels"])
def test_it_starts_where_calibration_ended(kind, scheme, more) -> None:
    watched = observer(kind, scheme, **more)
    grid = LearnedGrid(watched, fixed=False)
    scale, zero = watched.calculate_qparams()
    assert torch.equal(grid.calculate_qparams()[0], scale.float()) and torch.equal(
        grid.calculate_qparams()[1], zero.int()
    )
    x = torch.randn(4, 6)
    steps = scale.reshape(-1, 1) if "ch_axis" in more else scale
    expected = torch.clamp(torch.round(x / steps), -7, 7) * steps
    assert torch.allclose(grid(x), expected, atol=1e-6)
    with torch.no_grad():
        assert torch.allclose(grid(x), expected, atol=1e-6), "the same without gradients"


@pytest.mark.parametrize(("kind", "scheme", "more"), GRIDS, ids=["tensor", "channels"])
def test_the_scale_follows_what_is_clipped(kind, scheme, more) -> None:
    grid = LearnedGrid(observer(kind, scheme, **more), fixed=False)
    x = torch.randn(4, 6) * 10  # far outside
    ((grid(x) - x) ** 2).mean().backward()
    assert (grid.growth.grad < 0).all(), "a step downhill makes the scale larger"
    inside = torch.randn(4, 6) * 1e-3
    inside.requires_grad_(True)
    grid(inside).sum().backward()
    assert torch.equal(inside.grad, torch.ones(4, 6)), "straight through inside the range"
    outside = torch.full((4, 6), 1e3, requires_grad=True)
    grid(outside).sum().backward()
    assert torch.equal(outside.grad, torch.zeros(4, 6))


def test_frozen_it_takes_no_gradient() -> None:
    grid = LearnedGrid(observer(*GRIDS[0][:2]), fixed=False)
    grid.freeze()
    x = torch.randn(4, 6, requires_grad=True)
    grid(x).sum().backward()
    assert grid.growth.grad is None and x.grad is not None


def test_why_not_torchaos_module() -> None:
    """It rounds to other scales while it trains than it hands to the converter, where weights have few bits."""
    fused = FusedMovingAvgObsFakeQuantize(
        MovingAverageMinMaxObserver, -3, 3, dtype=torch.int8, qscheme=torch.per_tensor_symmetric, eps=2.0**-20
    )
    fused(torch.tensor([-1.2, 0.3, 0.6]))
    trained, converted = float(fused.scale), float(fused.calculate_qparams()[0])
    assert converted == pytest.approx(1.2 / 3)
    assert trained == pytest.approx(7 / 8 * converted), "mended? Then fake.py is to say so"


@pytest.mark.parametrize("granularity", ["per_tensor", "per_channel"])
def test_the_converted_graph_rounds_as_the_trained_one(granularity) -> None:
    """Also after scales and weights have moved; a sigmoid's range is fixed and stays."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.Sigmoid(), nn.Conv2d(6, 2, 1)
    ).eval()
    x = torch.randn(1, 3, 8, 8)
    quant = Quant(
        activation_dtype="int8", weight_bits=4, granularity=granularity, symmetric_activations=False
    )
    prepared = prepare_pt2e(torch.export.export(model, (x,)).module(), ProfileQuantizer(quant, "mse"))
    prepared(x)
    grids = fake_quantize(prepared)
    module = trainable(prepared).train()
    fixed = [grid for grid in grids if not grid.growth.requires_grad]
    assert len(fixed) == 1 and len(grids) > 5
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(5):
        optimizer.zero_grad()
        module(torch.randn(4, 3, 8, 8)).square().mean().backward()
        optimizer.step()
    assert all(grid.growth.abs().max().item() > 0 for grid in grids if grid not in fixed)
    give_back(module, prepared)
    with torch.no_grad():
        trained = module.eval()(x)
    assert torch.allclose(convert_pt2e(prepared, fold_quantize=False)(x), trained, atol=1e-5)
