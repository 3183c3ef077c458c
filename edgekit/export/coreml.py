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
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torchvision  # noqa: F401  before coremltools, which loads tensorflow: else the process dies

# isort: split
import coremltools as ct
from edgekit_runner import __version__
from edgekit_runner.artifact import describe

from edgekit.errors import ConversionError
from edgekit.export._coreml_bytes import normalize
from edgekit.export._coreml_ops import conversion_error, decompose, register_missing
from edgekit.export._coreml_weights import compact
from edgekit.quant import program as programs
from edgekit.records import Artifact, Candidate, Precision, TensorSpec

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".mlpackage"
DEFAULT_IOS = 17
PACKAGES = ("torch", "torchao", "coremltools")
_TYPES = {"float32": np.float32, "int32": np.int32, "int64": np.int32, "bool": np.bool_}


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
    inputs, outputs = (tuple(map(_narrow, group)) for group in programs.specs(program))
    computing = _arithmetic(precision, frozenset(layer.name for layer in candidate.float_layers))
    ios = target.deployment.min_ios or DEFAULT_IOS
    model = compact(_convert(program, inputs, outputs, computing, ios), candidate, ios)
    model.user_defined_metadata.update({"edgekit.version": __version__, "edgekit.precision": precision})
    _save(model, out)
    info = describe(out, "coreml")
    return Artifact(
        path=str(out),
        format="coreml",
        precision=precision,
        size_bytes=info.size_bytes,
        sha256=info.sha256,
        inputs=inputs,
        outputs=outputs,
        layout=programs.layout(program),
        toolchain={name: version(name) for name in PACKAGES},
        doubts=_infinite_constants(model),
    )


def _arithmetic(precision: Precision, floats: frozenset[str]) -> Any:
    """What coremltools computes in: float16, except where an operator, named after its node, stays float32."""
    if precision == "float32":
        return ct.precision.FLOAT32
    if precision == "int8" or not floats:
        return ct.precision.FLOAT16
    return ct.transform.FP16ComputePrecision(
        op_selector=lambda op: not any(output.name in floats for output in op.outputs)
    )


def _narrow(spec: TensorSpec) -> TensorSpec:
    """Turns 64-bit integers into 32-bit ones: Core ML has no 64-bit integers."""
    if spec.dtype not in _TYPES:
        raise ConversionError(f"{spec.name} is {spec.dtype}; Core ML takes {', '.join(_TYPES)}")
    return TensorSpec(name=spec.name, shape=spec.shape, dtype=np.dtype(_TYPES[spec.dtype]).name)


def _convert(
    program: torch.export.ExportedProgram,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    computing: Any,
    ios: int,
) -> Any:
    register_missing()
    program = decompose(program)
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ct.convert(
                program,
                convert_to="mlprogram",
                inputs=[ct.TensorType(name=s.name, shape=s.shape, dtype=_TYPES[s.dtype]) for s in inputs],
                outputs=[ct.TensorType(name=s.name, dtype=_TYPES[s.dtype]) for s in outputs],
                compute_precision=computing,
                minimum_deployment_target=_ios(ios),
                skip_model_load=True,
            )
    except (OSError, MemoryError, ConversionError):
        raise
    except Exception as error:  # coremltools raises every kind
        raise conversion_error(program, error) from error
    finally:
        log.setLevel(level)


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
