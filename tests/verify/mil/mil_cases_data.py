"""The cases of operations that move, index, quantize or decompress; see mil_cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mil_cases import CONV, ELEMENTWISE, LINEAR, NORM, POOL, REDUCE, RESIZE, Case, constant, tensor
from mil_cases import _unary as unary

INDICES = np.array([2, -1, 0], np.int32)


def _slice(mb: Any, x: Any) -> Any:
    return mb.slice_by_index(
        x=x,
        begin=[1, 0, -1, 4],
        end=[2, 2, 0, 0],
        stride=[1, 1, 1, -2],
        begin_mask=[False, True, False, False],
        end_mask=[False, False, True, True],
        squeeze_mask=[True, False, False, False],
    )


def _flexible(mb: Any, x: Any) -> Any:
    """What a reshape with a flexible size becomes: shape, gather, concat, reshape."""
    batch = mb.gather(x=mb.shape(x=x), indices=np.int32(0), axis=0)
    return mb.reshape(x=x, shape=mb.concat(values=[batch, np.int32(-1)], axis=0))


def _counted(mb: Any, x: Any) -> Any:
    """What an index by a free length becomes: a range up to a size that is read from a shape."""
    end = mb.add(x=mb.gather(x=mb.shape(x=x), indices=np.int32(1), axis=0), y=np.int32(3))
    counted = mb.range_1d(end=end, start=np.int32(1), step=np.int32(2))
    return mb.add(x=x, y=mb.reshape(x=mb.cast(x=counted, dtype="fp32"), shape=[3]))


SHAPE = {
    "band_part": unary("band_part", lambda x: x.triu(-1).tril(2), lower=1, upper=2),
    "crop": unary("crop", lambda x: x[..., 1:3, :4], crop_height=[1, 1], crop_width=[0, 1]),
    "pixel_unshuffle": Case(
        lambda mb, x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(2)),
        lambda x: torch.nn.functional.pixel_unshuffle(x, 2),
        ((1, 3, 4, 6),),
    ),
    "reshape": unary("reshape", lambda x: x.reshape(2, 12, 5), shape=[2, -1, 5]),
    "reshape_flexible": Case(_flexible, lambda x: x.flatten(1)),
    "expand_dims": Case(
        lambda mb, x: mb.expand_dims(x=x, axes=[1, -1]), lambda x: x[:, None, ..., None], ((2, 3),)
    ),
    "squeeze": Case(lambda mb, x: mb.squeeze(x=x, axes=[1, -1]), lambda x: x[:, 0, :, 0], ((2, 1, 4, 1),)),
    "transpose": unary("transpose", lambda x: x.permute(0, 2, 3, 1), perm=[0, 2, 3, 1]),
    "concat": Case(
        lambda mb, x, y: mb.concat(values=[x, y], axis=1), lambda x, y: torch.cat([x, y], 1), ((2, 3), (2, 4))
    ),
    "concat_interleaved": Case(
        lambda mb, x, y: mb.concat(values=[x, y], axis=1, interleave=True),
        lambda x, y: torch.stack([x, y], 2).flatten(1, 2),
        ((2, 3, 4), (2, 3, 4)),
    ),
    "stack": Case(
        lambda mb, x, y: mb.stack(values=[x, y], axis=1),
        lambda x, y: torch.stack([x, y], 1),
        ((2, 3), (2, 3)),
    ),
    "split": Case(
        lambda mb, x: mb.split(x=x, num_splits=2, axis=2), lambda x: torch.split(x, 2, 2), ((2, 3, 4, 5),)
    ),
    "split_sizes": Case(
        lambda mb, x: mb.split(x=x, split_sizes=[1, 3], axis=2), lambda x: torch.split(x, [1, 3], 2)
    ),
    "tile": unary("tile", lambda x: x.repeat(1, 2, 1, 3), reps=[1, 2, 1, 3]),
    "fill": Case(
        lambda mb, x: mb.add(x=x, y=mb.fill(shape=mb.shape(x=x), value=2.5)), lambda x: x + 2.5, ((2, 3),)
    ),
    "reverse": unary("reverse", lambda x: x.flip(1, 3), axes=[1, 3]),
    "pixel_shuffle": Case(
        lambda mb, x: mb.pixel_shuffle(x=x, upscale_factor=2),
        lambda x: F.pixel_shuffle(x, 2),
        ((1, 8, 3, 4),),
    ),
    "pad": unary("pad", lambda x: F.pad(x, (3, 0, 1, 2), value=0.5), pad=[1, 2, 3, 0], constant_val=0.5),
    "pad_reflect": unary(
        "pad", lambda x: F.pad(x, (2, 1, 1, 2), mode="reflect"), pad=[0, 0, 0, 0, 1, 2, 2, 1], mode="reflect"
    ),
    "pad_replicate": unary(
        "pad", lambda x: F.pad(x, (2, 1, 0, 3), mode="replicate"), pad=[0, 3, 2, 1], mode="replicate"
    ),
    "slice_by_index": Case(_slice, lambda x: x[1, :2, -1:][..., [4, 2, 0]]),
    "slice_by_size": unary("slice_by_size", lambda x: x[:, 1:3, 2:], begin=[0, 1, 2, 0], size=[-1, 2, -1, 5]),
}

INDEXING = {
    "gather_nd": Case(
        lambda mb, x: mb.gather_nd(x=x, indices=np.array([[1, 0], [0, 2]], np.int32)),
        lambda x: torch.stack([x[1, 0], x[0, 2]]),
        ((2, 3, 4),),
    ),
    "non_zero": Case(
        lambda mb, x: mb.reduce_sum(x=mb.cast(x=mb.non_zero(x=mb.relu(x=x)), dtype="fp32"), axes=[0]),
        lambda x: x.relu().nonzero().float().sum(0),
        ((4, 5),),
    ),
    "scatter_nd": Case(
        lambda mb, x, y: mb.scatter_nd(
            data=x, indices=np.array([[1, 0], [0, 2]], np.int32), updates=y, mode="update"
        ),
        lambda x, y: x.index_put((torch.tensor([1, 0]), torch.tensor([0, 2])), y),
        ((2, 3, 4), (2, 4)),
    ),
    "scatter_along_axis": Case(
        lambda mb, x, y: mb.scatter_along_axis(
            data=x, indices=np.array([[2, 0], [1, 1]], np.int32), updates=y, axis=1, mode="add"
        ),
        lambda x, y: x.scatter_add(1, torch.tensor([[2, 0], [1, 1]]), y),
        ((2, 3), (2, 2)),
    ),
    "range_1d": Case(_counted, lambda x: x + torch.arange(1, 6, 2), ((2, 3),)),
    "gather": unary("gather", lambda x: x[:, :, INDICES], indices=INDICES, axis=2),
    "gather_along_axis": Case(
        lambda mb, x: mb.gather_along_axis(x=x, indices=np.array([[2, 0], [-1, 1]], np.int32), axis=1),
        lambda x: x.gather(1, torch.tensor([[2, 0], [2, 1]])),
        ((2, 3),),
    ),
    "scatter_add": Case(
        lambda mb, x, y: mb.scatter(
            data=x, indices=np.array([1, 1, -1], np.int32), updates=y, axis=1, mode="add"
        ),
        lambda x, y: x.index_add(1, torch.tensor([1, 1, 3]), y),
        ((2, 4), (2, 3)),
    ),
    "scatter_update": Case(
        lambda mb, x, y: mb.scatter(data=x, indices=INDICES, updates=y, axis=1, mode="update"),
        lambda x, y: x.index_copy(1, torch.tensor([2, 3, 0]), y),
        ((2, 4), (2, 3)),
    ),
    "one_hot": Case(
        lambda mb, x: mb.one_hot(
            indices=mb.cast(x=mb.abs(x=x), dtype="int32"), one_hot_vector_size=9, on_value=2.0, off_value=-1.0
        ),
        lambda x: F.one_hot(x.abs().long(), 9) * 3.0 - 1.0,
        ((3, 4),),
    ),
}


def _per_channel(mb: Any, x: Any) -> Any:
    scale, zero = np.array([0.1, 0.02, 0.3], np.float32), np.array([3, -5, 0], np.int8)
    levels = mb.quantize(input=x, scale=scale, zero_point=zero, axis=1, output_dtype="int8")
    return mb.dequantize(input=levels, scale=scale, zero_point=zero, axis=1)


def _per_tensor(mb: Any, x: Any) -> Any:
    levels = mb.quantize(input=x, scale=np.float32(0.02), zero_point=np.uint8(128), output_dtype="uint8")
    return mb.dequantize(input=levels, scale=np.float32(0.02), zero_point=np.uint8(128))


def _fake_per_channel(x: torch.Tensor) -> torch.Tensor:
    scale, zero = torch.tensor([0.1, 0.02, 0.3]), torch.tensor([3, -5, 0], dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(x, scale, zero, 1, -128, 127)


QUANTIZE = {
    "quantize_per_channel": Case(_per_channel, _fake_per_channel),
    "quantize_per_tensor": Case(
        _per_tensor, lambda x: torch.fake_quantize_per_tensor_affine(x, 0.02, 128, 0, 255)
    ),
}

LEVELS = np.arange(-12, 12, dtype=np.int8).reshape(4, 6)
TABLE = np.array([-1.5, -0.5, 0.25, 2.0], np.float32)
CODES = (np.arange(24) * 7 % 4).astype(np.uint8).reshape(4, 6)
MASK = (np.arange(24) * 5 % 3 == 0).reshape(4, 6)


def _affine(mb: Any, x: Any) -> Any:
    scale, zero = np.array([0.1, 0.2, 0.3, 0.4], np.float32), np.array([1, 0, -2, 3], np.int8)
    weight = mb.constexpr_affine_dequantize(
        quantized_data=LEVELS, zero_point=zero, scale=scale, axis=np.int32(0)
    )
    return mb.matmul(x=x, y=weight)


def _affine_torch(x: torch.Tensor) -> torch.Tensor:
    scale, zero = torch.tensor([[0.1], [0.2], [0.3], [0.4]]), torch.tensor([[1.0], [0], [-2], [3]])
    return x @ ((torch.from_numpy(LEVELS) - zero) * scale)


def _table(mb: Any, x: Any) -> Any:
    packed = np.packbits(((CODES.reshape(-1, 1) >> np.arange(2)) & 1).astype(np.uint8), bitorder="little")
    weight = mb.constexpr_lut_to_dense(indices=packed, lut=TABLE, shape=np.array([4, 6], np.uint32))
    return mb.matmul(x=x, y=weight)


def _sparse(mb: Any, x: Any) -> Any:
    packed = np.packbits(MASK.reshape(-1), bitorder="little")
    values = constant(int(MASK.sum()))
    weight = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=packed, shape=np.array([4, 6], np.uint32))
    return mb.matmul(x=x, y=weight)


def _sparse_torch(x: torch.Tensor) -> torch.Tensor:
    weight = torch.zeros(4, 6)
    weight[torch.from_numpy(MASK)] = tensor(int(MASK.sum()))
    return x @ weight


def _blockwise(mb: Any, x: Any) -> Any:
    scale, offset = np.abs(constant(4, 2)), np.array([[1, 0], [-2, 3], [0, 0], [5, -5]], np.int8)
    return mb.matmul(x=x, y=mb.constexpr_blockwise_shift_scale(data=LEVELS, scale=scale, offset=offset))


def _blockwise_torch(x: torch.Tensor) -> torch.Tensor:
    offset = torch.tensor([[1, 0], [-2, 3], [0, 0], [5, -5]]).repeat_interleave(3, 1)
    return x @ ((torch.from_numpy(LEVELS) - offset) * tensor(4, 2).abs().repeat_interleave(3, 1))


COMPRESSED = {
    "constexpr_affine_dequantize": Case(_affine, _affine_torch, ((2, 4),)),
    "constexpr_lut_to_dense": Case(_table, lambda x: x @ torch.from_numpy(TABLE[CODES]), ((2, 4),)),
    "constexpr_sparse_to_dense": Case(_sparse, _sparse_torch, ((2, 4),)),
    "constexpr_blockwise_shift_scale": Case(_blockwise, _blockwise_torch, ((2, 4),), opset="iOS18"),
}

CASES: dict[str, Case] = {
    **ELEMENTWISE,
    **REDUCE,
    **CONV,
    **POOL,
    **NORM,
    **LINEAR,
    **RESIZE,
    **SHAPE,
    **INDEXING,
    **QUANTIZE,
    **COMPRESSED,
}
