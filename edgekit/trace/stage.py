"""The first stage: the user's model becomes one exported program, and its own answers become the reference.

Everything after works on the saved program: the user's model is built once, so that no later stage can meet
other weights. The float model's predictions are kept by the hash of their input, so that each artifact is
compared with it on the very samples the metric asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit.arrays import check_shapes, digest, from_model, save_arrays, to_model
from edgekit.engine import fingerprint, parts
from edgekit.engine.specs import TraceSpec
from edgekit.errors import TaskError
from edgekit.quant import calibrate
from edgekit.records import TaskFacts, TensorSpec, Traced
from edgekit.task import Task
from edgekit.trace import axes, calibration_check, metric_check, output_measures, structure
from edgekit.trace.kept_answers import KeptAnswers
from edgekit.trace.metric import score, seed_everything
from edgekit.trace.opening import facts_of, opened
from edgekit.trace.recorder import Recorder
from edgekit.trace.sources.subject import Subject

CALIBRATION_BATCHES = 100  # as many as a technique reads


def trace(spec: TraceSpec) -> Traced:
    """Loads the task, checks the model, exports it and scores it.

    Program, predictions and inputs are written to the spec's `work`.

    Raises:
        TaskError: Something is wrong with the task.
        ConversionError: torch.export cannot trace the model.
    """
    seed_everything(spec.seed)
    given, work = spec.source.load(), Path(spec.work)
    task, subject, examples = opened(given, work, spec.serves)
    kept = KeptAnswers.of(spec.cache, subject, work / "answers")
    call = kept.before(subject.call) if kept else subject.call
    recorder = Recorder(lambda *arrays: _call(call, subject, arrays), _row_shapes(subject))
    metric = score(task, recorder)
    if kept:
        kept.keep(recorder.predictions)
    samples = recorder.kept()
    replayed = metric_check.replay(task.name, recorder, lambda predict: score(task, predict), metric)
    read = _read_calibration(task, examples, subject.inputs)
    seen = _seen(task, recorder, metric, replayed, subject)
    save_arrays(work / "predictions.npz", recorder.predictions)
    save_arrays(work / "questions.npz", recorder.kept_questions())
    save_arrays(work / "samples.npz", samples)
    return Traced(
        facts=facts_of(task, subject),
        preprocessing=task.preprocessing,
        program=subject.program,
        tensorflow=subject.tensorflow,
        onnx=subject.onnx,
        predictions=str(work / "predictions.npz"),
        questions=str(work / "questions.npz"),
        samples_file=str(work / "samples.npz"),
        inputs=subject.inputs,
        outputs=subject.outputs,
        interface=subject.interface,
        free=subject.free,
        shapes_file=_shapes(subject, samples, work),
        metric=metric,
        samples=recorder.samples,
        parameters=subject.parameters,
        weights=subject.weights,
        layers=subject.layers,
        measures=seen.measures,
        doubts=(
            *subject.doubts,
            *recorder.doubts(),
            *replayed.doubts,
            *seen.doubts,
            *calibration_check.doubts(read.statistics, recorder.statistics),
        ),
        fingerprint={
            **subject.content,
            parts.QUESTIONS: fingerprint.of_text(*recorder.questions()),
            parts.METRIC: repr(metric),
            parts.CALIBRATION: read.content,
            **fingerprint.of_task(given, lambda: seed_everything(spec.seed)),
        },
    )


def look(spec: TraceSpec) -> TaskFacts:
    """Finds only what the plan must know: the model is built and exported, nothing is scored.

    Raises:
        EdgekitError: Whatever `trace` raises.
    """
    seed_everything(spec.seed)
    task, subject, _ = opened(spec.source.load(), Path(spec.work), spec.serves)
    return facts_of(task, subject)


def _seen(
    task: Task, recorder: Recorder, metric: float, replayed: metric_check.Replayed, subject: Subject
) -> metric_check.Seen:
    labels = len(task.preprocessing.labels) if task.preprocessing else 0
    told = output_measures.said(task.measures, [spec.name for spec in subject.outputs])
    return metric_check.look(
        recorder,
        lambda predict: score(task, predict),
        metric,
        replayed,
        subject.outputs,
        subject.inputs,
        labels,
        told,
    )


class Read(NamedTuple):
    """The calibration data, as far as any technique reads it.

    Attributes:
        content: The hash of the data.
        statistics: What its values are like.
    """

    content: str
    statistics: calibration_check.Statistics


def _read_calibration(task: Task, examples: tuple[torch.Tensor, ...], inputs: Sequence[TensorSpec]) -> Read:
    """Checks the batches before any work is spent on them.

    Raises:
        TaskError: A batch does not fit, as when calibrating.
    """
    statistics, hashes = calibration_check.Statistics(), []
    if task.calibration is None:
        return Read("none", statistics)
    for number, batch in enumerate(islice(calibrate.yielded(task.calibration), CALIBRATION_BATCHES)):
        arrays = [tensor.numpy() for tensor in calibrate.checked(batch, examples, number)]
        statistics.add([from_model(a, spec.batch_axis) for a, spec in zip(arrays, inputs, strict=True)])
        hashes.append(digest(arrays))
    if not hashes:
        raise TaskError(calibrate.NO_BATCH)
    return Read(fingerprint.of_text(*hashes), statistics)


def _call(
    call: Callable[..., list[np.ndarray]], subject: Subject, arrays: tuple[np.ndarray, ...]
) -> list[np.ndarray]:
    """Runs the user's own model on a whole batch of arrays, samples first."""
    check_shapes(arrays, structure.shapes(subject.inputs))
    return call(*(np.ascontiguousarray(a) for a in arrays))


def _row_shapes(subject: Subject) -> list[tuple[int, ...]]:
    """Returns the shapes of one sample as the example has it: those are kept, where lengths are free."""
    fixed = [msgspec.structs.replace(spec, free={}) for spec in subject.inputs]
    return structure.shapes(fixed)


def _shapes(subject: Subject, samples: Mapping[str, np.ndarray], work: Path) -> str:
    """Writes the float model's answers at several lengths of its free axes; "" where none is free."""
    if subject.free is None or subject.free.reason or subject.ask is None:
        return ""
    given = []
    for i, (spec, places) in enumerate(zip(subject.inputs, subject.free.inputs, strict=True)):
        rows = samples[f"input_{i}"] if str(spec.batch_axis) in places else samples[f"input_{i}"][:1]
        given.append(torch.from_numpy(np.asarray(to_model(rows, spec.batch_axis), order="C")))
    save_arrays(work / "shapes.npz", axes.proofs(subject.free, subject.inputs, given, subject.ask))
    return str(work / "shapes.npz")
