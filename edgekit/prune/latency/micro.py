"""Micro-models: the layers around one group of channels, alone, at any width of the group.

A width changes what the layers cost that make the channels, work on them and read them. In a runtime they can not be told
apart: it lays channels out in blocks, and an odd width in one layer costs the next one a conversion. So they are measured
together, as they follow each other in the network: conv, activation, conv. Norms are left out, since exporters fold them.
The text of a micro-model is its key in the table: the same layers in another network are not measured again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from edgekit.prune.graph import is_depthwise


@dataclass(frozen=True)
class Extent:
    """Channels of a layer; `follows` of them go with the group, at its whole width."""

    total: int
    follows: int = 0

    def at(self, share: float) -> int:
        """Where the group keeps this share of its width."""
        return self.total - round(self.follows * (1 - share))

    def __str__(self) -> str:
        return f"{self.total}" if not self.follows else f"{self.total}~{self.follows}"


@dataclass(frozen=True)
class Layer:
    """A convolution or linear layer of the network, of which only shapes count."""

    layer: nn.Module
    inputs: Extent
    outputs: Extent

    def at(self, share: float) -> nn.Module:
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
    """What stands between two layers and treats each channel alone: an operator with its numbers."""

    name: str
    call: Callable[..., Any]
    arguments: tuple[Any, ...]

    def at(self, share: float) -> nn.Module:
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
    """Layers that follow each other. width: of the group, whole. shape: of the first input; its channels are those of
    the first layer, at place `channel`. macs: of each layer, whole; nodes: their names in the exported program."""

    width: int
    shape: tuple[int, ...]
    channel: int
    steps: tuple[Layer | Between, ...]
    nodes: tuple[str, ...]
    macs: tuple[int, ...]

    @property
    def text(self) -> str:
        """What is measured, without the width."""
        return f"{_text(self.shape)} " + "; ".join(map(str, self.steps))

    def at(self, width: int) -> tuple[nn.Module, torch.Tensor]:
        """The module at one width of the group, and an input for it; both of random numbers."""
        share = width / self.width
        made = nn.Sequential(*(step.at(share) for step in self.steps)).eval()
        first = self.steps[0]
        assert isinstance(first, Layer)
        shape = list(self.shape)
        shape[self.channel] = first.inputs.at(share)
        return made, torch.randn(shape)


def _text(value: Any) -> str:
    """Numbers of a setting, as `3x3`; equal ones as one."""
    if isinstance(value, list | tuple):
        return "x".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
