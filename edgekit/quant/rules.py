"""Which operators the quantizer knows, as plain tables, and the questions it asks about a node.

Everything that is in no table stays float: matmul, scaled_dot_product_attention, softmax, layer_norm, batch norms
without a convolution, transposed convolutions, embeddings, recurrent cells.
"""

from typing import Any

import torch
from torch.fx import Node

ATEN = torch.ops.aten


def known(*names: str) -> set[Any]:
    """The overloads called `op.overload` that this torch has."""
    pairs = [name.split(".") for name in names]
    return {getattr(getattr(ATEN, op), over) for op, over in pairs if hasattr(getattr(ATEN, op, None), over)}


#: multiply and accumulate with a constant weight: where int8 pays
MAC = known("conv1d.default", "conv2d.default", "conv3d.default", "linear.default")
#: the same work that this quantizer leaves float; counted, so that a report can say so
FLOAT_MAC = known(
    "conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input", "matmul.default", "bmm.default",
    "mm.default", "addmm.default", "baddbmm.default", "einsum.default", "scaled_dot_product_attention.default",
    "lstm.input", "gru.input", "conv1d.padding", "conv2d.padding", "conv3d.padding",
)  # fmt: skip
NORM = known("batch_norm.default")
#: an activation that every runtime merges into the layer before it
FUSED = known("relu.default", "relu6.default", "hardtanh.default")
BINARY = known("add.Tensor", "mul.Tensor")
#: elementwise, quantized only where the input already is
UNARY = FUSED | known(
    "hardswish.default",
    "hardsigmoid.default",
    "gelu.default",
    "leaky_relu.default",
    "elu.default",
    "silu.default",
)
#: output range known beforehand, and demanded by TFLite: (low, high)
FIXED = {ATEN.sigmoid.default: (0.0, 1.0), ATEN.tanh.default: (-1.0, 1.0)}
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
PADS = known("pad.default", "constant_pad_nd.default")


def is_float(value: object) -> bool:
    """Whether `value` is a node that holds a float32 tensor."""
    tensor = value.meta.get("val") if isinstance(value, Node) else None
    return isinstance(tensor, torch.Tensor) and tensor.dtype == torch.float32


def only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def pad_value(node: Node) -> float | None:
    """What a constant pad writes; None for reflect, replicate and circular, which repeat the input."""
    args = dict(zip(("input", "pad", "mode", "value"), node.args, strict=False)) | node.kwargs
    if node.target is ATEN.constant_pad_nd.default:
        return float(args.get("mode", args.get("value", 0)) or 0)  # its third argument is the value
    return float(args.get("value") or 0) if args.get("mode", "constant") == "constant" else None


def is_zero_pad(value: object) -> bool:
    return isinstance(value, Node) and value.target in PADS and pad_value(value) == 0


def keeps_grid(node: Node) -> bool:
    """Whether the output needs no range of its own: a SHARE operator that adds no number but zero."""
    return node.target in SHARE and (node.target not in PADS or pad_value(node) in (0, None))


def conv_rank(node: Node) -> int:
    """Spatial dimensions of a convolution; 0 for anything else."""
    return {ATEN.conv1d.default: 1, ATEN.conv2d.default: 2, ATEN.conv3d.default: 3}.get(node.target, 0)
