"""LSTM. The hidden and the cell state are rounded after every step, as stored states are.

Source: MIL op documentation, `lstm` (gate order i, f, o, z).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from edgekit.errors import VerificationError

Rounding = Callable[[Tensor], Tensor]
_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in _ACTIVATIONS:
        raise VerificationError(f"activation {name!r} is not supported; known: {sorted(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


def _one_direction(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: tuple[Tensor, Tensor, Tensor | None],
    activations: tuple[str, str, str],
    round_state: Rounding,
    backwards: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Takes `x` [T, N, D], `h` and `c` [N, H]; returns all h in the order of x [T, N, H], last h and last c [N, H]."""
    gate, cell, out = (_activation(name) for name in activations)
    weight_ih, weight_hh, bias = weights
    projected = x @ weight_ih.T if bias is None else x @ weight_ih.T + bias
    states: list[Tensor] = []
    for step in projected.flip(0) if backwards else projected:
        i, f, o, z = (step + h @ weight_hh.T).chunk(4, -1)
        c = round_state(gate(f) * c + gate(i) * cell(z))
        h = round_state(gate(o) * out(c))
        states.append(h)
    return torch.stack(states[::-1] if backwards else states), h, c


def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    round_state: Rounding,
    bias: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
) -> tuple[Tensor, Tensor, Tensor]:
    """Takes `x` [T, N, D] and states [N, H]; returns [T, N, H] (or [1, N, H]), last h, last c.

    Bidirectional: all states and outputs are [.., 2 * H], forward first. `round_state` comes from the
    interpreter.
    """
    acts = (recurrent_activation, cell_activation, activation)
    if direction not in ("forward", "reverse", "bidirectional"):
        raise VerificationError(f"lstm direction {direction!r} is not supported")
    forward = (weight_ih, weight_hh, bias)
    if direction != "bidirectional":
        parts = [_one_direction(x, initial_h, initial_c, forward, acts, round_state, direction == "reverse")]
    else:
        if weight_ih_back is None or weight_hh_back is None:
            raise VerificationError("a bidirectional lstm needs weight_ih_back and weight_hh_back")
        (h, h_back), (c, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
        back = (weight_ih_back, weight_hh_back, bias_back)
        parts = [
            _one_direction(x, h, c, forward, acts, round_state, False),
            _one_direction(x, h_back, c_back, back, acts, round_state, True),
        ]
    every, last_h, last_c = (torch.cat(tensors, -1) for tensors in zip(*parts, strict=True))
    return every if output_sequence else last_h[None], last_h, last_c


OPS: dict[str, Callable[..., tuple[Tensor, ...]]] = {"lstm": lstm}
