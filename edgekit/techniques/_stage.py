"""The child process of one compression step: finds the technique by its module name and applies it."""

import dataclasses
import importlib
from typing import Any

import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit import technique
from edgekit.engine.specs import CompressSpec, Steps
from edgekit.errors import UserError
from edgekit.records import Candidate, Step
from edgekit.records._options import read
from edgekit.task import Task
from edgekit.techniques import _processes
from edgekit.trace.flat import flat_task
from edgekit.trace.metric import seed_everything
from edgekit.trace.promise import promised


def compress(spec: CompressSpec) -> Candidate:
    """Applies one technique.

    Raises:
        UserError: It has no such option, or does not allow its value.
        EdgekitError: Whatever the technique raises.
    """
    options = _options(spec.step, _where(spec))
    if (processes := _processes.wanted(options)) > 1:
        return _processes.together(f"{__name__}:compress", spec, processes)
    seed_everything(spec.context.seed)
    task = spec.source.load() if technique.of(spec.step).scores else _unscored(spec.source.load())
    task = flat_task(task, spec.candidate.interface)
    module = importlib.import_module(f"edgekit.techniques.{spec.step.technique}")
    made: Candidate = module.apply(spec.candidate, task, options, spec.context)
    traced = spec.context.traced
    if (
        traced is None
        or technique.of(spec.step).gives != "quantized program"
        or made.scheme != "static"
        or made.onnx
    ):
        return made
    return promised(made, spec.candidate, traced)


def _unscored(task: Task) -> Task:
    """Takes away what the table says the technique does not ask for, so that its result does not depend on it."""

    def metric(_predict: Any) -> float:
        raise AssertionError(
            "a technique that asks the metric has scores=True in its row of edgekit/technique.py"
        )

    return dataclasses.replace(task, metric=metric, training=None)


def check(spec: Steps) -> Steps:
    """Checks the options of all steps before any work is done.

    Raises:
        UserError: A technique has no such option, or does not allow its value.
    """
    for step in spec.steps:
        if not technique.of(step).at_export:
            _options(step, "")
        elif step.options:
            raise UserError(f"{step.technique} has no options; {', '.join(step.options)} was given")
    return spec


def _options(step: Step, where: str) -> Any:
    kind = importlib.import_module(f"edgekit.techniques.{step.technique}").Options
    try:
        return read(kind, step.options)
    except UserError as error:
        raise UserError(f"{where}{error}") from error


def _where(spec: CompressSpec) -> str:
    return f"target {spec.context.target.name}: " if spec.context.target else ""
