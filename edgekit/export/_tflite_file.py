"""A finished TFLite file, whoever wrote it, as an artifact: read without any delegate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgekit_runner.backends.litert import interface

from edgekit.errors import ConversionError
from edgekit.export import _written
from edgekit.records import Artifact, Precision, TensorSpec


def artifact(
    out: Path,
    precision: Precision,
    layout: Literal["NHWC", "as the model"],
    toolchain: dict[str, str],
    float_interfaces: bool = False,
) -> Artifact:
    """Describes what the finished file really holds.

    Args:
        out: The file.
        precision: What the recipe promises.
        layout: The layout of rank-4 inputs and outputs.
        toolchain: Package -> version, of what wrote it.
        float_interfaces: Whether float inputs and outputs are as intended, and so no doubt.

    Raises:
        ConversionError: TFLite cannot load the file.
    """
    inputs, outputs = _interfaces(out)
    doubts = () if float_interfaces else _doubts(precision, inputs + outputs)
    return _written.artifact(out, "tflite", precision, (inputs, outputs), layout, toolchain, doubts=doubts)


def ordered(found: Artifact, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Artifact:
    """Returns the artifact with its inputs and outputs in the order of the program, and with its axes of samples.

    A file whose signature has other names is left as it is.
    """
    sides = []
    for mine, theirs in ((found.inputs, inputs), (found.outputs, outputs)):
        named = {spec.name: spec for spec in mine}
        known = set(named) == {spec.name for spec in theirs}
        sides.append(
            tuple(msgspec.structs.replace(named[s.name], batch_axis=s.batch_axis) for s in theirs)
            if known
            else mine
        )
    return msgspec.structs.replace(found, inputs=sides[0], outputs=sides[1])


def _interfaces(path: Path) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """The inputs and outputs that the finished file declares, by the names of its signature, read without any delegate."""
    try:
        interpreter = Interpreter(
            str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ConversionError(
            f"the converter wrote {path.name}, but TFLite cannot load it: {error}"
        ) from error
    inputs, outputs = interface(interpreter)
    return tuple(map(_spec, inputs)), tuple(map(_spec, outputs))


def _spec(detail: dict[str, Any]) -> TensorSpec:
    scale, zero_point = detail["quantization"]
    quantized = scale != 0.0
    return TensorSpec(
        name=detail["name"],
        shape=tuple(int(n) for n in detail["shape"]),
        dtype=detail["dtype"].__name__,
        scale=float(scale) if quantized else None,
        zero_point=int(zero_point) if quantized else None,
    )


def _doubts(precision: Precision, specs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
    if precision != "int8":
        return ()
    return tuple(
        f"{s.name} of an int8 file is {s.dtype}: its operator is not quantized"
        for s in specs
        if s.dtype.startswith("float")
    )
