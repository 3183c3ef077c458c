"""Which layers surround each group of channels, read from the exported program.

Starting at each layer that produces channels of the group, its output is followed through operators that
treat every channel alone, depthwise convolutions included, up to the layer that reads it; together they are
one micro-model. If a sum, a concatenation or a second reader comes first, the micro-model ends there, and the
readers behind it are measured on their own. So a group in a residual stream has many micro-models, whose
times add up. The cost of a sum, or of an activation behind it, is part of no micro-model.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from torch.fx import Node

from edgekit.prune.groups import Group, is_depthwise
from edgekit.prune.latency.micro import Between, Extent, Layer, Micro
from edgekit.prune.residual_stream import _CHANNELWISE, _LAYERS
from edgekit.quant.graph_macs import counted, operator
from edgekit.quant.program import calls, module_path

_FOLDED = {"batch_norm", "dropout", "dropout_", "feature_dropout"}
_NO_LAYER = (nn.MultiheadAttention, nn.modules.conv._ConvTransposeNd, nn.RNNBase)


@dataclass(frozen=True)
class Surroundings:
    """The micro-models of a network.

    Attributes:
        micros: The micro-models of each group, by root.
        strange: Groups that fit in no micro-model, and the layer that prevents it.
    """

    micros: dict[str, tuple[Micro, ...]]
    strange: dict[str, str]

    @property
    def each(self) -> dict[str, Micro]:
        """Every micro-model once, by its text."""
        return {micro.text: micro for found in self.micros.values() for micro in found}


def surroundings(
    module: nn.Module, examples: tuple[torch.Tensor, ...], groups: Mapping[str, Group]
) -> Surroundings:
    """Finds what has to be measured for these groups.

    Args:
        module: The network.
        examples: Inputs to export it with.
        groups: The groups of channels, by root.
    """
    program = torch.export.export(module.eval(), examples)
    macs = {node.name: count for node, _, count in counted(program)}
    nodes = [n for n in calls(program.graph_module) if operator(n) in _LAYERS and module_path(n)]
    found, strange = dict[str, tuple[Micro, ...]](), dict[str, str]()
    for root, group in groups.items():
        odd = next((m for m in group.members if isinstance(module.get_submodule(m), _NO_LAYER)), None)
        if odd is not None:
            strange[root] = f"{odd} ({type(module.get_submodule(odd)).__name__})"
            continue
        found[root] = tuple(_Walk(module, group, nodes, macs).micros())
    return Surroundings(found, strange)


class _Walk:
    """Finds the micro-models of one group."""

    def __init__(self, module: nn.Module, group: Group, nodes: list[Node], macs: Mapping[str, int]) -> None:
        self._module, self._group, self._macs = module, group, macs
        self._nodes = [node for node in nodes if self._layer(node) is not None]

    def micros(self) -> Iterator[Micro]:
        """Yields them, from layers that produce the channels, then from layers that no walk has passed."""
        done = set[Node]()
        for node in sorted(self._nodes, key=lambda n: not self._makes(n)):
            if node not in done:
                chain = list(self._chain(node, done))
                done.update(chain)
                yield self._micro(chain)

    def _chain(self, node: Node, done: set[Node]) -> Iterator[Node]:
        """The node and what follows it, up to the layer that reads the channels."""
        yield node
        if not self._makes(node) and not is_depthwise(self._module.get_submodule(module_path(node))):
            return
        waiting = list[Node]()
        while len(node.users) == 1:
            node = next(iter(node.users))
            if node in self._nodes and node not in done:
                yield from (*waiting, node)
                waiting = []
                if not is_depthwise(self._module.get_submodule(module_path(node))):
                    return
            elif operator(node) in _CHANNELWISE and _alone(node):
                waiting.append(node)
            else:
                break
        yield from waiting

    def _micro(self, chain: list[Node]) -> Micro:
        layers = [node for node in chain if node in self._nodes]
        steps = tuple(
            self._layer(node) or Between(operator(node), node.target, tuple(node.args[1:]))  # type: ignore[arg-type]
            for node in chain
            if node in self._nodes or operator(node) not in _FOLDED
        )
        shape = tuple(int(d) for d in chain[0].args[0].meta["val"].shape)  # type: ignore[union-attr]
        linear = operator(chain[0]) == "linear"
        return Micro(
            width=self._group.width,
            shape=shape,
            result=tuple(int(d) for d in chain[-1].meta["val"].shape),
            channel=len(shape) - 1 if linear else 1,
            steps=steps,
            nodes=tuple(node.name for node in layers),
            macs=tuple(self._macs.get(node.name, 0) for node in layers),
        )

    def _layer(self, node: Node) -> Layer | None:
        """The layer of a node, if it holds channels of the group."""
        name = module_path(node)
        if operator(node) not in _LAYERS or name not in self._group.members:
            return None
        layer = self._module.get_submodule(name)
        inputs, outputs = self._follows(name, "in"), self._follows(name, "out")
        if is_depthwise(layer):
            inputs = outputs = max(inputs, outputs)
        if isinstance(layer, nn.Linear):
            return Layer(layer, Extent(layer.in_features, inputs), Extent(layer.out_features, outputs))
        if isinstance(layer, nn.modules.conv._ConvNd):
            return Layer(layer, Extent(layer.in_channels, inputs), Extent(layer.out_channels, outputs))
        return None

    def _makes(self, node: Node) -> bool:
        name = module_path(node)
        return bool(self._follows(name, "out")) and not is_depthwise(self._module.get_submodule(name))

    def _follows(self, layer: str, side: str) -> int:
        return len(
            {
                i
                for part in self._group.parts
                if part.layer == layer and part.side == side
                for i in part.indices
            }
        )


def _alone(node: Node) -> bool:
    """Whether its only inputs are one tensor and numbers; norms count as such."""
    return operator(node) in _FOLDED or len(node.all_input_nodes) == 1
