"""Edits of a saved Core ML program: operations before its first and behind its last, the weights untouched."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch  # noqa: F401
import torchvision  # noqa: F401  before coremltools, which loads tensorflow: else the process dies

# isort: split
from coremltools.proto import MIL_pb2, Model_pb2

from edgekit.quant import program as programs

FLOAT32, STRING, FLOAT64 = MIL_pb2.FLOAT32, MIL_pb2.STRING, MIL_pb2.FLOAT64


@contextmanager
def edited(package: Path) -> Iterator[tuple[Any, Any, Any]]:
    """Yields the description, the main function and its block; what was done to them is written, with the same bytes each time."""
    (path,) = (package / "Data").rglob("*.mlmodel")
    model = Model_pb2.Model()
    model.ParseFromString(path.read_bytes())
    function = model.mlProgram.functions[model.description.defaultFunctionName or "main"]
    yield model.description, function, function.block_specializations[function.opset]
    programs.write(path, model.SerializeToString(deterministic=True))


def constant(name: str, value: np.ndarray | str | bool | Sequence[int] | int) -> Any:
    """A const operation."""
    made = MIL_pb2.Operation(type="const")
    made.attributes["val"].CopyFrom(_value(value))
    made.attributes["name"].CopyFrom(_value(name))
    made.outputs.add(name=name).type.CopyFrom(made.attributes["val"].type)
    return made


def operation(kind: str, name: str, shape: Sequence[int], **inputs: str) -> Any:
    """An operation with one float32 result, named as the operation is; `inputs` are names of values."""
    made = MIL_pb2.Operation(type=kind)
    made.attributes["name"].CopyFrom(_value(name))
    _bind(made, inputs)
    _set_type(made.outputs.add(name=name).type.tensorType, FLOAT32, shape)
    return made


def classify(scores: str, classes: Sequence[str], label: str, probabilities: str) -> Any:
    """The operation that gives the label of the highest score, and the scores by label."""
    made = MIL_pb2.Operation(type="classify")
    made.attributes["name"].CopyFrom(_value("classify"))
    _bind(made, {"probabilities": scores})
    value = made.inputs["classes"].arguments.add().value
    listed = value.type.listType
    listed.type.tensorType.dataType = STRING
    listed.length.constant.size = len(classes)
    value.immediateValue.list.values.extend(_value(each) for each in classes)
    made.outputs.add(name=label).type.tensorType.dataType = STRING
    kept = made.outputs.add(name=probabilities).type.dictionaryType
    kept.keyType.tensorType.dataType, kept.valueType.tensorType.dataType = STRING, FLOAT64
    return made


def rename_reads(block: Any, old: str, new: str) -> None:
    """Every use of a value in a block, those of inner blocks too."""
    for each in block.operations:
        for argument in each.inputs.values():
            for binding in argument.arguments:
                if binding.WhichOneof("binding") == "name" and binding.name == old:
                    binding.name = new
        for inner in each.blocks:
            rename_reads(inner, old, new)


def set_shape(value_type: Any, shape: Sequence[int]) -> None:
    """Makes a type a float32 tensor of this shape."""
    _set_type(value_type.tensorType, FLOAT32, shape)


def _bind(made: Any, inputs: dict[str, str]) -> None:
    for parameter, name in inputs.items():
        made.inputs[parameter].arguments.add().name = name


def _set_type(tensor: Any, dtype: int, shape: Sequence[int]) -> None:
    tensor.Clear()
    tensor.dataType, tensor.rank = dtype, len(shape)
    for size in shape:
        tensor.dimensions.add().constant.size = size


def _value(value: np.ndarray | str | bool | Sequence[int] | int) -> Any:
    made = MIL_pb2.Value()
    tensor, kept = made.type.tensorType, made.immediateValue.tensor
    if isinstance(value, str):
        tensor.dataType = STRING
        kept.strings.values.append(value)
    elif isinstance(value, np.ndarray):
        _set_type(tensor, FLOAT32, value.shape)
        kept.floats.values.extend(value.ravel().tolist())
    else:
        numbers = np.asarray(value)
        _set_type(tensor, MIL_pb2.INT32, numbers.shape)
        kept.ints.values.extend(numbers.ravel().tolist())
    return made
