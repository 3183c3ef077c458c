"""Several samples in one run of a graph that was exported for one: fewer calls, and convolutions that fill the caches.

A rule, not a trial: a graph is widened only if each of its operators is known to treat the first dimension as samples
that do not meet. Shapes that fix it, as in `view(x, [1, -1])`, are rewritten. How many samples run together
depends on the largest tensor, so that memory stays near that of one image.
"""

import copy
from typing import Any

import torch
import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  registers the quantized_decomposed operators
from torch.fx import GraphModule, Node

from edgekit.quant import rules

ATEN = rules.ATEN

LARGEST_BYTES = 10_000_000  # of one tensor of a run, where more than one sample is in it
MOST = 32

_SHAPED = rules.known("view.default", "reshape.default")
_APART = (
    rules.MAC | rules.NORM | rules.UNARY | rules.BINARY_FULL | rules.FIXED.keys()
    | rules.known(
        "max_pool1d.default", "max_pool2d.default", "max_pool3d.default", "avg_pool1d.default", "avg_pool2d.default",
        "avg_pool3d.default", "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "dropout.default",
        "clone.default", "contiguous.default", "relu_.default", "relu6_.default", "hardtanh_.default",
        "pixel_shuffle.default", "upsample_nearest2d.vec", "upsample_bilinear2d.vec",
        "gt.Tensor", "where.Scalar",
    )
)  # fmt: skip
#: what a converted graph has around each of them
ROUNDING = {
    torch.ops.quantized_decomposed.quantize_per_tensor.default,
    torch.ops.quantized_decomposed.dequantize_per_tensor.default,
}


def copied(prepared: GraphModule) -> GraphModule:
    """Returns a new graph on the same modules and tensors, without the checks of input shapes."""
    module = GraphModule(prepared, copy.deepcopy(prepared.graph))
    _drop_guards(module)
    for node in module.graph.nodes:  # an observer, or what it became, hands on the shape of what it reads
        rounds = node.op == "call_module" or node.target in ROUNDING
        if rounds and "val" not in node.meta and "val" in node.args[0].meta:
            node.meta["val"] = node.args[0].meta["val"]
    return module


def _drop_guards(module: GraphModule) -> None:
    """Drops the checks of input shapes, which are done earlier."""
    for node in list(module.graph.nodes):
        if node.op == "call_module" and node.target == "_guards_fn":
            module.graph.erase_node(node)


def widen(module: GraphModule) -> int:
    """Rewrites a graph to take several samples at once, where that is safe.

    Args:
        module: A graph that was exported for batch 1; rewritten in place.

    Returns:
        How many samples it may be given at once: 1 if the graph cannot be widened.
    """
    if not free(module):
        return 1
    largest = max(node.meta["val"].numel() * node.meta["val"].element_size() for node in _moving(module))
    return max(1, min(MOST, LARGEST_BYTES // largest))


def free(module: GraphModule) -> bool:
    """Rewrites a graph in place to take any number of samples.

    Returns:
        False, with nothing changed, where the samples might meet.
    """
    nodes = _moving(module)
    if not all(_is_one_sample(node) and _keeps_apart(node) for node in nodes):
        return False
    for node in nodes:
        if node.target in _SHAPED:
            node.args = (node.args[0], [-1, *node.meta["val"].shape[1:]])
    return True


def _moving(module: GraphModule) -> list[Node]:
    """Lists the inputs and the calls that depend on one; a rounded stored weight is the same for all samples."""
    found = {node: node.op == "placeholder" for node in module.graph.nodes if node.op != "output"}
    for node in found:
        found[node] = found[node] or any(found[source] for source in node.all_input_nodes)
    return [node for node, moves in found.items() if moves and node.op in ("placeholder", "call_function")]


def _is_one_sample(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.dim() >= 2 and value.shape[0] == 1


def _keeps_apart(node: Node) -> bool:
    rank, args = node.meta["val"].dim(), node.args
    if node.op == "placeholder" or node.target in _APART | _SHAPED | ROUNDING:
        return True
    if node.target in rules.PADS:
        return len(args[1]) < 2 * rank
    if node.target is ATEN.flatten.using_ints:
        return len(args) > 1 and args[1] >= 1
    if node.target is ATEN.mean.dim:
        return bool(args[1]) and all(d % _rank(args[0]) for d in args[1])
    if node.target is ATEN.cat.default:
        samples = all(_is_one_sample(n) and n.op != "get_attr" for n in args[0])
        return samples and len(args) > 1 and args[1] % rank != 0
    return node.target is ATEN.slice.Tensor and len(args) > 1 and args[1] % rank != 0


def _rank(value: Any) -> int:
    return int(value.meta["val"].dim())
