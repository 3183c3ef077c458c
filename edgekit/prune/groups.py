"""A group: channels that can only be removed together, and what they are in each layer."""

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

Side = Literal["in", "out"]


@dataclass(frozen=True)
class Part:
    """What the channels of a group are in one layer.

    Attributes:
        layer: The dotted name of the layer.
        side: "out" if the layer produces these channels, "in" if it reads them.
        indices: Channels as the layer numbers them.
        channels: The channel of the group that each index stands for.
    """

    layer: str
    side: Side
    indices: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Group:
    """Channels that are removed together, numbered from 0 to width - 1.

    Attributes:
        root: The first layer that produces them.
        width: How many there are.
        blocks: Equal parts that must keep the same channels, from grouped convolutions, group norms and
            attention heads.
        run: How many channels, one behind the other, only go together: what a view makes one channel of.
        parts: What the channels are in each layer.
        full: The whole group as Torch-Pruning represents it, for its criteria.
    """

    root: str
    width: int
    blocks: int
    parts: tuple[Part, ...]
    full: Any
    run: int = 1

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the layers in the group, each once."""
        return tuple(dict.fromkeys(part.layer for part in self.parts))


def is_depthwise(layer: nn.Module) -> bool:
    """Whether a layer convolves each channel on its own, with as many outputs as inputs."""
    return isinstance(layer, nn.modules.conv._ConvNd) and 1 < layer.groups == layer.out_channels
