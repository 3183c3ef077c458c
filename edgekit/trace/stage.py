"""The first stage: the user's model becomes one exported program, and its own answers become the reference.

Everything after works on the saved program: the user's model is built once, so that no later stage can meet
other weights. The float model's predictions are kept by the hash of their input, so that each artifact is
compared with it on the very samples the metric asked for.
"""

import math
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit.arrays import check_shapes, digest, save_arrays
from edgekit.engine import fingerprint
from edgekit.engine.specs import TraceSpec
from edgekit.errors import ConversionError, EdgekitError, MissingRuntime, TaskError
from edgekit.quant import calibrate, graph_macs, prepare, prepare_keras, program, proven
from edgekit.records import TaskFacts, TensorSpec, Traced
from edgekit.task import Task, describe
from edgekit.trace import calibration_check, metric_check
from edgekit.trace.recorder import Recorder
from edgekit.trace.sources import keras, state
from edgekit.trace.sources.subject import Subject

CALIBRATION_BATCHES = 100  # as many as a technique reads
METRIC_SEED = 0


def trace(spec: TraceSpec) -> Traced:
    """Loads the task, checks the model, exports it and scores it. Writes program, predictions and inputs to `work`.

    Raises TaskError for anything wrong with the task, ConversionError if torch.export cannot trace the model.
    """
    seed_everything(spec.seed)
    task, work = spec.source.load(), Path(spec.work)
    examples = examples_of(task)
    subject = _subject(task, examples, work)
    recorder = Recorder(lambda *arrays: _call(subject, arrays, examples))
    metric = score(task, recorder)
    samples = recorder.kept()
    replayed = metric_check.replay(task.name, recorder, lambda predict: score(task, predict), metric)
    read = _read_calibration(task, examples)
    seen = _seen(task, recorder, metric, replayed, subject)
    save_arrays(work / "predictions.npz", recorder.predictions)
    save_arrays(work / "questions.npz", recorder.kept_questions())
    save_arrays(work / "samples.npz", samples)
    return Traced(
        facts=_facts(task, subject),
        preprocessing=task.preprocessing,
        program=subject.program,
        tensorflow=subject.tensorflow,
        predictions=str(work / "predictions.npz"),
        questions=str(work / "questions.npz"),
        samples_file=str(work / "samples.npz"),
        inputs=tuple(_spec(f"input_{i}", t) for i, t in enumerate(examples)),
        outputs=subject.outputs,
        metric=metric,
        samples=recorder.samples,
        parameters=subject.parameters,
        weights=subject.weights,
        classes=seen.classes,
        doubts=(
            *subject.doubts,
            *recorder.doubts(),
            *replayed.doubts,
            *seen.doubts,
            *calibration_check.doubts(read.statistics, recorder.statistics),
        ),
        fingerprint={
            **subject.content,
            "what the metric asks": fingerprint.of_text(*recorder.questions(), repr(metric)),
            "the calibration data": read.content,
            **fingerprint.of_task(task, lambda: seed_everything(spec.seed)),
        },
    )


def look(spec: TraceSpec) -> TaskFacts:
    """Only what the plan must know: the model is built and exported, nothing is scored. Raises what `trace` raises."""
    seed_everything(spec.seed)
    task = spec.source.load()
    return _facts(task, _subject(task, examples_of(task), Path(spec.work)))


def _facts(task: Task, subject: Subject) -> TaskFacts:
    return msgspec.structs.replace(
        task.facts(), torch=bool(subject.program), tensorflow=bool(subject.tensorflow), macs=subject.macs
    )


def _subject(task: Task, examples: tuple[torch.Tensor, ...], work: Path) -> Subject:
    """The model, checked and exported; its files go to `work`."""
    if isinstance(task.model, str | Path) and (Path(task.model).is_dir() or not Path(task.model).suffix):
        return _saved_model(Path(task.model), examples)
    model = model_of(task)
    outputs, kept = _checked(model, examples)
    exported, undone = _export(model, examples)
    program.save(exported, work / "program.pt2")
    keras_file, doubts = keras.keep(model, work / "model.keras")
    return Subject(
        call=_torch_call(model),
        outputs=tuple(_spec(f"output_{i}", t) for i, t in enumerate(outputs)),
        program=str(work / "program.pt2"),
        tensorflow=keras_file,
        parameters=sum(p.numel() for p in model.parameters()),
        weights=_weights(exported),
        content={
            "the model's graph": fingerprint.of_text(exported.graph_module.code),
            "the model's weights": fingerprint.of_tensors({**exported.state_dict, **exported.constants}),
        },
        macs=graph_macs.count(exported),
        doubts=(*kept, *undone, *doubts),
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
    names = [spec.name for spec in subject.outputs]
    labels = len(task.preprocessing.labels)
    return metric_check.look(recorder, lambda predict: score(task, predict), metric, replayed, names, labels)


class Read(NamedTuple):
    """The calibration data as far as any technique reads it."""

    content: str
    statistics: calibration_check.Statistics


def _read_calibration(task: Task, examples: tuple[torch.Tensor, ...]) -> Read:
    """Checks the batches before any work is spent on them. Raises TaskError as calibrating would."""
    statistics, hashes = calibration_check.Statistics(), []
    if task.calibration is None:
        return Read("none", statistics)
    for number, batch in enumerate(islice(calibrate.yielded(task.calibration), CALIBRATION_BATCHES)):
        arrays = [tensor.numpy() for tensor in calibrate.checked(batch, examples, number)]
        statistics.add(arrays)
        hashes.append(digest(arrays))
    if not hashes:
        raise TaskError(calibrate.NO_BATCH)
    return Read(fingerprint.of_text(*hashes), statistics)


def seed_everything(seed: int) -> None:
    import random

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def score(task: Task, predict: Callable[..., Any]) -> float:
    """The task's metric of `predict`. Raises TaskError if it raises or returns anything but a finite number.

    It draws the same random numbers each time, whatever was drawn before: it samples the same for every artifact.
    """
    seed_everything(METRIC_SEED)
    try:
        value = task.metric(predict)
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"the metric of task {task.name!r} raised {describe(error)}") from error
    if isinstance(value, np.ndarray | torch.Tensor) and np.prod(value.shape) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TaskError(
            f"the metric of task {task.name!r} returned a {type(value).__name__}; it must return a float"
        )
    if not math.isfinite(value):
        raise TaskError(
            f"the metric of task {task.name!r} returned {value}; it must be a finite number, higher is better"
        )
    return float(value)


def program_of(task: Task) -> torch.export.ExportedProgram:
    """The task's model exported as `trace` does it. Raises what `trace` raises for the model."""
    examples, model = examples_of(task), model_of(task)
    _checked(model, examples)
    return export(model, examples)


def model_of(task: Task) -> torch.nn.Module:
    """The user's model in eval mode; a Keras model with the call of a torch module."""
    model = task.model
    if isinstance(model, str | Path):
        model = keras.load(Path(model))
    elif not isinstance(model, torch.nn.Module):
        try:
            model = model()
        except EdgekitError:
            raise
        except Exception as error:
            raise TaskError(f"the model function of task {task.name!r} raised {describe(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise TaskError(
            f"the model of task {task.name!r} is a {type(model).__name__}; it must be a torch.nn.Module or a Keras model"
            f"{keras.other_backend(model)}"
        )
    if keras.is_model(model):
        model = keras.KerasModule(model)
    return model.eval().float()


def examples_of(task: Task) -> tuple[torch.Tensor, ...]:
    """The example inputs as tensors, floats in float32. Raises TaskError for others than tensors of batch 1."""
    examples = []
    for i, value in enumerate(task.example_inputs):
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise TaskError(f"example_inputs[{i}] is a {type(value).__name__}; give torch tensors")
        tensor = torch.as_tensor(value)
        if tensor.dim() == 0 or tensor.shape[0] != 1:
            raise TaskError(
                f"example_inputs[{i}] has shape {list(tensor.shape)}; the first dimension is the batch and must be 1"
            )
        if not (tensor.is_floating_point() or tensor.dtype in (torch.int64, torch.int32)):
            raise TaskError(f"example_inputs[{i}] is {tensor.dtype}; allowed are float32, int32 and int64")
        examples.append(tensor.float() if tensor.is_floating_point() else tensor)
    return tuple(examples)


def _checked(
    model: torch.nn.Module, examples: tuple[torch.Tensor, ...]
) -> tuple[list[torch.Tensor], tuple[str, ...]]:
    """What forward answers to the examples, and doubts about it. Raises TaskError for a forward that keeps a state."""
    return state.check(lambda *inputs: _forward(model, inputs), examples, lambda: state.of_module(model))


def _forward(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    shapes = ", ".join(f"{list(e.shape)} {str(e.dtype).removeprefix('torch.')}" for e in examples)
    try:
        with torch.no_grad(), keras.layers_named(model):
            outputs = model(*examples)
    except ConversionError:
        raise
    except Exception as error:
        raise TaskError(
            f"the model's forward, called with example_inputs ({shapes}), raised {describe(error)}"
        ) from error
    found = [outputs] if isinstance(outputs, torch.Tensor) else outputs
    if (
        not isinstance(found, list | tuple)
        or not all(isinstance(t, torch.Tensor) for t in found)
        or not found
    ):
        raise TaskError(
            f"the model's forward returned a {type(outputs).__name__}; it must return a tensor or a tuple of tensors. "
            "Wrap the model in a module that picks them"
        )
    if not all(torch.isfinite(t).all() for t in found if t.is_floating_point()):
        raise TaskError(f"the model's forward returned NaN or infinity for example_inputs ({shapes})")
    return list(found)


def export(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """torch.export, then the graph preparation that every target profits from, proven to answer as the model does."""
    return _export(model, examples)[0]


def _export(
    model: torch.nn.Module, examples: tuple[torch.Tensor, ...]
) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """The program, and a sentence for each pass that was undone because it would have changed what it computes."""
    before = proven.reference(model, examples)
    try:
        with keras.layers_named(model):
            graph = torch.export.export(model, examples).module()
        prepare.check_norms(graph)
        undone: tuple[str, ...] = ()
        if keras.has_layers(model):
            keras.note_origins(graph)
            undone = prepare_keras.prepared(graph, before)
        undone += prepare.prepared(graph, before)
        if undone:  # by no pass, it may be
            before.demand(graph, "torch.export")
        return torch.export.export(graph, examples), undone
    except (ConversionError, TaskError):
        raise
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ConversionError(
            f"torch.export cannot trace the model: {type(error).__name__}: {first}. "
            "Data-dependent control flow and non-tensor state are the usual causes"
        ) from error


def _weights(exported: torch.export.ExportedProgram) -> int:
    """Numbers that a file cannot do without: the tensors of two or more dimensions that some operator reads."""
    names = exported.graph_signature.inputs_to_parameters
    read = {
        names[n.name] for n in exported.graph.nodes if n.op == "placeholder" and n.name in names and n.users
    }
    return sum(t.numel() for name in read if (t := exported.state_dict[name]).dim() >= 2)


def _call(
    subject: Subject, arrays: tuple[np.ndarray, ...], examples: tuple[torch.Tensor, ...]
) -> list[np.ndarray]:
    """The user's own model on a whole batch of arrays."""
    check_shapes(arrays, [tuple(e.shape) for e in examples])
    return subject.call(*(np.ascontiguousarray(a) for a in arrays))


def _torch_call(model: torch.nn.Module) -> Callable[..., list[np.ndarray]]:
    def call(*arrays: np.ndarray) -> list[np.ndarray]:
        with torch.inference_mode():
            outputs = model(*(torch.from_numpy(a).clone() for a in arrays))  # forward may write into them
        return [t.numpy().copy() for t in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]

    return call


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
