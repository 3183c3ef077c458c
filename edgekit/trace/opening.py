"""A task's model is opened: checked, exported as one program, and ready to be asked."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

from edgekit.engine import fingerprint, parts
from edgekit.errors import MissingRuntime, TaskError
from edgekit.quant import first_states, graph_macs, program
from edgekit.records import FreeAxes, Interface, TaskFacts, TensorSpec
from edgekit.task import Task, is_folder
from edgekit.trace import axes, randomness, structure
from edgekit.trace.door import look as look_at
from edgekit.trace.flat import flat_task, flattened
from edgekit.trace.model import checked, count_weights, examples_of, export_with_doubts, model_of
from edgekit.trace.sources import keras, keras_policy, onnx_file, torch_file
from edgekit.trace.sources.subject import Subject

Named = tuple[tuple[str, ...], tuple[int | None, ...]]


def opened(given: Task, work: Path, serves: bool = True) -> tuple[Task, Subject, tuple[torch.Tensor, ...]]:
    """Checks and exports the model; its files go to `work`.

    Args:
        given: The task.
        work: The folder.
        serves: Whether the samples are tried to be free where the task does not say.

    Returns:
        The task as the flat program needs it, the model, and the example inputs.

    Raises:
        EdgekitError: Something is wrong with the task or its model.
    """
    _refuse_half_characters(given.name, given.preprocessing)
    if is_folder(given.model):
        examples = examples_of(given)
        return given, _saved_model(Path(given.model), examples), examples
    if isinstance(given.model, str | Path) and Path(given.model).suffix == ".onnx":
        subject, examples = onnx_file.opened(given, work)
        return flat_task(given, subject.interface), subject, examples
    model = model_of(given)
    interface, examples = look_at(given, model)
    _refuse_half_characters(interface)
    task = flat_task(given, interface)
    if interface is not None:
        model = flattened(model, interface)
    outputs, kept = checked(model, examples)
    inputs = _specs("input", examples, (interface.inputs, interface.input_axes) if interface else None)
    asked = serves or given.dynamic is not None
    free = axes.find(given, inputs, model, examples) if asked else None
    subject = _subject(model, examples, free, work)
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
            doubts=(*keras_policy.doubts(model), *kept, *subject.doubts),
        ),
        examples,
    )


def _refuse_half_characters(*named: Any) -> None:
    """Raises TaskError where a name cannot be written into a file: half of a pair of surrogates is no character in UTF-8."""
    try:
        msgspec.json.encode(named)
    except UnicodeEncodeError as error:
        raise TaskError(
            f"{error.object[:40]!a} is a name in the task or in what its model takes and returns, and holds half a character "
            "(an unpaired surrogate), which no file can hold; give text that UTF-8 can encode"
        ) from None


def facts_of(task: Task, subject: Subject) -> TaskFacts:
    """Returns what the plan must know of the task and its model."""
    return msgspec.structs.replace(
        task.facts(),
        torch=bool(subject.program),
        tensorflow=bool(subject.tensorflow),
        operators=subject.operators,
        macs=subject.macs,
    )


def _subject(
    model: torch.nn.Module, examples: tuple[torch.Tensor, ...], free: FreeAxes | None, work: Path
) -> Subject:
    exported, undone = export_with_doubts(model, examples, free)
    randomness.refuse(exported)
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
        code=fingerprint.of_classes({type(module) for module in model.modules()}),
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


def _with_free(specs: tuple[TensorSpec, ...], free: Sequence[dict[str, str]]) -> tuple[TensorSpec, ...]:
    pairs = zip(specs, free or [{}] * len(specs), strict=True)
    return tuple(msgspec.structs.replace(spec, free=each) for spec, each in pairs)


def _specs(side: str, tensors: Sequence[torch.Tensor], named: Named | None) -> tuple[TensorSpec, ...]:
    names, places = named or ([f"{side}_{i}" for i in range(len(tensors))], [0] * len(tensors))
    return tuple(
        TensorSpec(name=n, shape=tuple(t.shape), dtype=str(t.dtype).removeprefix("torch."), batch_axis=axis)
        for n, t, axis in zip(names, tensors, places, strict=True)
    )
