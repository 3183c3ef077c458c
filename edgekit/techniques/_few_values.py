"""Steps that leave each layer few values, which a file then stores compactly: palettes, integers with scales."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
from torch import Tensor

from edgekit.errors import NotApplicable
from edgekit.quant import program as programs
from edgekit.quant import proven, tensors
from edgekit.quant.fold import fold_batch_norms
from edgekit.records import Candidate
from edgekit.sparse import layers as weights
from edgekit.sparse import patterns
from edgekit.sparse.layers import Ends
from edgekit.techniques._figures import noted
from edgekit.techniques._score import metric_of

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

#: a smaller layer keeps its weights: its table or scales would outweigh it
SMALLEST = 2048


class Rewrite(NamedTuple):
    """What becomes of a weight.

    Attributes:
        step: The name of the technique.
        what: What each layer then has: a "palette".
        change: Returns the weight with few values.
    """

    step: str
    what: str
    change: Callable[[Tensor], Tensor]


class Chosen(Protocol):
    """The options that say which layers are left as they are."""

    @property
    def ignore(self) -> str:
        """Dotted names, separated by commas."""

    @property
    def keep(self) -> Ends:
        """Ends of the network."""


def rewritten(
    candidate: Candidate, task: "Task", chosen: Chosen, context: "Context", rewrite: Rewrite
) -> Candidate:
    """Writes the program with its batch norms folded and few values in each layer to program.pt2 in the work folder.

    Raises:
        UserError: A name is not a layer.
        NotApplicable: The model has no layer with more than SMALLEST weights.
    """
    start = time.perf_counter()
    program = programs.load(candidate.program)
    like, graph = programs.user_inputs(program), program.module()
    del program
    before = metric_of(task, graph)
    fold_batch_norms(graph, proven.of_metric(graph, like, context.traced))
    found = weights.find(graph)
    allowed = weights.chosen(found, patterns.read("unstructured"), chosen.ignore, chosen.keep)
    large = [layer for layer in allowed if layer.size > SMALLEST]
    if not large:
        raise NotApplicable(
            f"no layer has more than {SMALLEST} weights: a {rewrite.what} would outweigh what it saves"
        )
    errors = signal = 0.0
    for layer in large:
        old = tensors.read(graph, layer.path)
        new = rewrite.change(old)
        errors += float((new - old).double().square().sum())
        signal += float(old.double().square().sum())
        tensors.write(graph, layer.path, new)
    path = Path(context.work) / "program.pt2"
    figures = {
        "metric before": (before, ""),
        "metric after": (metric_of(task, graph), ""),
        f"layers with a {rewrite.what}": (len(large), "count"),
        "layers left as they were": (len(found) - len(large), "count"),
        f"weights with a {rewrite.what}": (sum(c.size for c in large) / sum(f.size for f in found), "share"),
        "error of the weights": ((errors / signal) ** 0.5, "of their RMS"),
    }
    programs.save(programs.export(graph, like), path)
    done = msgspec.structs.replace(candidate, program=str(path))
    return noted(done, rewrite.step, {**figures, "seconds": (time.perf_counter() - start, "s")})
