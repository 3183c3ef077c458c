"""The first stage: the user's model becomes one exported program, and its own answers become the reference.

Everything after works on the saved program: the user's model is built once, so that no later stage can meet
other weights. The float model's predictions are kept by the hash of their input, so that each artifact is
compared with it on the very samples the metric asked for.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401  before any converter: see edgekit.child

from edgekit.arrays import as_arrays, check_shapes, digest, save_arrays
from edgekit.errors import ConversionError, EdgekitError, TaskError
from edgekit.quant import prepare, program
from edgekit.records import TensorSpec, Traced
from edgekit.specs import TraceSpec
from edgekit.task import Task, describe

KEEP_BYTES = 1 << 30  # predictions kept for parity
KEEP_SAMPLES = 32  # kept for golden pairs and the saturation check


def trace(spec: TraceSpec) -> Traced:
    """Loads the task, checks the model, exports it and scores it. Writes program, predictions and inputs to `work`.

    Raises TaskError for anything wrong with the task, ConversionError if torch.export cannot trace the model.
    """
    seed_everything(spec.seed)
    task, work = spec.source.load(), Path(spec.work)
    model = _model_of(task)
    examples = _examples_of(task)
    outputs = _forward(model, examples)
    exported = _export(model, examples)
    program.save(exported, work / "program.pt2")
    recorder = Recorder(lambda *arrays: _call(model, arrays, examples))
    metric = score(task, recorder)
    save_arrays(work / "predictions.npz", recorder.predictions)
    save_arrays(work / "samples.npz", recorder.kept())
    return Traced(
        facts=task.facts(),
        preprocessing=task.preprocessing,
        program=str(work / "program.pt2"),
        predictions=str(work / "predictions.npz"),
        samples_file=str(work / "samples.npz"),
        inputs=tuple(_spec(f"input_{i}", t) for i, t in enumerate(examples)),
        outputs=tuple(_spec(f"output_{i}", t) for i, t in enumerate(outputs)),
        metric=metric,
        samples=recorder.samples,
        parameters=sum(p.numel() for p in model.parameters()),
        doubts=recorder.doubts(),
    )


def seed_everything(seed: int) -> None:
    import random

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def score(task: Task, predict: Callable[..., Any]) -> float:
    """The task's metric of `predict`. Raises TaskError if it raises or returns anything but a finite number."""
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


class Recorder:
    """A predict function that remembers what it answered, by the hash of what it was asked."""

    def __init__(self, call: Callable[..., list[np.ndarray]]) -> None:
        self._call = call
        self._kept_bytes = 0
        self._skipped = 0
        self._samples: list[tuple[list[np.ndarray], list[np.ndarray]]] = []
        self.samples = 0
        self.predictions: dict[str, np.ndarray] = {}

    def __call__(self, *inputs: Any) -> Any:
        arrays = as_arrays(inputs)
        outputs = self._call(*arrays)
        self.samples += len(arrays[0])
        self._keep_samples(arrays, outputs)
        size = sum(o.nbytes for o in outputs)
        if self._kept_bytes + size <= KEEP_BYTES:
            self._kept_bytes += size
            self.predictions.update({f"{digest(arrays)}_{i}": o for i, o in enumerate(outputs)})
        else:
            self._skipped += len(arrays[0])
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _keep_samples(self, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
        for row in range(min(len(inputs[0]), KEEP_SAMPLES - len(self._samples))):
            self._samples.append(
                ([a[row : row + 1].copy() for a in inputs], [o[row : row + 1].copy() for o in outputs])
            )

    def kept(self) -> dict[str, np.ndarray]:
        """The first samples: input_i and output_i, arrays [N, ...]."""
        if not self._samples:
            raise TaskError("the metric never called predict; it must score the function it is given")
        inputs, outputs = zip(*self._samples, strict=True)
        named = {"input": zip(*inputs, strict=True), "output": zip(*outputs, strict=True)}
        return {
            f"{side}_{i}": np.concatenate(column)
            for side, columns in named.items()
            for i, column in enumerate(columns)
        }

    def doubts(self) -> tuple[str, ...]:
        if not self._skipped:
            return ()
        return (
            f"parity leaves out {self._skipped} of {self.samples} samples: outputs above {KEEP_BYTES >> 20} MiB",
        )


def _model_of(task: Task) -> torch.nn.Module:
    model = task.model
    if not isinstance(model, torch.nn.Module):
        try:
            model = model()
        except EdgekitError:
            raise
        except Exception as error:
            raise TaskError(f"the model function of task {task.name!r} raised {describe(error)}") from error
    if not isinstance(model, torch.nn.Module):
        raise TaskError(
            f"the model of task {task.name!r} is a {type(model).__name__}; it must be a torch.nn.Module"
        )
    return model.eval().float()


def _examples_of(task: Task) -> tuple[torch.Tensor, ...]:
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


def _forward(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
    shapes = ", ".join(f"{list(e.shape)} {str(e.dtype).removeprefix('torch.')}" for e in examples)
    try:
        with torch.no_grad():
            outputs = model(*examples)
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


def _export(model: torch.nn.Module, examples: tuple[torch.Tensor, ...]) -> torch.export.ExportedProgram:
    """torch.export, then the graph preparation that every target profits from."""
    try:
        exported = torch.export.export(model, examples)
        return torch.export.export(prepare.prepare_graph(exported.module()), examples)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else ""
        raise ConversionError(
            f"torch.export cannot trace the model: {type(error).__name__}: {first}. "
            "Data-dependent control flow and non-tensor state are the usual causes"
        ) from error


def _call(
    model: torch.nn.Module, arrays: tuple[np.ndarray, ...], examples: tuple[torch.Tensor, ...]
) -> list[np.ndarray]:
    """The user's own module on a whole batch of arrays."""
    check_shapes(arrays, [tuple(e.shape) for e in examples])
    with torch.inference_mode():
        outputs = model(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))
    return [t.numpy().copy() for t in ([outputs] if isinstance(outputs, torch.Tensor) else outputs)]


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name=name, shape=tuple(tensor.shape), dtype=str(tensor.dtype).removeprefix("torch."))
