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
from edgekit.errors import MissingRuntime, TaskError
from edgekit.quant import calibrate, first_states, graph_macs, program
from edgekit.records import FreeAxes, Interface, TaskFacts, TensorSpec, Traced
from edgekit.task import Task, is_folder
from edgekit.trace import axes, calibration_check, metric_check, output_measures, structure
from edgekit.trace.door import look as look_at
from edgekit.trace.flat import flat_task, flattened
from edgekit.trace.metric import score, seed_everything
from edgekit.trace.model import checked, count_weights, examples_of, export_with_doubts, model_of
from edgekit.trace.recorder import Recorder
from edgekit.trace.sources import keras, torch_file
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
    task, subject, examples = opened(given, work)
    recorder = Recorder(lambda *arrays: _call(subject, arrays), _row_shapes(subject))
    metric = score(task, recorder)
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
    task, subject, _ = opened(spec.source.load(), Path(spec.work))
    return facts_of(task, subject)


def facts_of(task: Task, subject: Subject) -> TaskFacts:
    """Returns what the plan must know of the task and its model."""
    return msgspec.structs.replace(
        task.facts(), torch=bool(subject.program), tensorflow=bool(subject.tensorflow), macs=subject.macs
    )


def opened(given: Task, work: Path) -> tuple[Task, Subject, tuple[torch.Tensor, ...]]:
    """Checks and exports the model; its files go to `work`.

    Returns:
        The task as the flat program needs it, the model, and the example inputs.
    """
    if is_folder(given.model):
        examples = examples_of(given)
        return given, _saved_model(Path(given.model), examples), examples
    model = model_of(given)
    interface, examples = look_at(given, model)
    task = flat_task(given, interface)
    if interface is not None:
        model = flattened(model, interface)
    outputs, kept = checked(model, examples)
    inputs = _specs("input", examples, (interface.inputs, interface.input_axes) if interface else None)
    free = axes.find(given, inputs, model, examples)
    subject = _subject(model, examples, free if given.dynamic else None, work)
    given_names = (interface.outputs, interface.output_axes) if interface else None
    return (
        task,
        subject._replace(
            call=_torch_call(model, interface),
            inputs=_with_free(inputs, free.inputs if free and given.dynamic else ()),
            outputs=_with_free(
                _specs("output", outputs, given_names), free.outputs if free and given.dynamic else ()
            ),
            interface=interface,
            free=free,
            ask=_asked(model),
            doubts=(*kept, *subject.doubts),
        ),
        examples,
    )


def _subject(
    model: torch.nn.Module, examples: tuple[torch.Tensor, ...], free: FreeAxes | None, work: Path
) -> Subject:
    exported, undone = export_with_doubts(model, examples, free)
    program.save(exported, work / "program.pt2")
    keras_file, doubts = keras.keep(model, work / "model.keras")
    return Subject(
        call=_torch_call(model, None),
        inputs=(),
        outputs=(),
        program=str(work / "program.pt2"),
        tensorflow=keras_file,
        parameters=sum(p.numel() for p in model.parameters()),
        weights=count_weights(exported),
        content={
            parts.GRAPH: fingerprint.of_text(exported.graph_module.code),
            parts.WEIGHTS: fingerprint.of_tensors({**exported.state_dict, **exported.constants}),
        },
        macs=graph_macs.count(exported),
        layers=graph_macs.layers(exported),
        doubts=(*undone, *doubts),
    )


def _saved_model(path: Path, examples: tuple[torch.Tensor, ...]) -> Subject:
    try:
        from edgekit.trace.sources import tensorflow
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("edgekit"):
            raise
        raise MissingRuntime.of("tensorflow", "a SavedModel") from error
    return tensorflow.read(path, examples)


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


def _call(subject: Subject, arrays: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Runs the user's own model on a whole batch of arrays, samples first."""
    check_shapes(arrays, structure.shapes(subject.inputs))
    return subject.call(*(np.ascontiguousarray(a) for a in arrays))


def _row_shapes(subject: Subject) -> list[tuple[int, ...]]:
    """Returns the shapes of one sample as the example has it: those are kept, where lengths are free."""
    fixed = [msgspec.structs.replace(spec, free={}) for spec in subject.inputs]
    return structure.shapes(fixed)


def _torch_call(model: torch.nn.Module, interface: Interface | None) -> Callable[..., list[np.ndarray]]:
    @first_states.guarded
    def call(*arrays: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = model(*(torch.from_numpy(a).clone() for a in arrays))  # forward may write into them
        return [t.numpy().copy() for t in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]

    one = getattr(model, torch_file.ONE_SAMPLE, False)
    if interface is None:
        return structure.one_by_one(call) if one else call
    found = structure.in_rows(call, interface.input_axes, interface.output_axes)
    return structure.one_by_one(found) if one else found


def _asked(model: torch.nn.Module) -> Callable[..., list[torch.Tensor]]:
    @first_states.guarded
    def ask(*tensors: torch.Tensor) -> list[torch.Tensor]:
        with torch.no_grad():
            outputs = model(*(x.clone() for x in tensors))
        return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)

    return ask


def _shapes(subject: Subject, samples: Mapping[str, np.ndarray], work: Path) -> str:
    """Writes the float model's answers at several lengths of its free axes; "" where none is free."""
    if subject.free is None or subject.free.reason or subject.ask is None:
        return ""
    given = [
        torch.from_numpy(np.asarray(to_model(samples[f"input_{i}"], spec.batch_axis), order="C"))
        for i, spec in enumerate(subject.inputs)
    ]
    save_arrays(work / "shapes.npz", axes.proofs(subject.free, subject.inputs, given, subject.ask))
    return str(work / "shapes.npz")


def _with_free(specs: tuple[TensorSpec, ...], free: Sequence[dict[str, str]]) -> tuple[TensorSpec, ...]:
    pairs = zip(specs, free or [{}] * len(specs), strict=True)
    return tuple(msgspec.structs.replace(spec, free=each) for spec, each in pairs)


Named = tuple[tuple[str, ...], tuple[int | None, ...]]


def _specs(side: str, tensors: Sequence[torch.Tensor], named: Named | None) -> tuple[TensorSpec, ...]:
    names, places = named or ([f"{side}_{i}" for i in range(len(tensors))], [0] * len(tensors))
    return tuple(
        TensorSpec(name=n, shape=tuple(t.shape), dtype=str(t.dtype).removeprefix("torch."), batch_axis=axis)
        for n, t, axis in zip(names, tensors, places, strict=True)
    )
