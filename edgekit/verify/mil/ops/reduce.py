"""Reductions, sorting and cumulation. Sums are float32. Source: MIL op documentation, `reduction`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from edgekit.errors import VerificationError

_LARGEST = {"int32": 2**31 - 1, "uint16": 2**16 - 1, "int16": 2**15 - 1}


def _reduction(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes an operation of `function(x, axes, keepdim=...)`; without axes it reduces them all."""

    def apply(x: Tensor, axes: list[int] | None = None, keep_dims: bool = False) -> Tensor:
        chosen = axes if axes is not None else list(range(x.dim()))
        return function(x, chosen, keepdim=keep_dims).to(x.dtype)

    return apply


def _l1_norm(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return x.abs().sum(axes, keepdim=keepdim)


def _l2_norm(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return x.square().sum(axes, keepdim=keepdim).sqrt()


def _sum_square(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    return x.square().sum(axes, keepdim=keepdim)


def _prod(x: Tensor, axes: list[int], keepdim: bool) -> Tensor:
    for axis in sorted((a % x.dim() for a in axes), reverse=True):
        x = x.prod(axis, keepdim=keepdim)
    return x


def _places(found: Tensor, output_dtype: str) -> Tensor:
    """Indices as the program types them: float16 programs hold those of short axes in 16 bits. Held as int32 here."""
    if output_dtype not in _LARGEST:
        raise VerificationError(
            f"output_dtype {output_dtype!r} is not supported; known: {', '.join(_LARGEST)}"
        )
    if found.numel() and int(found.max()) > _LARGEST[output_dtype]:
        raise VerificationError(f"the index {int(found.max())} does not fit into {output_dtype}")
    return found.int()


def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = True, output_dtype: str = "int32") -> Tensor:
    return _places(x.argmax(axis, keep_dims), output_dtype)


def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = True, output_dtype: str = "int32") -> Tensor:
    return _places(x.argmin(axis, keep_dims), output_dtype)


def topk(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """Returns the k largest (ascending: smallest) values along `axis`, and their indices."""
    if not sort:
        raise VerificationError("topk with sort=False is not supported: its order is not defined")
    values, indices = torch.topk(x, k, axis, not ascending)
    return (values, _places(indices, output_indices_dtype)) if return_indices else (values,)


def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    return torch.sort(x, dim=axis, descending=not ascending, stable=True).indices.int()


def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    ordered = x.flip(axis) if reverse else x
    total = ordered.cumsum(axis) - (ordered if exclusive else 0)
    return (total.flip(axis) if reverse else total).to(x.dtype)


OPS: dict[str, Callable[..., Any]] = {
    "argsort": argsort,
    "cumsum": cumsum,
    "reduce_argmax": reduce_argmax,
    "reduce_argmin": reduce_argmin,
    "reduce_l1_norm": _reduction(_l1_norm),
    "reduce_l2_norm": _reduction(_l2_norm),
    "reduce_log_sum_exp": _reduction(torch.logsumexp),
    "reduce_max": _reduction(torch.amax),
    "reduce_mean": _reduction(torch.mean),
    "reduce_min": _reduction(torch.amin),
    "reduce_prod": _reduction(_prod),
    "reduce_sum": _reduction(torch.sum),
    "reduce_sum_square": _reduction(_sum_square),
    "topk": topk,
}
