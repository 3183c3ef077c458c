"""The search for groups goes on where Torch-Pruning cannot follow channels through an operator.

It gives up a whole network for one `split` whose parts are used twice (the C2f block of YOLOv8) or one channel shuffle
(ShuffleNet). While `tolerant` is active such an operator is noted instead: groups that reach it are left alone, all others
are found.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from torch_pruning.dependency import index_mapping

_FAILURES = (IndexError, KeyError, ZeroDivisionError, TypeError, ValueError, AttributeError, RecursionError)


@dataclass
class Lost:
    """Where channels were lost.

    Attributes:
        nodes: The operators of the graph that have no numbers for the channels they move.
        times: How often channels could not be numbered on their way through an operator.
    """

    nodes: list[Any] = field(default_factory=list)
    times: int = 0

    def none(self, channels: Any) -> list[Any]:
        """Counts, and gives no channels in place of `channels`."""
        self.times += 1
        return []


@contextmanager
def tolerant() -> Iterator[Lost]:
    """Yields where channels were lost, kept up to date while the search goes on."""
    lost = Lost()
    with ExitStack() as stack:
        for name, value in list(vars(index_mapping).items()):
            if isinstance(value, type) and name.endswith("IndexMapping"):
                stack.enter_context(patch.object(value, "__call__", _counted(value.__call__, lost)))
            elif name.endswith("_index_mapping") and name != "update_index_mapping":
                stack.enter_context(patch.object(index_mapping, name, _noted(value, lost)))
        yield lost


def _noted(update: Callable[[Any, Any], None], lost: Lost) -> Callable[[Any, Any], None]:
    def noted(graph: Any, node: Any) -> None:
        try:
            update(graph, node)
        except _FAILURES:
            _close(node, lost)

    return noted


def _counted(move: Callable[[Any, Any], Any], lost: Lost) -> Callable[[Any, Any], Any]:
    def counted(self: Any, channels: Any) -> Any:
        try:
            return move(self, channels)
        except _FAILURES:
            return lost.none(channels)

    return counted


def _close(node: Any, lost: Lost) -> None:
    """Lets no channel through an operator any more: without numbers the search would not end."""
    if node not in lost.nodes:
        lost.nodes.append(node)
    for neighbour in (node, *node.inputs, *node.outputs):
        for dependency in neighbour.dependencies:
            if node in (dependency.source, dependency.target):
                dependency.index_mapping = [lost.none, None]
