"""Transposed convolutions with groups, which Torch-Pruning cuts as if their weight were [out, in / groups, ...]: it is [in, out / groups, ...]."""

from collections.abc import Sequence

import torch_pruning as tp
from torch import nn

from edgekit.prune.groups import is_depthwise

_Transposed = nn.modules.conv._ConvTransposeNd


class GroupedTransposed(tp.BasePruningFunc):  # type: ignore[misc]
    """Takes channels out of a transposed convolution; of one with groups, the same ones out of every block."""

    TARGET_MODULES = nn.modules.conv._ConvTransposeNd

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        """Cuts what the layer makes."""
        keep = sorted(set(range(layer.out_channels)) - set(idxs))
        layer.out_channels = len(keep)
        layer.weight = self._prune_parameter_and_grad(layer.weight, keep[: len(keep) // layer.groups], 1)
        if layer.bias is not None:
            layer.bias = self._prune_parameter_and_grad(layer.bias, keep, 0)
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        """Cuts what the layer reads."""
        keep = sorted(set(range(layer.in_channels)) - set(idxs))
        layer.in_channels = len(keep)
        layer.weight = self._prune_parameter_and_grad(layer.weight, keep, 0)
        return layer

    def get_out_channels(self, layer: nn.modules.conv._ConvNd) -> int:
        """Returns how many channels the layer makes."""
        return layer.out_channels

    def get_in_channels(self, layer: nn.modules.conv._ConvNd) -> int:
        """Returns how many channels the layer reads."""
        return layer.in_channels


def grouped_transposed(module: nn.Module) -> list[type[nn.Module]]:
    """Returns the classes that have layers with groups; a class that has depthwise layers, too, is left to Torch-Pruning.

    Criteria that go by Torch-Pruning's functions do not look at the weights of these layers, but at those around them.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, _Transposed)]
    apart = {type(layer) for layer in layers if is_depthwise(layer)}
    return list({type(layer) for layer in layers if is_grouped_transposed(layer)} - apart)


def is_grouped_transposed(layer: nn.Module) -> bool:
    """Whether it is a transposed convolution with groups of more than one channel."""
    return isinstance(layer, _Transposed) and layer.groups > 1 and not is_depthwise(layer)
