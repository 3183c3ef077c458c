"""Micro-models: the layers around one group of channels, on their own, at any width of the group.

A width changes the cost of the layers that produce the channels, work on them and read them. Inside a runtime
these cannot be told apart: it stores channels in blocks, and an odd width in one layer costs the next one a
conversion. So they are measured together, in the order of the network: convolution, activation, convolution.
Norms are left out, since exporters fold them. The text of a micro-model is its key in the table: the same
layers in another network are not measured again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn

from edgekit.prune.groups import is_depthwise


@dataclass(frozen=True)
class Extent:
    """The channels of a layer.

    Attributes:
        total: How many the layer has.
        follows: How many of them belong to the group, at its whole width.
    """

    total: int
    follows: int = 0

    def at(self, share: float) -> int:
        """Returns how many are left where the group keeps this share of its width."""
        return self.total - round(self.follows * (1 - share))

    def __str__(self) -> str:
        return f"{self.total}" if not self.follows else f"{self.total}~{self.follows}"


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of the network, of which only the shapes matter."""

    layer: nn.Module
    inputs: Extent
    outputs: Extent

    def at(self, share: float) -> nn.Module:
        """Returns a new layer, with random weights, for a group that keeps this share of its width."""
        inputs, outputs, layer = self.inputs.at(share), self.outputs.at(share), self.layer
        if isinstance(layer, nn.Linear):
            return nn.Linear(inputs, outputs)
        assert isinstance(layer, nn.modules.conv._ConvNd)
        kind = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[len(layer.kernel_size)]
        groups = outputs if is_depthwise(layer) else layer.groups
        made: nn.Module = kind(
            outputs if is_depthwise(layer) else inputs, outputs, layer.kernel_size, layer.stride, layer.padding,
            layer.dilation, groups, padding_mode=layer.padding_mode,
        )  # fmt: skip
        return made

    def __str__(self) -> str:
        layer = self.layer
        if isinstance(layer, nn.Linear):
            return f"linear {self.inputs}>{self.outputs}"
        assert isinstance(layer, nn.modules.conv._ConvNd)
        numbers = {
            "k": layer.kernel_size, "s": layer.stride, "p": layer.padding, "d": layer.dilation, "g": layer.groups,
        }  # fmt: skip
        return f"conv {self.inputs}>{self.outputs} " + " ".join(f"{k}{_text(v)}" for k, v in numbers.items())


@dataclass(frozen=True)
class Between:
    """An operator between two layers that treats each channel alone, with its numeric arguments."""

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]

    def at(self, share: float) -> nn.Module:
        """Returns the operator as a module, which is the same at every width."""
        return _Call(self.call, self.arguments)

    def __str__(self) -> str:
        return " ".join([self.name.rstrip("_"), *(_text(a) for a in self.arguments)])


class _Call(nn.Module):
    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        super().__init__()
        self._call, self._arguments = call, arguments

    def forward(self, x: torch.Tensor) -> Any:
        return self._call(x, *self._arguments)


@dataclass(frozen=True)
class Micro:
    """Layers that follow each other.

    Attributes:
        width: The whole width of the group.
        shape: The shape of the first input at the whole width.
        result: The shape of the last output at the whole width.
        channel: The axis of the channels in the input.
        steps: The layers and the operators between them.
        nodes: The names of the layers in the exported program.
        macs: The multiply-accumulates of each layer at the whole width.
    """

    width: int
    shape: tuple[int, ...]
    result: tuple[int, ...]
    channel: int
    steps: tuple[Layer | Between, ...]
    nodes: tuple[str, ...]
    macs: tuple[int, ...]

    @property
    def text(self) -> str:
        """What is measured, without the width."""
        return f"{_text(self.shape)} " + "; ".join(map(str, self.steps))

    def at(self, width: int) -> tuple[nn.Module, torch.Tensor]:
        """Returns the module at one width of the group, and an input for it; both hold random numbers."""
        share = width / self.width
        made = nn.Sequential(*(step.at(share) for step in self.steps)).eval()
        first = self.steps[0]
        assert isinstance(first, Layer)
        shape = list(self.shape)
        shape[self.channel] = first.inputs.at(share)
        return made, torch.randn(shape)

    def border_elements(self, width: int) -> float:
        """Returns how many numbers come in and go out at one width of the group."""
        share = width / self.width
        layers = [step for step in self.steps if isinstance(step, Layer)]
        ends = ((self.shape, layers[0].inputs), (self.result, layers[-1].outputs))
        return sum(prod(shape) * extent.at(share) / extent.total for shape, extent in ends)


class Border:
    """What a micro-model costs on top of its layers' cost in the network.

    Its input is converted to what kernels like, blocks of channels or integers, and its output is converted
    back. One and two equal layers reveal that cost: twice the time of the first minus the time of the second.
    """

    text = "border 1x16x32x32"
    widths = (1, 2)  # layers, in place of channels
    elements = 2 * 16 * 32 * 32

    def at(self, layers: int) -> tuple[nn.Module, torch.Tensor]:
        """Returns as many equal layers, and an input for them."""
        made = nn.Sequential(*(nn.Conv2d(16, 16, 1) for _ in range(layers)))
        return made.eval(), torch.randn(1, 16, 32, 32)

    @classmethod
    def s_per_element(cls, cpu_s: tuple[float, ...]) -> float:
        """Returns the seconds for each number converted, from the times of one and of two layers."""
        one, two = cpu_s
        return max(0.0, 2 * one - two) / cls.elements


def _text(value: Any) -> str:
    """Numbers of a setting, such as "3x3"."""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
