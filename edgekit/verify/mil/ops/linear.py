"""Matrix products and attention; products are summed in float32. Source: MIL op documentation, `linear`."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Takes `x` [..., D_in], `weight` [D_out, D_in] and `bias` [D_out]; returns [..., D_out]."""
    return F.linear(x, weight, bias)


def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """Multiplies [..., M, K] by [..., K, N]; leading axes broadcast."""
    return torch.matmul(x.mT if transpose_x else x, y.mT if transpose_y else y)


def einsum(values: list[Tensor], equation: str) -> Tensor:
    return torch.einsum(equation, *values)


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None
) -> Tensor:
    """Takes `query` [B, ..., L, E], `key` [B, ..., S, E] and `value` [B, ..., S, V]; returns [B, ..., L, V].

    A boolean mask says which keys take part, a floating mask is added to the scores.
    """
    return F.scaled_dot_product_attention(query, key, value, attn_mask)


OPS: dict[str, Callable[..., Tensor]] = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
