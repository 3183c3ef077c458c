"""The numbers at the doors of an int8 TFLite file: float32, uint8 or int8, by a QUANTIZE or DEQUANTIZE at each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

from edgekit.errors import ConversionError
from edgekit.quant import program as programs
from edgekit.records import TensorSpec

KINDS = schema.TensorType
TYPES = {"float32": KINDS.FLOAT32, "uint8": KINDS.UINT8, "int8": KINDS.INT8}
SHIFT = 128  # from int8 to uint8
Specs = tuple[TensorSpec, ...]


def change(
    path: Path,
    numbers: Literal["float32", "uint8", "int8"],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> tuple[Specs, Specs]:
    """Rewrites the file in place.

    Args:
        path: The file.
        numbers: What its quantized inputs and outputs shall hold.
        inputs: What it has.
        outputs: What it has.

    Returns:
        Its inputs and outputs now.

    Raises:
        ConversionError: An input or output has no grid of 8 bits.
    """
    for spec in (*inputs, *outputs):
        if spec.dtype == "float32" and numbers == "float32":
            continue
        if spec.dtype not in ("int8", "uint8") or spec.scale is None:
            raise ConversionError(
                f"{spec.name} is {spec.dtype} without a grid of 8 bits, so it cannot become {numbers}; leave the option out, or "
                "export with a profile that quantizes it"
            )
    model = flatbuffer_utils.read_model(str(path))
    (signature,) = model.signatureDefs
    for side, specs in (("inputs", inputs), ("outputs", outputs)):
        for entry in getattr(signature, side):
            (spec,) = (s for s in specs if s.name == entry.name.decode())
            if spec.dtype != numbers:
                entry.tensorIndex = _door(model, entry.tensorIndex, side, numbers)
    programs.write(path, bytes(flatbuffer_utils.convert_object_to_bytearray(model)))
    return tuple(_changed(s, numbers) for s in inputs), tuple(_changed(s, numbers) for s in outputs)


def _changed(spec: TensorSpec, numbers: str) -> TensorSpec:
    if spec.dtype == numbers:
        return spec
    if numbers == "float32":
        return msgspec.structs.replace(spec, dtype=numbers, scale=None, zero_point=None)
    shift = SHIFT if numbers == "uint8" else -SHIFT
    return msgspec.structs.replace(spec, dtype=numbers, zero_point=(spec.zero_point or 0) + shift)


def _door(model: Any, index: int, side: str, numbers: str) -> int:
    """Puts an operator between the app and a tensor; returns the tensor that the app sees."""
    graph = model.subgraphs[0]
    inner = graph.tensors[index]
    outer = schema.TensorT()
    outer.name, outer.shape, outer.shapeSignature = inner.name + b"_app", inner.shape, inner.shapeSignature
    outer.type, outer.buffer, outer.hasRank = TYPES[numbers], 0, inner.hasRank
    if numbers != "float32":
        grid = outer.quantization = schema.QuantizationParametersT()
        shift = SHIFT if numbers == "uint8" else -SHIFT
        grid.scale, grid.zeroPoint = (
            list(inner.quantization.scale),
            [int(inner.quantization.zeroPoint[0]) + shift],
        )
    graph.tensors.append(outer)
    new = len(graph.tensors) - 1
    made = schema.OperatorT()
    codes = schema.BuiltinOperator
    leaves_as_float = side == "outputs" and numbers == "float32"
    made.opcodeIndex = _code(model, codes.DEQUANTIZE if leaves_as_float else codes.QUANTIZE)
    made.inputs, made.outputs = ([new], [index]) if side == "inputs" else ([index], [new])
    graph.operators.insert(0 if side == "inputs" else len(graph.operators), made)
    ends = [int(i) for i in getattr(graph, side)]
    setattr(graph, side, [new if i == index else i for i in ends])
    return new


def _code(model: Any, builtin: int) -> int:
    for number, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin and code.customCode is None:
            return number
    made = schema.OperatorCodeT()
    made.builtinCode = made.deprecatedBuiltinCode = builtin
    made.version = 2  # from one grid to another
    model.operatorCodes.append(made)
    return len(model.operatorCodes) - 1
