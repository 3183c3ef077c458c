"""Which operators the quantizer knows, as plain tables, and the questions it asks about a node.

Everything that is in no table stays float: scaled_dot_product_attention, layer_norm, batch norms without a convolution,
embeddings, recurrent cells. Products and ungrouped transposed convolutions are integers where what is around them is.
"""

from typing import Any

import torch
from torch.fx import Node

ATEN = torch.ops.aten


def known(*names: str) -> set[Any]:
    """Returns the overloads called `op.overload` that this torch has."""
    pairs = [name.split(".") for name in names]
    return {getattr(getattr(ATEN, op), over) for op, over in pairs if hasattr(getattr(ATEN, op, None), over)}


#: multiply and accumulate with a constant weight: where int8 pays
MAC = known("conv1d.default", "conv2d.default", "conv3d.default", "linear.default")
TRANSPOSED = known("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
#: the same work that this quantizer leaves float; counted, so that a report can say so
FLOAT_MAC = known(
    "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input", "matmul.default", "bmm.default",
    "mm.default", "addmm.default", "baddbmm.default", "einsum.default", "scaled_dot_product_attention.default",
    "lstm.input", "gru.input", "conv1d.padding", "conv2d.padding", "conv3d.padding",
)  # fmt: skip
#: from this width on a GRU by integers is faster in ONNX Runtime: 0.71 of float at 320, 1.14 at 256 (one thread, AVX2, 50 steps)
INTEGER_GRU_HIDDEN = 320
#: products of two activations
PRODUCTS = known("matmul.default", "bmm.default")
NORM = known("batch_norm.default")
#: an activation that every runtime merges into the layer before it
FUSED = known("relu.default", "relu6.default", "hardtanh.default")
BINARY = known("add.Tensor", "mul.Tensor")
#: the same with what only a profile with integer_io makes integers
BINARY_FULL = BINARY | known("sub.Tensor")
#: elementwise, quantized only where the input already is
UNARY = FUSED | known(
    "hardswish.default",
    "hardsigmoid.default",
    "gelu.default",
    "leaky_relu.default",
    "elu.default",
    "silu.default",
)
#: output grid known in advance, and demanded by TFLite: (scale, steps below zero)
FIXED = {ATEN.sigmoid.default: (1 / 256, 0), ATEN.tanh.default: (1 / 128, 128)}
#: the same, of operators that are made integers only for a profile with integer_io
FIXED_FULL = {
    ATEN.softmax.int: (1 / 256, 0),
    ATEN.log_softmax.int: (1 / 16, 255),
}
#: the grid of x / max(|x|, eps), likewise
L2_GRID = (1 / 128, 128)
#: the output lives on the grid of the input
SHARE = known(
    "max_pool1d.default", "max_pool2d.default", "max_pool3d.default", "avg_pool1d.default", "avg_pool2d.default",
    "avg_pool3d.default", "adaptive_avg_pool1d.default", "adaptive_avg_pool2d.default", "mean.dim", "mean.default",
    "view.default", "reshape.default", "flatten.using_ints", "unflatten.int", "permute.default", "transpose.int",
    "squeeze.default", "squeeze.dim", "squeeze.dims", "unsqueeze.default", "slice.Tensor", "select.int",
    "pad.default", "constant_pad_nd.default", "dropout.default", "clone.default", "contiguous.default",
    "alias.default", "detach.default", "expand.default", "pixel_shuffle.default", "channel_shuffle.default",
    "upsample_nearest2d.vec", "upsample_bilinear2d.vec", "amax.default", "amin.default", "flip.default", "roll.default",
    "index_select.default",
)  # fmt: skip
#: of those, what may have a range of its own in every runtime, and is often far below the largest value it reads
MEANS = known("mean.dim", "mean.default")
#: what forward does to a literal before it uses it
RESHAPES = known(
    "lift_fresh_copy.default", "view.default", "reshape.default", "unsqueeze.default", "detach.default", "clone.default",
)  # fmt: skip
PADS = known("pad.default", "constant_pad_nd.default")
#: without an integer kernel in ONNX Runtime: at the end of a network, integers would only be made to be unmade
FLOAT_ENDS = (UNARY | {ATEN.tanh.default, ATEN.upsample_bilinear2d.vec}) - {
    ATEN.leaky_relu.default, ATEN.hardswish.default, ATEN.hardsigmoid.default, ATEN.silu.default,
}  # fmt: skip


def is_float(value: object) -> bool:
    """Whether `value` is a node that holds a float32 tensor."""
    tensor = value.meta.get("val") if isinstance(value, Node) else None
    return isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32


def is_constant(value: object) -> bool:
    """Whether `value` is a node that reads a stored float tensor."""
    return isinstance(value, Node) and value.op == "get_attr" and is_float(value)


def only_user(node: Node) -> Node | None:
    """Returns the one node that reads `node`; None if there are several or none."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def pad_value(node: Node) -> float | None:
    """Returns what a constant pad writes; None for reflect, replicate and circular, which repeat the input."""
    args = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | node.kwargs
    if node.target is ATEN.constant_pad_nd.default:
        return float(args.get("mode", args.get("value", 0)) or 0)  # its third argument is the value
    return float(args.get("value") or 0) if args.get("mode", "constant") == "constant" else None


def is_zero_pad(value: object) -> bool:
    """Whether `value` is a node that pads with zeros."""
    return isinstance(value, Node) and value.target in PADS and pad_value(value) == 0


def is_share(value: object) -> bool:
    """Whether `value` is a softmax, or one whose left out places are zero: numbers from 0 to 1."""
    while isinstance(value, Node) and value.target in (ATEN.masked_fill.Scalar, ATEN.dropout.default):
        if value.target is ATEN.masked_fill.Scalar and value.args[2] != 0:
            return False
        value = value.args[0]
    return isinstance(value, Node) and value.target is ATEN.softmax.int


def ends_in_layers(node: Node) -> bool:
    """Whether all that reads `node`, through reshapes, is the input of a layer."""
    readers = list(node.users)
    return bool(readers) and all(
        reader.args[0] is node if reader.target in MAC else keeps_grid(reader) and ends_in_layers(reader)
        for reader in readers
    )


def averages(node: Node) -> bool:
    """Whether `node` is a mean of more than one number; of one, converters make a reshape."""
    return node.target in MEANS and node.meta["val"].numel() < node.args[0].meta["val"].numel()


def pad_of_layer(node: Node) -> bool:
    """Whether `node` is a zero pad that only a layer reads, as its input."""
    user = only_user(node)
    return is_zero_pad(node) and user is not None and user.target in MAC and user.args[0] is node


def keeps_grid(node: Node) -> bool:
    """Whether the output needs no range of its own: a SHARE operator that adds no number but zero."""
    return node.target in SHARE and (node.target not in PADS or pad_value(node) in (0, None))


def only_feeds_layers(node: Node) -> bool:
    """Whether `node` reshapes the model's input and only quantized layers read it: then the whole path can be integers."""
    source = node.args[0] if node.args else None
    if not (isinstance(source, Node) and source.op == "placeholder" and is_float(source)):
        return False
    return bool(node.users) and all(user.target in MAC and user.args[0] is node for user in node.users)


def normalized(node: Node) -> tuple[Node, Node] | None:
    """Returns (x, its norm) where `node` is x / max(|x|, eps), F.normalize, over the last dimension; else None."""
    if node.target is not ATEN.div.Tensor or not all(isinstance(a, Node) for a in node.args[:2]):
        return None
    norm = node.args[1]
    while norm.target in (ATEN.expand_as.default, ATEN.expand.default, ATEN.clamp_min.default):
        norm = norm.args[0]
    if norm.target is not ATEN.linalg_vector_norm.default or not _same_value(norm.args[0], node.args[0]):
        return None
    order, dims, keeps = [*norm.args[1:], *(2, None, False)[len(norm.args) - 1 :]][:3]
    last = node.meta["val"].dim() - 1
    return (node.args[0], norm) if order == 2 and keeps and dims in ([last], [-1]) else None


def _same_value(one: Node, other: Node) -> bool:
    """Whether both hold the same value; a converted graph dequantizes a tensor separately for each reader."""
    return one is other or (one.target is other.target and one.args == other.args)


def is_unit_clamp(node: Node) -> bool:
    """Whether `node` clamps to [0, 1], which TFLite has as an operator (RELU_0_TO_1) and not as a part of a layer."""
    return node.target is ATEN.hardtanh.default and [*node.args[1:], -1, 1][:2] == [0, 1]


def conv_rank(node: Node) -> int:
    """Returns the number of spatial dimensions of a convolution; 0 for anything else."""
    return {ATEN.conv1d.default: 1, ATEN.conv2d.default: 2, ATEN.conv3d.default: 3}.get(node.target, 0)
