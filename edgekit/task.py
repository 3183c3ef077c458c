"""The task: the user's model with what is needed to compress it and to judge the result.

`edgekit.engine.task_reference` finds one by its name, `edgekit.engine.task_source` hands one to a child process.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgekit.errors import TaskError
from edgekit.records import Measure, Preprocessing, TaskFacts

MODEL_NAMES = ("timm", "torchvision", "hf")  # what stands before the colon of a model by name
Metric = Callable[[Callable[..., Any]], float]


@dataclass(frozen=True, kw_only=True)
class Training:
    """Data that opens the training techniques (qat, prune, distill).

    Attributes:
        batches: A re-iterable of (inputs, labels).
        loss: loss(outputs, labels) -> scalar tensor.
        unlabelled: A re-iterable of inputs alone, for distillation.
    """

    batches: Iterable[Any]
    loss: Callable[[Any, Any], Any]
    unlabelled: Iterable[Any] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """Weights in a file, and the function that builds the module they are of: `Checkpoint("net.safetensors", build)`."""

    path: str | Path
    build: Callable[[], Any]


def is_folder(model: Any) -> bool:
    """Whether a model is the path of a SavedModel, and no name and no file of another kind."""
    if not isinstance(model, str | Path) or str(model).partition(":")[0] in MODEL_NAMES:
        return False
    return Path(model).is_dir() or not Path(model).suffix


@dataclass(frozen=True)
class Dim:
    """A free axis: `Dim("length", min=1, max=512)`."""

    name: str
    min: int = 1
    max: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isidentifier():
            raise TaskError(f'the name of a free axis is {self.name!r}; give a word, such as "length"')
        if not isinstance(self.min, int) or self.min < 1 or (self.max is not None and self.max <= self.min):
            raise TaskError(
                f"the axis {self.name} goes from {self.min} to {self.max}; give whole numbers, the first at least 1 and below the second"
            )


@dataclass(frozen=True, kw_only=True)
class Task:
    """One trained model, its example input, and the data that compresses and judges it.

    Attributes:
        model: An nn.Module, a Keras 3 model, an exported program, a function without arguments that returns one of them, a
            `Checkpoint`, a name ("timm:NAME", "torchvision:NAME", "hf:FOLDER"), or the path of a `.pt2`, TorchScript or `.keras`
            file, of an `.onnx` file (ONNX targets only) or of a TensorFlow SavedModel folder (TFLite targets only).
        example_inputs: What forward takes for one sample, in the model's own layout: a tuple of what it takes by position, or a
            dict of what it takes by name. Tensors with batch 1, [1, C, H, W] for an image in torch, [1, H, W, C] in Keras; lists,
            tuples and dicts of tensors; settings (None, True, 3, "text"), which are built into the artifact.
        metric: metric(predict) -> float, higher is better; `predict` is called as the model is, takes and returns what the
            model does in numpy arrays, for any batch size.
        calibration: A re-iterable of unlabelled input batches (tensor, array, a tuple of them, or a dict by name).
        training: Data for the training techniques.
        preprocessing: What the app must do to an image; None where the input is none, or nobody says.
        batch_axes: Input or output -> the axis of its samples, None where it has none; only where the shapes do not tell: the
            first axis of [1, ...], the second of a recurrent state [L, 1, ...].
        dynamic: Input -> axis -> the name of a free axis or its `Dim`; {} for none at all. None leaves the samples free on the
            targets that serve.
        measures: Output -> how it is compared with the float model's, which `min_agreement` limits: "mask", "psnr", ... or a
            `Measure`, as boxes need one; only where the output and the metric do not tell.
        state: Output -> the input that it is given to in the next call, as of a recurrent layer: {"h_out": "h"}.
    """

    name: str
    model: Any
    example_inputs: tuple[Any, ...] | Mapping[str, Any]
    metric: Metric
    calibration: Iterable[Any] | None = None
    training: Training | None = None
    preprocessing: Preprocessing | None = None
    batch_axes: Mapping[str, int | None] = field(default_factory=dict)
    dynamic: Mapping[str, Mapping[int, str | Dim]] | None = None
    measures: Mapping[str, str | Measure] = field(default_factory=dict)
    state: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise TaskError(f"the task's name is {self.name!r}; it must be a non-empty string")
        if not isinstance(self.example_inputs, tuple | Mapping) or not self.example_inputs:
            given = type(self.example_inputs).__name__
            raise TaskError(
                f"example_inputs is a {given}; give a tuple of tensors, e.g. (torch.zeros(1, 3, 224, 224),), or a dict by the names "
                "of forward's parameters"
            )
        if not isinstance(self.batch_axes, Mapping) or not all(
            axis is None or type(axis) is int for axis in self.batch_axes.values()
        ):
            raise TaskError(f"batch_axes is {self.batch_axes!r}; give a dict of names -> axis or None")
        if self.dynamic is not None and not (
            isinstance(self.dynamic, Mapping)
            and all(isinstance(axes, Mapping) for axes in self.dynamic.values())
        ):
            raise TaskError(
                f'dynamic is {self.dynamic!r}; give a dict of inputs -> axes, e.g. {{"ids": {{0: "batch", 1: ek.Dim("length", max=512)}}}}'
            )
        if not callable(self.metric):
            raise TaskError(
                "metric is not callable; give a function metric(predict) -> float, higher is better"
            )
        if not callable(self.model) and not isinstance(self.model, str | Path | Checkpoint):
            raise TaskError(
                f"model is a {type(self.model).__name__}; give a torch.nn.Module, a Keras model, a function that returns "
                "one, or the path of a .pt2, TorchScript or .keras file or a SavedModel folder"
            )
        if self.calibration is not None and not _iterates_again(self.calibration):
            kind = (
                "one-shot iterator"
                if isinstance(self.calibration, Iterator)
                else type(self.calibration).__name__
            )
            raise TaskError(
                f"calibration is a {kind}; give something that can be iterated again: a list, a DataLoader, "
                "or an object with __iter__"
            )

    def facts(self) -> TaskFacts:
        """Returns what is known without building the model.

        Only the trace stage knows whether a function returns a Keras model.
        """
        named = isinstance(self.model, str | Path) and str(self.model).partition(":")[0] in MODEL_NAMES
        path = self.model if isinstance(self.model, str | Path) and not named else None
        return TaskFacts(
            name=self.name,
            calibration=self.calibration is not None,
            training=self.training is not None,
            torch=path is None or not (Path(path).is_dir() or Path(path).suffix == ".onnx"),
            onnx=path is not None and Path(path).suffix == ".onnx",
            tensorflow=path is not None and (is_folder(path) or Path(path).suffix == ".keras"),
        )


def _iterates_again(batches: Any) -> bool:
    try:
        return iter(batches) is not batches
    except TypeError:
        return False
