"""One small program for every operation, each with the same computation in torch.

`build` gets the MIL builder and the inputs and is called in a child process, which has coremltools; `torch`
gets the same inputs as tensors and is called by the tests, which have not.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    build: Callable[..., Any]
    torch: Callable[..., Any]
    shapes: tuple[Shape, ...] = ((2, 3, 4, 5),)
    positive: bool = False  # inputs in 0.5 ... 3 instead of a normal distribution
    opset: str = "iOS17"

    def inputs(self, name: str) -> dict[str, np.ndarray]:
        random = np.random.default_rng(zlib.crc32(name.encode()))
        result = {}
        for key, shape in zip("xyz", self.shapes, strict=False):
            array = random.uniform(0.5, 3, shape) if self.positive else random.normal(0, 1.5, shape)
            result[key] = array.astype(np.float32)
        return result


def constant(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights that the builder and torch share."""
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def tensor(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(constant(*shape, seed=seed))


def _unary(op: str, function: Callable, positive: bool = False, **options: Any) -> Case:
    return Case(lambda mb, x: getattr(mb, op)(x=x, **options), function, positive=positive)


def _binary(op: str, function: Callable, positive: bool = False) -> Case:
    """The second operand is broadcast."""
    shapes = ((2, 3, 4, 5), (3, 1, 5))
    return Case(lambda mb, x, y: getattr(mb, op)(x=x, y=y), function, shapes, positive)


def _compare(op: str, function: Callable) -> Case:
    """On rounded operands, so that equal ones occur; truth values leave the program as floats."""

    def build(mb: Any, x: Any, y: Any) -> Any:
        return mb.cast(x=getattr(mb, op)(x=mb.round(x=x), y=mb.round(x=y)), dtype="fp32")

    return Case(build, lambda x, y: function(x.round(), y.round()).float(), ((4, 5), (4, 5)))


def _logical(op: str, function: Callable) -> Case:
    def build(mb: Any, x: Any, y: Any) -> Any:
        truth = getattr(mb, op)(x=mb.greater(x=x, y=0.0), y=mb.greater(x=y, y=0.0))
        return mb.cast(x=truth, dtype="fp32")

    return Case(build, lambda x, y: function(x > 0, y > 0).float(), ((4, 5), (4, 5)))


def _reduce(op: str, function: Callable, positive: bool = False) -> Case:
    def build(mb: Any, x: Any) -> Any:
        kept = getattr(mb, op)(x=x, axes=[1, -1], keep_dims=True)
        return mb.concat(values=[kept, getattr(mb, op)(x=x, axes=[-3, 3], keep_dims=True)], axis=0)

    return Case(build, lambda x: torch.cat([function(x)] * 2), positive=positive)


ELEMENTWISE = {
    "abs": _unary("abs", torch.abs),
    "acos": Case(lambda mb, x: mb.acos(x=mb.tanh(x=x)), lambda x: torch.acos(x.tanh())),
    "asin": Case(lambda mb, x: mb.asin(x=mb.tanh(x=x)), lambda x: torch.asin(x.tanh())),
    "atan": _unary("atan", torch.atan),
    "ceil": _unary("ceil", torch.ceil),
    "clip": _unary("clip", lambda x: x.clamp(-0.5, 1.0), alpha=-0.5, beta=1.0),
    "cos": _unary("cos", torch.cos),
    "cosh": _unary("cosh", torch.cosh),
    "elu": _unary("elu", lambda x: F.elu(x, 0.7), alpha=0.7),
    "erf": _unary("erf", torch.erf),
    "exp": _unary("exp", torch.exp),
    "exp2": _unary("exp2", torch.exp2),
    "floor": _unary("floor", torch.floor),
    "gelu": _unary("gelu", F.gelu, mode="EXACT"),
    "gelu_tanh": _unary("gelu", lambda x: F.gelu(x, approximate="tanh"), mode="TANH_APPROXIMATION"),
    "gelu_sigmoid": _unary("gelu", lambda x: x * (1.702 * x).sigmoid(), mode="SIGMOID_APPROXIMATION"),
    "identity": _unary("identity", lambda x: x),
    "inverse": _unary("inverse", lambda x: 1 / (x + 0.1), positive=True, epsilon=0.1),
    "leaky_relu": _unary("leaky_relu", lambda x: F.leaky_relu(x, 0.2), alpha=0.2),
    "linear_activation": _unary("linear_activation", lambda x: 2 * x - 1, alpha=2.0, beta=-1.0),
    "log": _unary("log", lambda x: torch.log(x + 0.01), positive=True, epsilon=0.01),
    "prelu": _unary("prelu", lambda x: F.prelu(x, tensor(3)), alpha=constant(3)),
    "relu": _unary("relu", torch.relu),
    "relu6": _unary("relu6", F.relu6),
    "round": _unary("round", torch.round),
    "rsqrt": _unary("rsqrt", lambda x: (x + 0.01).rsqrt(), positive=True, epsilon=0.01),
    "scaled_tanh": _unary("scaled_tanh", lambda x: 2 * torch.tanh(0.5 * x), alpha=2.0, beta=0.5),
    "sigmoid": _unary("sigmoid", torch.sigmoid),
    "sigmoid_hard": _unary("sigmoid_hard", F.hardsigmoid, alpha=1 / 6, beta=0.5),
    "sign": _unary("sign", torch.sign),
    "silu": _unary("silu", F.silu),
    "sin": _unary("sin", torch.sin),
    "sinh": _unary("sinh", torch.sinh),
    "softmax": _unary("softmax", lambda x: x.softmax(1), axis=1),
    "softplus": _unary("softplus", F.softplus),
    "softsign": _unary("softsign", F.softsign),
    "sqrt": _unary("sqrt", torch.sqrt, positive=True),
    "square": _unary("square", torch.square),
    "tan": Case(lambda mb, x: mb.tan(x=mb.tanh(x=x)), lambda x: torch.tan(x.tanh())),
    "tanh": _unary("tanh", torch.tanh),
    "threshold": _unary("threshold", lambda x: x.clamp(min=0.4), alpha=0.4),
    "thresholded_relu": _unary("thresholded_relu", lambda x: F.threshold(x, 0.4, 0.0), alpha=0.4),
    "add": _binary("add", torch.add),
    "floor_div": _binary("floor_div", torch.floor_divide),
    "maximum": _binary("maximum", torch.maximum),
    "minimum": _binary("minimum", torch.minimum),
    "mod": _binary("mod", torch.remainder, positive=True),
    "mul": _binary("mul", torch.mul),
    "pow": _binary("pow", torch.pow, positive=True),
    "real_div": _binary("real_div", torch.div, positive=True),
    "sub": _binary("sub", torch.sub),
    "equal": _compare("equal", torch.eq),
    "greater": _compare("greater", torch.gt),
    "greater_equal": _compare("greater_equal", torch.ge),
    "less": _compare("less", torch.lt),
    "less_equal": _compare("less_equal", torch.le),
    "not_equal": _compare("not_equal", torch.ne),
    "logical_and": _logical("logical_and", torch.logical_and),
    "logical_or": _logical("logical_or", torch.logical_or),
    "logical_xor": _logical("logical_xor", torch.logical_xor),
    "logical_not": Case(
        lambda mb, x: mb.cast(x=mb.logical_not(x=mb.greater(x=x, y=0.0)), dtype="fp32"),
        lambda x: (~(x > 0)).float(),
    ),
    "select": Case(
        lambda mb, x, y: mb.select(cond=mb.greater(x=x, y=y), a=x, b=y), torch.maximum, ((4, 5), (4, 5))
    ),
    "cast": Case(lambda mb, x: mb.cast(x=x, dtype="int32"), lambda x: x.int()),
}

REDUCE = {
    "reduce_l1_norm": _reduce("reduce_l1_norm", lambda x: x.abs().sum((1, 3), keepdim=True)),
    "reduce_l2_norm": _reduce("reduce_l2_norm", lambda x: x.norm(dim=(1, 3), keepdim=True)),
    "reduce_log_sum_exp": _reduce("reduce_log_sum_exp", lambda x: x.logsumexp((1, 3), keepdim=True)),
    "reduce_max": _reduce("reduce_max", lambda x: x.amax((1, 3), keepdim=True)),
    "reduce_mean": _reduce("reduce_mean", lambda x: x.mean((1, 3), keepdim=True)),
    "reduce_min": _reduce("reduce_min", lambda x: x.amin((1, 3), keepdim=True)),
    "reduce_prod": _reduce("reduce_prod", lambda x: x.prod(1, True).prod(3, True), positive=True),
    "reduce_sum": _reduce("reduce_sum", lambda x: x.sum((1, 3), keepdim=True)),
    "reduce_sum_square": _reduce("reduce_sum_square", lambda x: x.square().sum((1, 3), keepdim=True)),
    "reduce_sum_all_axes": _unary("reduce_sum", torch.sum, keep_dims=False),
    "reduce_argmax": _unary("reduce_argmax", lambda x: x.argmax(2), axis=2, keep_dims=False),
    "reduce_argmin": _unary("reduce_argmin", lambda x: x.argmin(1, True), axis=1, keep_dims=True),
    "cumsum": _unary("cumsum", lambda x: x.cumsum(1), axis=1),
    "cumsum_exclusive": _unary("cumsum", lambda x: x.cumsum(1) - x, axis=1, exclusive=True),
    "cumsum_reverse": _unary("cumsum", lambda x: x.flip(1).cumsum(1).flip(1), axis=1, reverse=True),
    "argsort": Case(
        lambda mb, x: mb.cast(x=mb.argsort(x=x, axis=2, ascending=True), dtype="fp32"),
        lambda x: x.argsort(2).float(),
    ),
    "topk": Case(lambda mb, x: mb.topk(x=x, k=2, axis=-1), lambda x: x.topk(2)),
    "topk_ascending": Case(
        lambda mb, x: mb.topk(x=x, k=3, axis=2, ascending=True), lambda x: x.topk(3, 2, largest=False)
    ),
}


def _conv(function: Callable, shape: Shape, weight: Shape, **options: Any) -> Case:
    def build(mb: Any, x: Any) -> Any:
        return mb.conv(x=x, weight=constant(*weight), bias=constant(weight[0], seed=1), **options)

    return Case(build, lambda x: function(x, tensor(*weight), tensor(weight[0], seed=1)), (shape,))


def _same(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.pad(x, (0, 1, 0, 1)), w, b, stride=2)


def _same_lower(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return F.conv2d(F.pad(x, (1, 0, 1, 0)), w, b, stride=2)


IMAGE = (1, 4, 8, 8)
CONV = {
    "conv": _conv(F.conv2d, IMAGE, (6, 4, 3, 3)),
    "conv_1d": _conv(
        lambda x, w, b: F.conv1d(x, w, b, 2, 1),
        (2, 4, 9),
        (6, 4, 3),
        strides=[2],
        pad_type="custom",
        pad=[1, 1],
    ),
    "conv_3d": _conv(F.conv3d, (1, 2, 4, 5, 6), (3, 2, 2, 3, 2)),
    "conv_depthwise": _conv(
        lambda x, w, b: F.conv2d(x, w, b, 1, 2, 2, 4),
        IMAGE,
        (4, 1, 3, 3),
        pad_type="custom",
        pad=[2, 2, 2, 2],
        dilations=[2, 2],
        groups=4,
    ),
    "conv_same": _conv(_same, IMAGE, (6, 4, 3, 3), strides=[2, 2], pad_type="same"),
    "conv_same_lower": _conv(_same_lower, IMAGE, (6, 4, 3, 3), strides=[2, 2], pad_type="same_lower"),
    "conv_asymmetric": _conv(
        lambda x, w, b: F.conv2d(F.pad(x, (2, 1, 0, 3)), w, b),
        IMAGE,
        (6, 4, 3, 3),
        pad_type="custom",
        pad=[0, 3, 2, 1],
    ),
    "conv_transpose": Case(
        lambda mb, x: mb.conv_transpose(
            x=x,
            weight=constant(4, 3, 3, 3),
            bias=constant(3),
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
        ),
        lambda x: F.conv_transpose2d(x, tensor(4, 3, 3, 3), tensor(3), 2, 1),
        (IMAGE,),
    ),
    "conv_transpose_output_shape": Case(
        lambda mb, x: mb.conv_transpose(
            x=x,
            weight=constant(4, 3, 3, 3),
            bias=constant(3),
            strides=[2, 2],
            pad_type="custom",
            pad=[1, 1, 1, 1],
            output_shape=[1, 3, 16, 16],
        ),
        lambda x: F.conv_transpose2d(x, tensor(4, 3, 3, 3), tensor(3), 2, 1, output_padding=1),
        (IMAGE,),
    ),
}


def _pool(op: str, function: Callable, shape: Shape = (1, 3, 9, 8), **options: Any) -> Case:
    return Case(lambda mb, x: getattr(mb, op)(x=x, **options), function, (shape,))


POOL = {
    "max_pool": _pool(
        "max_pool",
        lambda x: F.max_pool2d(x, 3, 2, 1),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1] * 4,
    ),
    "max_pool_ceil": _pool(
        "max_pool",
        lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1] * 4,
        ceil_mode=True,
    ),
    "max_pool_1d": _pool(
        "max_pool", lambda x: F.max_pool1d(x, 2), (1, 3, 9), kernel_sizes=[2], strides=[2], pad_type="valid"
    ),
    "avg_pool": _pool(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1] * 4,
    ),
    "avg_pool_excluded_ceil": _pool(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1] * 4,
        ceil_mode=True,
        exclude_padding_from_average=True,
    ),
    "avg_pool_ceil": _pool(
        "avg_pool",
        lambda x: F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
        kernel_sizes=[3, 3],
        strides=[2, 2],
        pad_type="custom",
        pad=[1] * 4,
        ceil_mode=True,
    ),
    "avg_pool_valid": _pool(
        "avg_pool", lambda x: F.avg_pool2d(x, 3, 1), kernel_sizes=[3, 3], strides=[1, 1], pad_type="valid"
    ),
}

NORM = {
    "batch_norm": _unary(
        "batch_norm",
        lambda x: F.batch_norm(
            x, tensor(3), tensor(3, seed=1).abs(), tensor(3, seed=2), tensor(3, seed=3), eps=1e-3
        ),
        mean=constant(3),
        variance=np.abs(constant(3, seed=1)),
        gamma=constant(3, seed=2),
        beta=constant(3, seed=3),
        epsilon=1e-3,
    ),
    "instance_norm": _unary(
        "instance_norm",
        lambda x: F.instance_norm(x, weight=tensor(3), bias=tensor(3, seed=1), eps=1e-3),
        gamma=constant(3),
        beta=constant(3, seed=1),
        epsilon=1e-3,
    ),
    "layer_norm": _unary(
        "layer_norm",
        lambda x: F.layer_norm(x, (4, 5), tensor(4, 5), tensor(4, 5, seed=1), eps=1e-3),
        axes=[-2, -1],
        gamma=constant(4, 5),
        beta=constant(4, 5, seed=1),
        epsilon=1e-3,
    ),
    "layer_norm_channels": _unary(
        "layer_norm",
        lambda x: F.layer_norm(x.movedim(1, -1), (3,), tensor(3)).movedim(-1, 1),
        axes=[1],
        gamma=constant(3),
        epsilon=1e-5,
    ),
    "l2_norm": _unary(
        "l2_norm", lambda x: x / (x.square().sum((1, 2, 3), keepdim=True) + 0.1).sqrt(), epsilon=0.1
    ),
}


def _attention(mb: Any, x: Any, y: Any, z: Any) -> Any:
    return mb.scaled_dot_product_attention(query=x, key=y, value=z, attn_mask=constant(4, 6))


LINEAR = {
    "linear": Case(
        lambda mb, x: mb.linear(x=x, weight=constant(7, 5), bias=constant(7)),
        lambda x: F.linear(x, tensor(7, 5), tensor(7)),
    ),
    "matmul": Case(lambda mb, x, y: mb.matmul(x=x, y=y), torch.matmul, ((2, 3, 4, 5), (3, 5, 6))),
    "matmul_transposed": Case(
        lambda mb, x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
        lambda x, y: x.mT @ y.mT,
        ((2, 5, 4), (2, 6, 5)),
    ),
    "einsum": Case(
        lambda mb, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"),
        lambda x, y: torch.einsum("nchw,nwhu->nchu", x, y),
        ((1, 3, 4, 5), (1, 5, 4, 6)),
    ),
    "scaled_dot_product_attention": Case(
        _attention,
        lambda x, y, z: F.scaled_dot_product_attention(x, y, z, tensor(4, 6)),
        ((1, 2, 4, 8), (1, 2, 6, 8), (1, 2, 6, 3)),
        opset="iOS18",
    ),
}


def _resize(op: str, function: Callable, **options: Any) -> Case:
    return Case(lambda mb, x: getattr(mb, op)(x=x, **options), function, ((1, 2, 4, 5),))


def _interpolate(height: int, width: int, corners: bool) -> Callable:
    return lambda x: F.interpolate(x, (height, width), mode="bilinear", align_corners=corners)


def _resample(mb: Any, x: Any, y: Any) -> Any:
    options = {"sampling_mode": "bilinear", "padding_mode": "constant", "padding_value": 0.0}
    where = {"coordinates_mode": "normalized_minus_one_to_one", "align_corners": False}
    return mb.resample(x=x, coordinates=y, **options, **where)


RESIZE = {
    "resample": Case(
        _resample, lambda x, y: F.grid_sample(x, y, align_corners=False), ((2, 3, 6, 5), (2, 4, 3, 2))
    ),
    "upsample_bilinear": _resize(
        "upsample_bilinear",
        _interpolate(8, 15, False),
        scale_factor_height=2.0,
        scale_factor_width=3.0,
        align_corners=False,
        half_pixel_centers=True,
    ),
    "upsample_bilinear_corners": _resize(
        "upsample_bilinear",
        _interpolate(8, 15, True),
        scale_factor_height=2,
        scale_factor_width=3,
        align_corners=True,
    ),
    "resize_bilinear": _resize(
        "resize_bilinear",
        _interpolate(7, 3, True),
        target_size_height=7,
        target_size_width=3,
        sampling_mode="STRICT_ALIGN_CORNERS",
    ),
    "resize_bilinear_unaligned": _resize(
        "resize_bilinear",
        _interpolate(7, 3, False),
        target_size_height=7,
        target_size_width=3,
        sampling_mode="UNALIGN_CORNERS",
    ),
    "resize_nearest_neighbor": _resize(
        "resize_nearest_neighbor",
        lambda x: F.interpolate(x, (7, 3), mode="nearest"),
        target_size_height=7,
        target_size_width=3,
    ),
    "upsample_nearest_neighbor": _resize(
        "upsample_nearest_neighbor",
        lambda x: F.interpolate(x, scale_factor=(2, 3), mode="nearest"),
        scale_factor_height=2,
        scale_factor_width=3,
    ),
}
