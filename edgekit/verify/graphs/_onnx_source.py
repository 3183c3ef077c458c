"""What every runtime's graph of an ONNX file is read with: the file itself, and its free axes at the lengths of its example."""

from collections.abc import Iterator, Mapping
from math import prod

import onnx

LENGTHS = "edgekit.lengths"  # the property of a file that `edgekit.export.onnx` writes
Shape = tuple[int, ...]


def constants(model: onnx.ModelProto) -> Iterator[tuple[str, Shape, int]]:
    """Yields dtype, shape and bytes of every stored tensor."""
    for tensor in model.graph.initializer:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        yield dtype.name, tuple(tensor.dims), prod(tensor.dims) * dtype.itemsize


def lengths_of(model: onnx.ModelProto) -> dict[str, int]:
    """The lengths at which the work of a file with free axes is counted: those of its example."""
    written = next((p.value for p in model.metadata_props if p.key == LENGTHS), "")
    return {name: int(length) for name, _, length in (pair.partition("=") for pair in written.split())}


def at_example(path: str) -> onnx.ModelProto:
    """Reads a file with its free axes at the lengths of its example."""
    model = onnx.load(path)
    lengths = lengths_of(model)
    return at(model, lengths) if lengths else model


def at(model: onnx.ModelProto, lengths: Mapping[str, int]) -> onnx.ModelProto:
    """A copy whose free axes have these lengths."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    for value in fixed.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in lengths:
                dim.dim_value = lengths[dim.dim_param]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    return fixed
