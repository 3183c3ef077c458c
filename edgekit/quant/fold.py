"""Batch norms go into the convolution or linear layer before them, each into a weight of its own.

torchao's `_fuse_conv_bn_` and `_fuse_linear_bn_` write the folded weight where the old one was. They do not ask who else
reads it: of a convolution that two branches share, each with a norm of its own (the heads of EfficientDet, RTMDet), both
then compute with the first norm, and the second one is lost (pytorch/ao#2795). So a weight or bias that someone else reads
is copied first, for this one layer. Weights that are shared without a norm stay shared, and are stored once.

A norm that cannot be folded stays: what it reads is read by others too; it takes its statistics from its input; its
tensors are computed; the layer is a transposed convolution with groups.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
from torchao.quantization.pt2e.quantizer import Quantizer
from torchao.quantization.pt2e.utils import _fuse_conv_bn_, _fuse_linear_bn_

from edgekit.errors import ConversionError
from edgekit.quant import proven, rules, tensors
from edgekit.quant.program import calls, origin
from edgekit.quant.views import is_mutable

ATEN = rules.ATEN
_LAYERS = rules.MAC | rules.TRANSPOSED | rules.known("conv1d.padding", "conv2d.padding", "conv3d.padding")


def fold_batch_norms(graph_module: GraphModule, before: proven.Reference | None = None) -> None:
    """Folds in place every batch norm that can be folded.

    Args:
        graph_module: The float graph.
        before: The answers of the graph, where they are known.

    Raises:
        ConversionError: The folded graph answers something else.
    """
    if not any(node.target in rules.NORM for node in calls(graph_module)):
        return
    before = before or proven.of_graph(graph_module)
    own_tensors(graph_module)
    with _kept_apart(graph_module):
        _fuse_conv_bn_(graph_module)
        _fuse_linear_bn_(graph_module)
    graph_module.recompile()
    before.demand(graph_module, "folding batch norms")


def observed(
    graph_module: GraphModule, quantizer: Quantizer, before: proven.Reference | None = None
) -> GraphModule:
    """Runs `prepare_pt2e`, which folds too, after norms were folded as above.

    Args:
        graph_module: The float graph.
        quantizer: What annotates it.
        before: The answers of the graph, where they are known.

    Returns:
        The prepared graph.

    Raises:
        ConversionError: The graph writes in place, or the prepared graph answers something else.
    """
    for node in calls(graph_module):
        if is_mutable(node):
            raise ConversionError(
                f"{origin(node) or 'forward'} writes a part of a tensor in place ({node.target}), which is lost where tensors are "
                "rounded. Make a new tensor of the parts, with torch.cat or torch.where"
            )
    fold_batch_norms(graph_module, before)
    with _kept_apart(graph_module) as norms:
        prepared: GraphModule = prepare_pt2e(graph_module, quantizer)
        for node in calls(prepared):
            if node.target is norms:
                node.target = ATEN.batch_norm.default
    prepared.recompile()
    return prepared


def own_tensors(graph_module: GraphModule) -> None:
    """Copies the tensors that a layer before a norm shares with other calls."""
    layers = [node.args[0] for node in calls(graph_module) if node.target in rules.NORM and _folds(node)]
    readers = Counter(
        id(tensors.held(graph_module, str(source.target)))
        for node in graph_module.graph.nodes
        for source in node.all_input_nodes
        if source.op == "get_attr"
    )
    for layer in layers:
        for position in (1, 2):
            source = layer.args[position] if len(layer.args) > position else None
            if not isinstance(source, Node):
                continue
            key = id(tensors.held(graph_module, str(source.target)))
            if readers[key] > 1:
                readers[key] -= 1
                _copy(graph_module, layer, position, source)


def _copy(graph_module: GraphModule, layer: Node, position: int, source: Node) -> None:
    path, number = str(source.target), 1
    parents, _, name = path.rpartition(".")
    owner = graph_module.get_submodule(parents)
    while hasattr(owner, f"{name}_{number}"):
        number += 1
    value = tensors.read(graph_module, path).clone()
    owner.register_parameter(f"{name}_{number}", nn.Parameter(value, requires_grad=False))
    with graph_module.graph.inserting_before(layer):
        own = graph_module.graph.get_attr(f"{path}_{number}")
    own.meta = dict(source.meta)
    layer.args = (*layer.args[:position], own, *layer.args[position + 1 :])


def _folds(norm: Node) -> bool:
    layer = norm.args[0]
    if not isinstance(layer, Node) or layer.target not in _LAYERS or len(layer.users) != 1:
        return False
    stored = [*layer.args[1:3], *norm.args[1:5]]
    known = all(value is None or _is_stored(value) for value in stored)
    flat = layer.target is not ATEN.linear.default or layer.args[0].meta["val"].dim() == 2
    has_statistics = all(map(_is_stored, norm.args[3:5]))
    grouped = layer.target in rules.TRANSPOSED and len(layer.args) > 6 and layer.args[6] != 1
    return known and flat and has_statistics and not norm.args[5] and not grouped


def _is_stored(value: object) -> bool:
    return isinstance(value, Node) and value.op == "get_attr"


@contextmanager
def _kept_apart(graph_module: GraphModule) -> Iterator[Any]:
    """Hides the norms that cannot go into the layer before them, so that torchao leaves them alone.

    Yields what they are.
    """
    apart = [
        node
        for node in calls(graph_module)
        if node.target in rules.NORM and node.args[0].target in _LAYERS and not _folds(node)
    ]
    for node in apart:
        node.target = _norm
    try:
        yield _norm
    finally:
        for node in apart:
            node.target = ATEN.batch_norm.default


def _norm(*args: Any) -> torch.Tensor:
    return ATEN.batch_norm.default(*args)  # type: ignore[no-any-return]
