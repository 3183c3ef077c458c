"""What a model keeps from call to call, which no artifact can keep: refused by its name before anything is exported.

torch.export reports little of this: a buffer that forward writes stays in the graph as an operator, a parameter written under
no_grad or an attribute that forward assigns (`self.h = ...`, a list, a number) is dropped or frozen without a word. So the model
is asked the same twice, with another input in between, and what it holds is compared before and after: for the examples, and for noise,
since a state that multiplies an input of zeros does not show. Where the answers are the same, whatever was written matters to
none of them (a counter, a cache of shapes).

Cost: eight more calls, and a checksum of what the model holds.
"""

import random
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from edgekit.errors import TaskError
from edgekit.trace.sources import keras

Held = Mapping[str, object]
Call = Callable[..., Sequence[torch.Tensor]]

SAME = 1e-5  # relative to the largest answer
REMEDY = (
    "An artifact keeps nothing between calls. Take the state as an input and give it back: "
    "forward(self, x, state): ... return y, state, with its first value in example_inputs"
)
_DEPTH = 3  # lists of lists; objects that hold objects
_REGISTRIES = ("_parameters", "_buffers", "_modules")


def check(
    call: Call, examples: tuple[torch.Tensor, ...], held: Callable[[], Held]
) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    """Checks that a model keeps nothing from call to call that its answers depend on.

    Args:
        call: The model.
        examples: Its example inputs.
        held: Returns what the model holds, by the name that a user knows.

    Returns:
        What the model answers to the examples, and doubts about what it writes to no effect.

    Raises:
        TaskError: An answer depends on what forward writes; the error names it. What `call` raises passes through.
    """
    start, given = held(), [x.clone() for x in examples]
    first = _asked(call, given)
    between = held()
    apart = max(_apart(first, _asked_later(call, examples)), _apart_for_noise(call, examples))
    early = _changed(start, between)
    wrote = early + [name for name in _changed(between, held()) if name not in early]
    if apart > SAME:
        raise TaskError(_refused(wrote, apart))
    inputs = [number for number, tensor in enumerate(given) if tensor._version]
    said = [
        f"forward writes its input {i} in place; an artifact leaves its inputs as they are" for i in inputs
    ]
    registered = [name for name in wrote if not name.startswith("attribute")]
    if registered:
        said.append(
            f"forward writes the {_named(registered)}, and no answer was seen to depend on it; artifacts do not keep it"
        )
    return first, tuple(said)


def of_module(model: nn.Module) -> Held:
    """Returns everything that a module holds, as "buffer `state`" -> a checksum or a number."""
    found: dict[str, object] = {}
    variables = keras.variables(model)
    for name, value in variables.items():
        found[f"variable `{name}`"] = _checksum(value)
    known = {id(value) for value in variables.values()}
    for kind, named in (("parameter", model.named_parameters()), ("buffer", model.named_buffers())):
        found |= {f"{kind} `{name}`": _checksum(t) for name, t in named if id(t) not in known}
    for name, module in model.named_modules():
        if not keras.is_layer(module):
            for key, value in vars(module).items():
                if key not in _REGISTRIES and not isinstance(value, nn.Module):
                    found.update(_walk(f"{name}.{key}".removeprefix("."), value, _DEPTH))
    return found


def _walk(path: str, value: Any, depth: int) -> Iterator[tuple[str, object]]:
    """Yields the tensors and numbers in an attribute, in lists, dicts and plain objects too."""
    if isinstance(value, torch.Tensor | np.ndarray):
        yield f"attribute `{path}`", _checksum(torch.as_tensor(value))
    elif value is None or isinstance(value, bool | int | float | complex):
        yield f"attribute `{path}`", value
    elif depth and isinstance(value, Mapping):
        for key in list(value):
            yield from _walk(f"{path}[{key!r}]", value[key], depth - 1)
    elif depth and isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for number, item in enumerate(value):
            yield from _walk(f"{path}[{number}]", item, depth - 1)
    elif depth and _is_plain(value):
        for key, item in list(vars(value).items()):
            yield from _walk(f"{path}.{key}", item, depth - 1)


def _is_plain(value: Any) -> bool:
    """Whether it is an object of the user's own that may hold tensors."""
    foreign = type(value).__module__.partition(".")[0] in (
        "torch",
        "keras",
        "numpy",
        "builtins",
        "collections",
    )
    return hasattr(value, "__dict__") and not (
        foreign or isinstance(value, type | nn.Module) or callable(value)
    )


def _checksum(tensor: torch.Tensor) -> object:
    if tensor.is_meta or tensor.is_sparse or tensor.is_quantized:
        return str(tensor.shape)
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return tuple(tensor.shape), str(tensor.dtype), zlib.crc32(data)


@torch.no_grad()
def _asked(call: Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    with same_chance():
        return [t.clone() for t in call(*inputs)]


def _asked_later(call: Call, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Returns the answer to the same input, after another input in between."""
    _ask_another(call, tuple(inputs))
    return _asked(call, [x.clone() for x in inputs])


def _apart_for_noise(call: Call, examples: tuple[torch.Tensor, ...]) -> float:
    """Does the same as for the examples, which may be zeros: a state that multiplies the input does not show there."""
    noise = [_noise(x) for x in examples]
    try:
        first = _asked(call, [x.clone() for x in noise])
        return _apart(first, _asked_later(call, noise))
    except Exception:  # whatever the user's forward raises for values that it does not expect
        return 0.0


def _noise(like: torch.Tensor) -> torch.Tensor:
    if not like.is_floating_point():
        return like
    with same_chance():
        return torch.randn_like(like)


def _ask_another(call: Call, examples: tuple[torch.Tensor, ...]) -> None:
    """Asks for something larger, and then something smaller; a model may refuse them."""
    for size in (10.0, 0.1):
        try:
            with same_chance():
                inputs = [
                    size * torch.randn_like(x) if x.is_floating_point() else x.clone() for x in examples
                ]
            _asked(call, inputs)
        except Exception:  # whatever the user's forward raises for values that it does not expect
            return


@contextmanager
def same_chance() -> Iterator[None]:
    """Makes the code inside draw the same random numbers each time; the generators are restored afterwards."""
    kept, numbers = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=()):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(numbers)


def _changed(before: Held, after: Held) -> list[str]:
    """Returns the names of what was there and has changed, registered tensors first."""
    names = [name for name in before if name not in after or before[name] != after[name]]
    return sorted(names, key=lambda name: name.startswith("attribute"))


def _apart(first: Sequence[torch.Tensor], again: Sequence[torch.Tensor]) -> float:
    """Returns the largest difference, relative to the largest answer of its output."""
    worst = 0.0
    for a, b in zip(first, again, strict=True):
        if a.shape != b.shape:
            return 1.0
        one, two = a.double().nan_to_num(), b.double().nan_to_num()
        worst = max(
            worst, float((one - two).abs().max() / one.abs().max().clamp_min(1e-30)) if a.numel() else 0.0
        )
    return worst


def _refused(wrote: list[str], apart: float) -> str:
    what = f"the same input, asked again, is answered otherwise, by {_percent(apart)} of the largest answer"
    if wrote:
        return f"forward writes the {_named(wrote)}, and its answers depend on it: {what}. {REMEDY}"
    return (
        f"the model keeps something from call to call: {what}, though no buffer, parameter or attribute of it changed. "
        f"{REMEDY}; or, if it draws random numbers, draw them from the generators of torch, numpy or random themselves"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else f"{100 * share:.0f} %"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", the ".join(names[:3]) + more
