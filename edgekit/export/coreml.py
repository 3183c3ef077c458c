"""Converts a candidate to a Core ML program (.mlpackage), on any machine; it takes a Mac to run natively.

float16: weights, activations and arithmetic in half precision, which is what the Neural Engine runs; inputs and outputs stay
float32. float32: everything float32. int8: weights stored as int8, activations quantized, arithmetic in float16. Zeros and
palettes that a step made are stored as such (`_coreml_weights`).

Two packages of the same program are equal, byte for byte (`_coreml_bytes`).
Runs in a child process: coremltools must be imported after torch and torchvision.
"""

import logging
import shutil
import tempfile
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
import torchvision  # noqa: F401  before coremltools, which loads tensorflow: else the process dies

# isort: split
import coremltools as ct
from coremltools.converters.mil.mil.scope import ScopeSource
from edgekit_runner import __version__

from edgekit.errors import ConversionError
from edgekit.export import _written
from edgekit.export._common_forms import rewritten
from edgekit.export._coreml_bytes import normalize
from edgekit.export._coreml_ops import conversion_error, decompose, register_missing, wide_inputs
from edgekit.export._coreml_passes import without_failing_passes
from edgekit.export._coreml_weights import compact
from edgekit.export._free import loosened
from edgekit.quant import program as programs
from edgekit.quant.free_axes import limited, named
from edgekit.quant.freeing import settled
from edgekit.quant.size_texts import identifier
from edgekit.records import Artifact, Candidate, FreeAxes, FreeAxis, Precision, TensorSpec

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".mlpackage"
DEFAULT_IOS = 17
_FLOAT32 = 1  # the debug handle of what stays float32
PACKAGES = ("torch", "torchao", "coremltools")
# there is no input of 8 bits: whole numbers come as int32
_TYPES = {
    "float32": np.float32, "int32": np.int32, "int64": np.int32, "bool": np.bool_, "uint8": np.int32, "int8": np.int32,
}  # fmt: skip
# words of its language: coremltools would give inputs and outputs of these names others, and say nothing
_RESERVED = {
    "any", "bool", "program", "func", "tensor", "list", "dict", "tuple", "true", "false", "string", "bf16", "fp16", "fp32", "fp64", "int8",
    "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "state",
}  # fmt: skip


def export(candidate: Candidate, target: "Target", out: Path) -> Artifact:
    """Writes the package at `out`, or nothing; inputs keep the names of the model's arguments.

    Raises:
        ConversionError: An operator, named with its module, has no translation, or Core ML does not have an input type or
            the iOS version.
    """
    precision = candidate.recipe.precision
    program = programs.load(candidate.program)
    if precision == "int8":
        program = programs.fold_weights(program)
    program = rewritten(program, "Core ML")
    inputs, outputs = (tuple(map(_narrow, group)) for group in _named(program, candidate))
    loose, doubts = loosened(program, candidate.free)
    free = () if loose is None or candidate.free is None else limited(candidate.free, inputs)
    if free:
        inputs, outputs = named(inputs, outputs, candidate.free)
    floats = frozenset(layer.name for layer in candidate.float_layers)
    ios = target.deployment.min_ios or DEFAULT_IOS
    converted = _convert(loose or settled(program), inputs, outputs, free, precision, floats, ios)
    model = compact(converted, candidate, ios)
    model.user_defined_metadata.update({"edgekit.version": __version__, "edgekit.precision": precision})
    _save(model, out)
    return _written.artifact(
        out,
        "coreml",
        precision,
        (inputs, outputs),
        programs.layout(program),
        {name: version(name) for name in PACKAGES},
        free=free,
        doubts=(*doubts, *_unlimited(candidate.free, free), *_infinite_constants(model)),
    )


def _arithmetic(precision: Precision, floats: frozenset[str]) -> Any:
    """What coremltools computes in: float16, except what is made of the nodes that `_keep` marks."""
    if precision == "float32":
        return ct.precision.FLOAT32
    if precision == "int8" or not floats:
        return ct.precision.FLOAT16
    return ct.transform.FP16ComputePrecision(
        op_selector=lambda op: op.scopes.get(ScopeSource.EXIR_DEBUG_HANDLE) != [_FLOAT32]
    )


def _keep(program: torch.export.ExportedProgram, floats: frozenset[str]) -> None:
    """Marks what stays float32; names would not do: coremltools calls a clamp clip_0, and a division is a product."""
    for node in program.graph.nodes:
        if node.name in floats:
            node.meta["debug_handle"] = _FLOAT32


def _named(
    program: torch.export.ExportedProgram, candidate: Candidate
) -> tuple[list[TensorSpec], list[TensorSpec]]:
    """Returns inputs and outputs by the user's names, in letters, digits and underscores, and no word of Core ML's language."""
    taken = set[str]()
    sides = []
    for specs in programs.named(program, candidate.interface):
        sides.append([msgspec.structs.replace(spec, name=_identifier(spec.name, taken)) for spec in specs])
    return sides[0], sides[1]


def _identifier(name: str, taken: set[str]) -> str:
    plain = "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name)
    plain = f"_{plain}" if plain[:1].isdigit() else plain
    plain = f"{plain}_" if plain in _RESERVED else plain
    while plain in taken:
        plain += "_1"
    taken.add(plain)
    return plain


def _narrow(spec: TensorSpec) -> TensorSpec:
    """Turns all integers into those of 32 bits: inputs and outputs of Core ML have no others."""
    if spec.dtype not in _TYPES:
        raise ConversionError(f"{spec.name} is {spec.dtype}; Core ML takes {', '.join(_TYPES)}")
    return msgspec.structs.replace(spec, dtype=np.dtype(_TYPES[spec.dtype]).name)


def _convert(
    program: torch.export.ExportedProgram,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    free: tuple[FreeAxis, ...],
    precision: Precision,
    floats: frozenset[str],
    ios: int,
) -> Any:
    register_missing()
    for spec in inputs:
        if not spec.shape:
            raise ConversionError(
                f"the input {spec.name} has no axes, and Core ML takes none without; let forward take it as [1]"
            )
    program = wide_inputs(decompose(program))
    _keep(program, floats)
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.ERROR)
    asked = {
        "inputs": _types(inputs, free),
        "outputs": [ct.TensorType(name=s.name, dtype=_TYPES[s.dtype]) for s in outputs],
        "compute_precision": _arithmetic(precision, floats),
        "minimum_deployment_target": _ios(ios),
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return without_failing_passes(
                partial(ct.convert, program, convert_to="mlprogram", skip_model_load=True, **asked)
            )
    except (OSError, MemoryError, ConversionError):
        raise
    except Exception as error:  # coremltools raises every kind
        raise conversion_error(program, error) from error
    finally:
        log.setLevel(level)


def _types(inputs: tuple[TensorSpec, ...], free: tuple[FreeAxis, ...]) -> list[Any]:
    """Returns the inputs as coremltools takes them; one range an axis, wherever it stands."""
    ranges = {
        axis.name: ct.RangeDim(axis.least, axis.most or -1, axis.example, identifier(axis.name))
        for axis in free
    }
    return [
        ct.TensorType(
            name=spec.name,
            shape=tuple(
                ranges[spec.free[str(i)]] if str(i) in spec.free else n for i, n in enumerate(spec.shape)
            ),
            dtype=_TYPES[spec.dtype],
        )
        for spec in inputs
    ]


def _unlimited(asked: FreeAxes | None, free: tuple[FreeAxis, ...]) -> tuple[str, ...]:
    """Says how far axes go that the user gave no largest: a Core ML program must have one."""
    open_ended = {axis.name for axis in asked.axes if axis.most is None} if asked else set()
    return tuple(
        f"the axis {axis.name} goes to {axis.most}, as Core ML wants a largest length: "
        f"ek.Dim({axis.name!r}, max=...) in Task(dynamic=...) sets another"
        for axis in free
        if axis.name in open_ended
    )


def _ios(number: int) -> Any:
    found = getattr(ct.target, f"iOS{number}", None)
    if found is None or number < 15:
        known = sorted(int(n.removeprefix("iOS")) for n in dir(ct.target) if n.startswith("iOS"))
        allowed = ", ".join(str(n) for n in known if n >= 15)
        raise ConversionError(f"deployment.min_ios is {number}; ML programs exist for iOS {allowed}")
    return found


def _save(model: Any, out: Path) -> None:
    """Writes beside `out`, then renames: never half a package."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.stem}-", dir=out.parent) as folder:
        fresh, old = Path(folder) / f"new{SUFFIX}", Path(folder) / f"old{SUFFIX}"
        model.save(str(fresh))
        normalize(fresh)
        if out.exists():
            out.rename(old)
        fresh.rename(out)
        shutil.rmtree(old, ignore_errors=True)


def _infinite_constants(model: Any) -> tuple[str, ...]:
    """Constants that float16 cannot hold: conversion is silent about them, and what they meet becomes NaN."""
    found = []
    for function in model._mil_program.functions.values():
        for operation in function.operations:
            value = operation.outputs[0].val if operation.op_type == "const" else None
            if (
                isinstance(value, np.ndarray | np.floating)
                and np.asarray(value).dtype == np.float16
                and np.isinf(value).any()
            ):
                found.append(operation.outputs[0].name)
    return tuple(f"the constant {name!r} is infinite in float16" for name in found)
