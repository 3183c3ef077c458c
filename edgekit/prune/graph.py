"""Which channels of a network can only be removed together: the groups of Torch-Pruning's dependency graph.

Removing a channel from a layer removes it from the norm behind it, from every layer that reads it and, where
a sum joins two layers, from both. DepGraph (Fang et al. 2023, arXiv:2301.12900) finds such groups from one
forward pass and the graph that autograd records. Here each becomes a `Group` named after its first layer, and
`Graph.remove` removes channels from it by number. Groups that produce an output of the network, recurrent
layers, and whatever is ignored are left out.

Cost: one forward pass, and about n^2 steps of Python for n layers; ResNet-18 takes half a second. On some
networks (Swin) the search does not end, so `limit_s` stops it.
"""

import math
import warnings
from collections.abc import Collection, Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import nn
from torch.utils import _pytree as pytree

from edgekit.errors import ConversionError
from edgekit.prune._lost_channels import tolerant
from edgekit.prune._time_limit import TimeUp, time_limit
from edgekit.prune._untraceable import opaque
from edgekit.prune.grouped_transposed import GroupedTransposed, grouped_transposed, is_grouped_transposed
from edgekit.prune.groups import Group, Part, Side, is_depthwise

LIMIT_S = 60.0
_LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


class _Wall(tp.BasePruningFunc):  # type: ignore[misc]
    """Stands in for a recurrent layer, whose channels stay."""

    TARGET_MODULES = nn.RNNBase

    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    def prune_in_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        return layer

    def get_out_channels(self, layer: nn.RNNBase) -> int:
        return int(layer.hidden_size) * (2 if layer.bidirectional else 1)

    def get_in_channels(self, layer: nn.RNNBase) -> int:
        return int(layer.input_size)


class Graph:
    """The groups of a module, by root.

    The module is changed: it is put in eval mode, its weights require gradients, and `remove` prunes it.

    Args:
        module: The network.
        examples: Inputs for the forward pass.
        ignore: Dotted names of layers or blocks whose own channels stay.
        limit_s: How long the search may take.

    Attributes:
        groups: The groups that can be pruned, by root.
        strange: Roots of groups that name channels which their layers do not have, for example where a layer
            halves its channels, or that reach an operator through which channels cannot be followed; they are left out.

    Raises:
        ConversionError: The search fails, or takes longer than `limit_s`.
    """

    def __init__(
        self,
        module: nn.Module,
        examples: tuple[torch.Tensor, ...],
        ignore: Collection[str] = (),
        limit_s: float = LIMIT_S,
    ) -> None:
        self.module, self.examples = module.eval().requires_grad_(True), examples
        self.strange: list[str] = []
        try:
            with time_limit(limit_s), warnings.catch_warnings(), tolerant() as self._lost:
                warnings.simplefilter("ignore")
                self._found = _dependencies(self.module, examples)
                self.groups = self._groups(_below(module, ignore))
        except TimeUp:
            raise ConversionError(
                f"Torch-Pruning searched {type(module).__name__} for {limit_s:g} s for channels that go together and found no end"
            ) from None
        except ConversionError:
            raise
        except Exception as error:
            raise ConversionError(
                f"Torch-Pruning cannot follow the channels of {type(module).__name__}: {type(error).__name__}: {error}"
            ) from error

    def remove(self, root: str, channels: Sequence[int]) -> None:
        """Removes channels, as the group numbers them, from every layer of the group."""
        with tolerant():
            self._of(root, channels).prune()

    def parts(self, root: str, channels: Sequence[int]) -> tuple[Part, ...]:
        """Returns what `remove` would remove, layer by layer."""
        with tolerant():
            return self._parts(self._of(root, channels))

    def _of(self, root: str, channels: Sequence[int]) -> Any:
        """The channels as Torch-Pruning groups them: it finds the rest of a run from its first one, and given all counts them twice."""
        layer, run = self.module.get_submodule(root), self.groups[root].run
        first = [channel for channel in sorted(channels) if channel % run == 0]
        return self._found.get_pruning_group(layer, self._maker(layer), first)

    def _maker(self, layer: nn.Module) -> Any:
        return self._found.get_pruner_of_module(layer).prune_out_channels

    def _groups(self, ignored: list[nn.Module]) -> dict[str, Group]:
        made = []
        lost = self._lost.times
        for full in self._found.get_all_groups(ignored_layers=ignored):
            made.append(self._group(full, self._lost.times > lost))
            lost = self._lost.times
        order = {name: number for number, (name, _) in enumerate(self.module.named_modules())}
        return {g.root: g for g in sorted((g for g in made if g), key=lambda g: order[g.root])}

    def _group(self, full: Any, lost: bool) -> Group | None:
        """The group as a record; None where it is not ours to prune, or some of its channels were `lost`."""
        targets = [dep.target.module for dep, _ in full]
        if any(isinstance(target, tp.ops._OutputOp | nn.RNNBase) for target in targets):
            return None
        if lost or any(node in self._lost.nodes for dep, _ in full for node in (dep.source, dep.target)):
            self.strange.append(self._found._module2name[full[0][0].target.module])
            return None
        full = self._from_the_first(full)
        width, blocks = len(full[0][1]), math.lcm(*map(_blocks, targets))
        first = full[0][0].target.module
        root, parts, run = self._found._module2name[first], self._parts(full), self._run(first)
        if width % (blocks * run):
            return None
        if not all(self._fits(part) for part in parts):
            self.strange.append(root)
            return None
        return Group(root=root, width=width, blocks=blocks, run=run, parts=parts, full=full)

    def _run(self, layer: nn.Module) -> int:
        """How many channels, one behind the other, are one channel of a reader: 16 where a view makes [C, 4, 4] of them."""
        alone = self._found.get_pruning_group(layer, self._maker(layer), [0])
        together = sorted(alone[0].idxs)
        return len(together) if together == list(range(len(together))) else 1

    def _fits(self, part: Part) -> bool:
        """Whether the layer has channels with these numbers, and is not depthwise with a multiplier."""
        layer = self.module.get_submodule(part.layer)
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1:
            multiplied = layer.groups == layer.in_channels < layer.out_channels
            if multiplied or (
                is_grouped_transposed(layer) and type(layer) not in self._found.CUSTOMIZED_PRUNERS
            ):
                return False
        count = self._found.get_out_channels if part.side == "out" else self._found.get_in_channels
        return count(layer) is None or max(part.indices) < count(layer)

    def _from_the_first(self, full: Any) -> Any:
        """The same group from its first layer in module order, if that layer produces all of its channels."""
        order = {module: number for number, module in enumerate(self.module.modules())}
        made = [
            dep.target.module
            for dep, indices in full
            if self._found.is_out_channel_pruning_fn(dep.handler)
            and isinstance(dep.target.module, _LAYERS)
            and not is_depthwise(dep.target.module)
            and list(indices) == list(range(len(full[0][1])))
            and self._found.get_out_channels(dep.target.module) == len(indices)
        ]
        for layer in sorted(made, key=lambda layer: order[layer]):
            again = self._found.get_pruning_group(layer, self._maker(layer), list(range(len(full[0][1]))))
            if len(again) == len(full):
                return again
        return full

    def _parts(self, group: Any) -> tuple[Part, ...]:
        found = []
        for item in group:
            module, name = item.dep.target.module, self._found._module2name.get(item.dep.target.module)
            if not isinstance(module, nn.Module) or not name or name.startswith("UnwrappedParameter"):
                continue
            side: Side = "out" if self._found.is_out_channel_pruning_fn(item.dep.handler) else "in"
            found.append(Part(name, side, tuple(item.idxs), tuple(item.root_idxs)))
        return tuple(found)


def _dependencies(module: nn.Module, examples: tuple[torch.Tensor, ...]) -> Any:
    with opaque(module):
        return tp.DependencyGraph().build_dependency(
            module,
            list(examples),
            output_transform=_total,
            customized_pruners={kind: _Wall() for kind in (nn.LSTM, nn.GRU, nn.RNN)}
            | {kind: GroupedTransposed() for kind in grouped_transposed(module)},
            verbose=False,
        )


def _total(outputs: Any) -> torch.Tensor:
    """One number that depends on every output, whatever structure holds them."""
    tensors = [
        t for t in pytree.tree_leaves(outputs) if isinstance(t, torch.Tensor) and t.grad_fn is not None
    ]
    return torch.stack([t.float().sum() for t in tensors]).sum()


def _below(module: nn.Module, names: Collection[str]) -> list[nn.Module]:
    return [inner for name in names for inner in module.get_submodule(name).modules()]


def _blocks(module: object) -> int:
    if isinstance(module, nn.modules.conv._ConvNd) and not is_depthwise(module):
        return int(module.groups)
    if isinstance(module, nn.GroupNorm):
        return int(module.num_groups)
    return int(module.num_heads) if isinstance(module, nn.MultiheadAttention) else 1
