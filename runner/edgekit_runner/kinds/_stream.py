"""A session that feeds its own answers back: a streaming model, whose state is an output and the next step's input."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgekit_runner.backends import Arrays, Feeds, Session, TensorInfo
from edgekit_runner.errors import UserError
from edgekit_runner.feeds import as_feed, dequantize


class Stream(Session):
    """One `invoke` is one step: the run, and the state handed to the next.

    Args:
        session: The opened artifact.
        state: Output -> the input that it feeds.

    Raises:
        UserError: The artifact has no such output or input, or their shapes differ.
    """

    def __init__(self, session: Session, state: Mapping[str, str]) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.runtime_version = session.runtime_version
        outputs = {info.name: info for info in self.outputs}
        inputs = {info.name: info for info in self.inputs}
        self._state = [_pair(outputs, inputs, *names) for names in state.items()]
        self._feeds: Arrays = {}
        self._found: Arrays = {}

    def feed(self, feeds: Feeds) -> None:
        """Hands the inputs over, the first state among them."""
        self._feeds = dict(feeds)
        self._session.feed(self._feeds)

    def invoke(self) -> None:
        """Runs one step and hands its state to the next."""
        self._session.invoke()
        self._found = self._session.fetch()
        self._feeds |= self._handed_on()
        self._session.feed(self._feeds)

    def fetch(self) -> Arrays:
        """The outputs of the last step."""
        return self._found

    def continued(self, feeds: Feeds) -> Feeds:
        """The inputs of a further step: those given, and the state that the step before has left."""
        return {**feeds, **self._handed_on()}

    def placement(self) -> dict[str, Any]:
        """That of the session."""
        return self._session.placement()

    def nodes(self) -> tuple[str, dict[str, int]]:
        """Those of the session."""
        return self._session.nodes()

    def _handed_on(self) -> Arrays:
        handed: Arrays = {}
        for output, info in self._state:
            found = self._found[output.name]
            same = replace(info, name=output.name, shape=output.shape) == output
            handed[info.name] = found if same else as_feed(dequantize(found, output), info)
        return handed


def opened(session: Session, state: Mapping[str, str]) -> Session:
    """The session itself, or as a stream where it has a state."""
    return Stream(session, state) if state else session


def _pair(
    outputs: Mapping[str, TensorInfo], inputs: Mapping[str, TensorInfo], output: str, name: Any
) -> tuple[TensorInfo, TensorInfo]:
    if output not in outputs or name not in inputs:
        raise UserError(
            f"the state {output!r} -> {name!r} is not of this artifact: its outputs are {', '.join(outputs)}, its inputs {', '.join(inputs)}."
        )
    pair = outputs[output], inputs[name]
    shapes = [list(info.shape) for info in pair]
    if len(shapes[0]) != len(shapes[1]) or any(
        a != b and -1 not in (a, b) for a, b in zip(*shapes, strict=True)
    ):
        raise UserError(
            f"the state {output!r} has shape {shapes[0]}, the input {name!r} that it feeds {shapes[1]}."
        )
    return pair
