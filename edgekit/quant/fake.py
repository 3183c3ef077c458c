"""Fake quantization: what rounds while it trains, in the places where observers calibrated.

A value goes through round(x / s) * s, clipped to the integers of its grid. Rounding has no slope; its gradient is taken as that of
the identity inside the range and zero outside (straight through, Bengio et al. 2013, arXiv:1308.3432). The scale s starts
where calibration left it and is a parameter: its gradient weighs what is clipped against what is rounded coarsely (Esser et
al. 2020, "Learned Step Size Quantization", arXiv:1902.08153). It is kept as start * exp(GAIN * p), so that a step of the optimizer
changes it by a share of itself and it stays positive.

Ranges that follow the smallest and largest value of each batch (Jacob et al. 2018, arXiv:1712.05877) are not used. They undo what
calibration chose, and torchao's module for them (`FusedMovingAvgObsFakeQuantize`) trains other scales than `convert_pt2e` reads from
it: the kernel lays a symmetric range over one integer more than a narrow grid has. That is a gap between the trained and the converted
model of the usual recipe: 0.4 % of a scale at 8 bits, an eighth at 3 bits.

`convert_pt2e` reads the numbers of this module as it reads an observer's: the converted program rounds as the trained one did.
"""

from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from edgekit.quant import simulate
from edgekit.quant.estimators._grid import EPS

GAIN = 10.0  # scales may move this many times as fast as an optimizer moves weights of size one


class LearnedGrid(FakeQuantizeBase):
    """Rounds to the grid of a calibrated observer, whose scale is trained until `freeze`.

    Args:
        observer: The calibrated observer.
        fixed: Whether the scale is never trained.
        of_weight: Whether it rounds a weight, of which each process of a training has the same.
    """

    start: torch.Tensor
    zero_point: torch.Tensor

    def __init__(self, observer: Any, fixed: bool, of_weight: bool = False) -> None:
        super().__init__()
        self.of_weight = of_weight
        scale, zero = observer.calculate_qparams()
        self.dtype, self.qscheme, self.is_dynamic = observer.dtype, observer.qscheme, False
        self.quant_min, self.quant_max = int(observer.quant_min), int(observer.quant_max)
        self.ch_axis = getattr(observer, "ch_axis", 0)
        self.per_channel = self.qscheme in (torch.per_channel_symmetric, torch.per_channel_affine)
        self.register_buffer("start", scale.float().clone())
        self.register_buffer("zero_point", zero.float().clone())
        self.growth = nn.Parameter(torch.zeros_like(self.start), requires_grad=not fixed)
        self.frozen = fixed

    def scale(self) -> torch.Tensor:
        """Returns the current scale, with its gradient."""
        return (self.start * torch.exp(GAIN * self.growth)).clamp_min(EPS)

    def calculate_qparams(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the current scale and zero point, without gradients, as `convert_pt2e` reads them."""
        return self.scale().detach(), self.zero_point.int()

    def freeze(self) -> None:
        """Stops the training of the scale."""
        self.frozen = True

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `x` rounded to the grid."""
        low, high = self.quant_min, self.quant_max
        if self.frozen or not torch.is_grad_enabled():
            scale, zero = self.calculate_qparams()
            if self.per_channel:
                return torch.fake_quantize_per_channel_affine(x, scale, zero, self.ch_axis, low, high)
            return torch.fake_quantize_per_tensor_affine(x, scale, zero, low, high)
        factor = (self._values(x) * max(high, 1)) ** -0.5
        if self.per_channel:
            return torch._fake_quantize_learnable_per_channel_affine(
                x, self.scale(), self.zero_point, self.ch_axis, low, high, factor
            )
        return torch._fake_quantize_learnable_per_tensor_affine(
            x, self.scale(), self.zero_point, low, high, factor
        )

    def _values(self, x: torch.Tensor) -> int:
        """Returns how many values an update of the scale rests on: of activations, those of all processes."""
        several = torch.distributed.is_available() and torch.distributed.is_initialized()
        return x.numel() * (torch.distributed.get_world_size() if several and not self.of_weight else 1)


def fake_quantize(prepared: GraphModule) -> list[LearnedGrid]:
    """Replaces every observer of a calibrated graph with fake quantization, in place.

    A range that needs no observing, such as that of a sigmoid, does not train.

    Returns:
        The modules that were put in.
    """
    made: dict[nn.Module, LearnedGrid] = {}
    calls = [node for node in prepared.graph.nodes if node.op == "call_module"]
    weights = {str(node.target) for node in calls if node.args[0].op == "get_attr"}
    for name, observer in sorted(simulate.observers(prepared).items()):
        if observer not in made:
            made[observer] = LearnedGrid(
                observer, fixed=not hasattr(observer, "eps"), of_weight=name in weights
            )
        setattr(prepared, name, made[observer])
    return list(made.values())
