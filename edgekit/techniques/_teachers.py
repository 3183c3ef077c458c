"""The float programs that a distillation names: from the run, from a file, or from a function."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta
from torch.export import ExportedProgram
from torch.fx import GraphModule

from edgekit.engine.task_reference import build
from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.quant import proven
from edgekit.quant.fold import fold_batch_norms
from edgekit.quant.trainable import OneByOne, trainable
from edgekit.records import Candidate
from edgekit.trace.model import program_of

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

BEFORE = "before"
Student = Annotated[
    str,
    Meta(
        description="empty = the program of the steps before; else file.py:function of a module that replaces it"
    ),
]


def teachers(text: str, candidate: Candidate, task: "Task", context: "Context") -> dict[str, ExportedProgram]:
    """Loads teachers.

    Args:
        text: "" for the float model, "before" for the candidate before it was pruned, else references,
            separated by commas.
        candidate: The model that will be the student.
        task: The task, whose inputs an exported module gets.
        context: What else the run knows.

    Returns:
        {what the teacher is called: program}.

    Raises:
        UserError: A reference cannot be loaded, or no step before this one pruned.
    """
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
    """Loads a .pt2 file, or exports the module of "file.py:function?setting=value" for the task's inputs.

    Raises:
        UserError: The reference cannot be loaded.
    """
    if reference.endswith(".pt2"):
        return programs.load(Path(reference))
    return program_of(dataclasses.replace(task, model=build(reference)))


def student(
    candidate: Candidate, task: "Task", reference: str, technique: str
) -> tuple[Candidate, ExportedProgram]:
    """Loads what a distillation or a pre-training trains.

    Args:
        candidate: The model after the steps before.
        task: The task.
        reference: A student that replaces the candidate's own program; "" for that program itself.
        technique: What trains it, for the message.

    Returns:
        The candidate, which was never pruned if it is replaced, and the program.

    Raises:
        UserError: The student does not fit the task, or the program is quantized already.
    """
    program = programs.load(candidate.program)
    if reference:
        found = read(reference, task)
        check_same(f"student {reference!r}", found, "the model", program)
        return msgspec.structs.replace(candidate, pruned="", unpruned="", student=reference), found
    if programs.is_quantized(program):
        raise UserError(
            f"{technique} trains float programs and this one has integers; put it before ptq or qat"
        )
    return candidate, program


def teacher(candidate: Candidate) -> GraphModule | OneByOne:
    """Returns the candidate's own float program, before it is changed."""
    return asked(programs.load(candidate.program))


def asked(program: ExportedProgram, folds: bool = True) -> GraphModule | OneByOne:
    """Prepares a program to be asked for answers, for any number of samples.

    Args:
        program: The teacher.
        folds: Whether batch norms are folded into the layers before them, which saves time but loses their
            names.
    """
    graph = program.module()
    before = proven.reference(graph, programs.user_inputs(program))
    if folds:
        fold_batch_norms(graph, before)
    return learner(graph, before)


def learner(graph: GraphModule, before: proven.Reference | None = None) -> GraphModule | OneByOne:
    """Makes a graph trainable, and proves that it computes the same as before, until it trains.

    Args:
        graph: The graph.
        before: What it computes, if that is known.

    Raises:
        ConversionError: It computes something else.
    """
    before = before or proven.of_graph(graph)
    model = trainable(graph)
    mode = model.training
    before.demand(model.eval(), "making the program trainable")
    model.train(mode)
    return model


@contextmanager
def written_back(run: proven.Run, graph: GraphModule) -> Iterator[None]:
    """Proves that `graph`, into which trained tensors are written meanwhile, then computes the same.

    Args:
        run: The trained model in eval mode.
        graph: The graph that is written to.

    Raises:
        ConversionError: It computes something else.
    """
    trained = proven.reference(run, proven.inputs_of(graph))
    yield
    trained.demand(graph, "writing back what was trained")


def check_same(name: str, program: ExportedProgram, other: str, like: ExportedProgram) -> None:
    """Checks that two programs take the same inputs and give the same outputs.

    Raises:
        UserError: They do not; the message names both.
    """
    sides = zip(("takes", "answers"), programs.specs(program), programs.specs(like), strict=True)
    for what, first, second in sides:
        shapes = [_text([list(spec.shape) for spec in side]) for side in (first, second)]
        if shapes[0] != shapes[1]:
            raise UserError(
                f"{name} {what} {shapes[0]} and {other} {what} {shapes[1]}; both must be of the same task"
            )


def _text(shapes: list[list[int]]) -> str:
    return ", ".join(map(str, shapes))
