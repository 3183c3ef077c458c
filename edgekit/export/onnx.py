"""Converts a candidate to an ONNX file, for onnxruntime.

float32: the graph as exported. int8: QuantizeLinear and DequantizeLinear around every operator, weights stored as
int8 ("QDQ"); onnxruntime merges each group into one integer kernel when it loads the file. Activations are unsigned:
kernels on x86 multiply u8 by s8, so a signed graph is shifted by 128, exactly. A dynamic int8 candidate is a float graph
whose finished file ONNX Runtime's own quantizer rewrites (`_onnx_dynamic`). float16: weights stored in half
precision behind a Cast that is folded at load; arithmetic and speed stay those of float32.

The same program gives the same bytes: what varies, or names this machine, is dropped.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import torch
from edgekit_runner import __version__

from edgekit.errors import ConversionError
from edgekit.export import _onnx_biases as biases
from edgekit.export import _onnx_dynamic as dynamic
from edgekit.export import _onnx_integers as integers
from edgekit.export import _onnx_passes as passes
from edgekit.export import _onnx_tables as tables
from edgekit.export import _written
from edgekit.export._complex import without_complex
from edgekit.export._free import loosened
from edgekit.export._onnx_cells import projections_apart
from edgekit.export._onnx_errors import conversion_error, valid_onnx
from edgekit.quant import program as programs
from edgekit.quant.free_axes import named
from edgekit.quant.freeing import settled
from edgekit.records import Artifact, Candidate, FreeAxes, Precision, TensorSpec

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".onnx"
OPSET = 18
LENGTHS = "edgekit.lengths"  # a property of files with free axes
# onnxruntime 1.17, the oldest that profiles name, reads up to 9; nothing here needs more than 8
IR_VERSION = 8
PACKAGES = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime")
PASSES: dict[Precision, list[Callable[[onnx.ModelProto], None]]] = {
    "float32": [passes.strip],
    "float16": [passes.strip, passes.half_weights],
    "int8": [
        passes.mean_to_pool,
        passes.strip,
        passes.weights_first,
        passes.unsigned_activations,
        passes.quantize_clips,
        integers.hardswish_in_integers,
        integers.scale_in_grid,
        tables.store_tables,
        biases.integer_biases,
        passes.drop_unused,
    ],
}


def export(candidate: Candidate, target: "Target", out: Path) -> Artifact:
    """Writes `out` and describes it; inputs and outputs have the names that the model gives them.

    Raises:
        ConversionError: An operator has no translation; the sentence names it and the module it came from.
    """
    program = programs.load(candidate.program)
    folded = projections_apart(programs.fold_weights(program) if programs.is_quantized(program) else program)
    try:
        return _written_of(folded, candidate, out)
    except ConversionError:
        real = without_complex(
            folded, "ONNX"
        )  # torch.onnx knows some operators on complex numbers, and writes some wrongly
        if real is folded:
            raise
        return _written_of(real, candidate, out)


def _written_of(program: torch.export.ExportedProgram, candidate: Candidate, out: Path) -> Artifact:
    precision = candidate.recipe.precision
    dynamic_quant = candidate.quant if candidate.scheme == "dynamic" else None
    inputs, outputs = programs.named(program, candidate.interface)
    loose, doubts = loosened(program, candidate.free)
    if loose is not None:
        inputs, outputs = named(inputs, outputs, candidate.free)
    names = [spec.name for spec in inputs], [spec.name for spec in outputs]
    model = _convert(loose or settled(program), *names)
    if loose is not None:
        _name_axes(model, inputs, outputs)
    lengths = {} if loose is None else {LENGTHS: _lengths(candidate.free)}
    with valid_onnx():
        for rewrite in PASSES["float32" if dynamic_quant else precision]:
            rewrite(model)
        if dynamic_quant:
            tables.store_tables(model)
            dynamic.quantize(model, dynamic_quant)
            passes.strip(model)
        model.ir_version = IR_VERSION
        passes.stamp(model, {"edgekit.version": __version__, "edgekit.precision": precision, **lengths})
        onnx.checker.check_model(model, full_check=True)
    programs.write(out, model.SerializeToString(deterministic=True))
    return _written.artifact(
        out,
        "onnx",
        precision,
        (inputs, outputs),
        programs.layout(program),
        {name: version(name) for name in PACKAGES},
        free=() if loose is None or candidate.free is None else candidate.free.axes,
        doubts=doubts,
    )


def _lengths(free: FreeAxes | None) -> str:
    """The lengths of the example, by which the work of the file is counted."""
    return " ".join(f"{axis.name}={axis.example}" for axis in (free.axes if free else ()))


def _name_axes(model: onnx.ModelProto, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
    """Writes the names of free axes into the file, where torch has symbols of its own."""
    for values, specs in ((model.graph.input, inputs), (model.graph.output, outputs)):
        for value, spec in zip(values, specs, strict=True):
            for number, name in spec.free.items():
                value.type.tensor_type.shape.dim[int(number)].dim_param = name


def _convert(program: torch.export.ExportedProgram, inputs: list[str], outputs: list[str]) -> onnx.ModelProto:
    """Runs torch.onnx's own converter, kept quiet: it prints a progress report."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            converted = torch.onnx.export(
                program,
                dynamo=True,
                optimize=True,
                opset_version=OPSET,
                external_data=False,
                verbose=False,
                input_names=inputs,
                output_names=outputs,
            )
    except (OSError, MemoryError):
        raise
    except Exception as error:  # it raises many kinds; the operator is in the text
        raise conversion_error(program, error) from error
    finally:
        log.setLevel(level)
    assert converted is not None
    return converted.model_proto
