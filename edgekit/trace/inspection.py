"""What a model is, before any work: inputs, outputs, free axes and multiply-accumulates; nothing is scored or converted."""

from collections.abc import Iterator
from pathlib import Path

from edgekit.engine.specs import Inspected, TraceSpec
from edgekit.records import FreeAxis
from edgekit.trace.metric import seed_everything
from edgekit.trace.opening import facts_of, opened
from edgekit.trace.sources.subject import Subject


def inspect(spec: TraceSpec) -> Inspected:
    """Builds the model of a task and traces it.

    Raises:
        EdgekitError: Whatever `edgekit.trace.stage.trace` raises of the model.
    """
    seed_everything(spec.seed)
    task, subject, _ = opened(spec.source.load(), Path(spec.work))
    return Inspected(
        facts=facts_of(task, subject),
        inputs=subject.inputs,
        outputs=subject.outputs,
        parameters=subject.parameters,
        weights=subject.weights,
        free=tuple(_free(subject)),
        doubts=subject.doubts,
    )


def _free(subject: Subject) -> Iterator[str]:
    if subject.free is None:
        return
    if subject.free.reason:
        yield f"none: {subject.free.reason}"
    axes = {axis.name: axis for axis in subject.free.axes}
    for spec, free in zip(subject.inputs, subject.free.inputs, strict=False):
        for axis, name in free.items():
            yield f"{spec.name} axis {axis}: {_range(axes[name])}"


def _range(axis: FreeAxis) -> str:
    most = "any number" if axis.most is None else str(axis.most)
    return f"{axis.name}, {axis.least} to {most}{' (on servers, unless the task says dynamic={})' if axis.default else ''}"
