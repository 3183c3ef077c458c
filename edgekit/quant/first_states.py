"""The first states of recurrent layers: torch's LSTM writes beside its memory where a state is of other samples than its input.

`nn.LSTM` checks their shapes before it calls the kernel; an exported program, TorchScript and `torch._VF.lstm` call the kernel as it is.
So edgekit checks in their place: `Guard` at every call of a model, `check` in a program whose axes are free.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.fx import Node
from torch.utils._python_dispatch import TorchDispatchMode

from edgekit.errors import ConversionError
from edgekit.quant.program import origin

ATEN = torch.ops.aten
LAYERS = {ATEN.lstm.input, ATEN.gru.input, ATEN.rnn_tanh.input, ATEN.rnn_relu.input}
ONEDNN = ATEN.mkldnn_rnn_layer.default  # one layer and direction of an LSTM, without autograd
REMEDY = (
    "say in the task which axis of the state holds the samples, batch_axes={'its name': 1}, and where the samples of the input are "
    "free, free them in the state as well: dynamic={'its name': {1: 'batch'}}"
)


class Guard(TorchDispatchMode):  # type: ignore[misc]
    """While it is active, an LSTM whose state does not fit its input raises instead of being run.

    Attributes:
        met: Whether the kernel of an LSTM was called.
    """

    supports_higher_order_operators = True  # torch.cond: both functions are run as without the guard

    def __init__(self) -> None:
        super().__init__()
        self.met = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Checks one operator, then runs it."""
        if func is ATEN.lstm.input:
            self.met = True
            _demand("an LSTM", args[0], args[1], bool(args[8]))
        elif func is ONEDNN:
            self.met = True
            samples, given = args[0].shape[1], args[5].shape[-2]
            if samples != given:
                raise ConversionError(_sentence("an LSTM", given, samples))
        return func(*args, **(kwargs or {}))


def guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with its calls checked, as long as it calls the kernel of an LSTM."""
    met = True

    def checked(*args: Any) -> Any:
        nonlocal met
        if not met:
            return call(*args)
        with Guard() as guard:
            found = call(*args)
        met = guard.met
        return found

    return checked


def check(program: ExportedProgram) -> None:
    """Checks the recurrent layers of a program whose axes are free.

    Raises:
        ConversionError: The samples of a layer's input are free, and those of its first state are others.
    """
    for node in program.graph.nodes:
        if node.target in LAYERS:
            values = [_value(argument) for argument in node.args[:2]]
            _demand(origin(node) or "a recurrent layer", values[0], values[1], bool(node.args[8]))


def _value(argument: Any) -> Any:
    if isinstance(argument, Node):
        return argument.meta["val"]
    return [_value(each) for each in argument]


def _demand(layer: str, given: Any, states: Any, batch_first: bool) -> None:
    if given.dim() != 3:  # of one sample, without an axis for it
        return
    samples = given.shape[0 if batch_first else 1]
    for state in states if isinstance(states, list | tuple) else [states]:
        if str(state.shape[1]) != str(samples):
            raise ConversionError(_sentence(layer, state.shape[1], samples))


def _sentence(layer: str, state: Any, samples: Any) -> str:
    many = "as many as the caller likes" if isinstance(samples, torch.SymInt) else str(samples)
    few = "others" if isinstance(state, torch.SymInt) else str(state)
    return f"the first state of {layer} is of {few} sample{'s' * (few != '1')} and its input of {many}, which torch runs beside its memory; {REMEDY}"
