"""The float programs that a distillation names: of the run itself, of a file, or of a function that builds a module."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.quant import proven
from edgekit.quant.fold import fold_batch_norms
from edgekit.quant.trainable import OneByOne, trainable
from edgekit.records import Candidate
from edgekit.task import build
from edgekit.trace.model import program_of

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

BEFORE = "before"


def teachers(text: str, candidate: Candidate, task: "Task", context: "Context") -> dict[str, ExportedProgram]:
    """{what it was called: program}. "" is the float model, "before" the candidate before it was pruned, else references,
    separated by commas. Raises UserError for what is none of them."""
    if text == BEFORE:
        if not candidate.unpruned:
            raise UserError(
                "distill option teachers is 'before', but no step before this one pruned; leave it out for the float model"
            )
        return {BEFORE: programs.load(candidate.unpruned)}
    if not text:
        traced = context.traced.program if context.traced is not None else ""
        return {"the float model": programs.load(traced or candidate.unpruned or candidate.program)}
    return {part.strip(): read(part.strip(), task) for part in text.split(",") if part.strip()}


def read(reference: str, task: "Task") -> ExportedProgram:
    """A .pt2 file, or "file.py:function?setting=value" whose module is exported for the task's inputs. Raises UserError."""
    if reference.endswith(".pt2"):
        return programs.load(Path(reference))
    return program_of(dataclasses.replace(task, model=build(reference)))


def teacher(candidate: Candidate) -> GraphModule | OneByOne:
    """The candidate's own float program, before it is changed."""
    return asked(programs.load(candidate.program))


def asked(program: ExportedProgram, folds: bool = True) -> GraphModule | OneByOne:
    """For any number of samples. folds: batch norms go into the layers before them, which saves time; their names go too."""
    graph = program.module()
    before = proven.reference(graph, programs.user_inputs(program))
    if folds:
        fold_batch_norms(graph, before)
    return learner(graph, before)


def learner(graph: GraphModule, before: proven.Reference | None = None) -> GraphModule | OneByOne:
    """`trainable`, proven to answer as the graph does, until it trains. before: what that is, where it is known.

    Raises ConversionError where it answers something else.
    """
    before = before or proven.of_graph(graph)
    model = trainable(graph)
    mode = model.training
    before.demand(model.eval(), "making the program trainable")
    model.train(mode)
    return model


@contextmanager
def written_back(run: proven.Run, graph: GraphModule) -> Iterator[None]:
    """Proves that `graph`, into which trained tensors are written meanwhile, then answers as `run` does, the
    trained model in eval mode.

    Raises ConversionError where it answers something else.
    """
    trained = proven.reference(run, proven.inputs_of(graph))
    yield
    trained.demand(graph, "writing back what was trained")


def check_same(name: str, program: ExportedProgram, other: str, like: ExportedProgram) -> None:
    """Raises UserError that names both where they do not take the same inputs or do not give the same outputs."""
    sides = zip(("takes", "answers"), programs.specs(program), programs.specs(like), strict=True)
    for what, first, second in sides:
        shapes = [_text([list(spec.shape) for spec in side]) for side in (first, second)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{name} {what} {shapes[0]} and {other} {what} {shapes[1]}; both must be of the same task"
            )


def _text(shapes: list[list[int]]) -> str:
    return ", ".join(map(str, shapes))
