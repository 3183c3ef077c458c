"""The prepared graph in the form that calibrating runs: the same numbers and the same observers, in less time and memory.

The observers, weights and biases are those of the prepared graph, shared, not copied; only the calls differ:

- images go through it channels last, as convolution kernels want them, instead of being reordered at every layer;
- an activation behind a layer overwrites the layer's output: no second tensor;
- a weight is observed once, before the first input;
- what only moves or averages values of an observed tensor (pools, reshapes, a concatenation) is not observed again;
- where samples cannot meet, several small ones go through it at once (`together`).

Results of a convolution may differ in the last bit, because its products are added in another order.
"""

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import batching, rules, tensors
from edgekit.quant.calibrate import TOGETHER
from edgekit.quant.program import calls

ATEN = rules.ATEN

_OVERWRITES = {
    ATEN.relu.default: ATEN.relu_.default,
    ATEN.relu6.default: ATEN.relu6_.default,
    ATEN.hardtanh.default: ATEN.hardtanh_.default,
}


def observing(prepared: GraphModule) -> GraphModule:
    """Returns a module that observes what `prepared` would, with the same observers.

    It gives the same answers, and no gradients.
    """
    module = batching.copied(prepared)
    for rewrite in (_observe_constants, _observe_once, _overwrite, _channels_last):
        rewrite(module)
    module.graph.eliminate_dead_code()
    alone = any(getattr(observer, "one_by_one", False) for observer in observers(module).values())
    module.meta[TOGETHER] = 1 if alone else batching.widen(module)
    module.recompile()
    return module


def constant_observers(module: GraphModule) -> dict[Node, torch.nn.Module]:
    """Maps calls to the observers that look at one stored tensor and at nothing else."""
    observed = observers(module)
    seen = [*observed.values()]
    return {
        node: observer
        for node, observer in observed.items()
        if node.args[0].op == "get_attr" and seen.count(observer) == 1
    }


def observe_constants(module: GraphModule) -> list[Node]:
    """Shows weights to their observers now; returns the calls of these observers, which then need not run."""
    constant = constant_observers(module)
    for node, observer in constant.items():
        observer(tensors.read(module, str(node.args[0].target)))
    return [*constant]


def _observe_constants(module: GraphModule) -> None:
    """Shows weights to their observers now and takes these observers out of the graph."""
    for node in observe_constants(module):
        _bypass(node)


def _observe_once(module: GraphModule) -> None:
    """Takes out the observers that have already seen these values before they were moved."""
    observed = observers(module)
    for node, observer in observed.items():
        moved = node.args[0]
        if moved.target is ATEN.cat.default:
            sources = moved.args[0]
        elif moved.target in rules.SHARE:
            sources = [moved.args[0]]
        else:
            continue
        if all(observed.get(_unmoved(source)) is observer for source in sources):
            _bypass(node)


def _unmoved(node: Node) -> Node:
    """Returns where the values come from; observers behind what moves them are gone."""
    while node.target in rules.SHARE:
        node = node.args[0]
    return node


def _overwrite(module: GraphModule) -> None:
    fresh = rules.MAC | rules.BINARY_FULL | rules.NORM
    for node in calls(module):
        if (
            node.target in fresh
            and (user := rules.only_user(node)) is not None
            and user.target in _OVERWRITES
        ):
            user.target = _OVERWRITES[user.target]


def _channels_last(module: GraphModule) -> None:
    nodes = list(module.graph.nodes)
    if not any(rules.conv_rank(node) == 2 for node in nodes):
        return
    for node in nodes:
        if node.target is ATEN.view.default:
            node.target = ATEN.reshape.default  # a view of channels last may need a copy
        elif node.op == "placeholder" and rules.is_float(node) and node.meta["val"].dim() == 4:
            with module.graph.inserting_after(node):
                last = module.graph.call_function(ATEN.contiguous.default, (node,))
            node.replace_all_uses_with(last, delete_user_cb=lambda user, last=last: user is not last)
            last.kwargs, last.meta = {"memory_format": torch.channels_last}, dict(node.meta)


def observers(module: GraphModule) -> dict[Node, torch.nn.Module]:
    """Maps the calls of observers to the observers; pt2e may know one observer by several names."""
    called = {n: module.get_submodule(n.target) for n in module.graph.nodes if n.op == "call_module"}
    return {node: called[node] for node in called if hasattr(called[node], "calculate_qparams")}


def _bypass(node: Node) -> None:
    node.replace_all_uses_with(node.args[0])
    node.graph.erase_node(node)
