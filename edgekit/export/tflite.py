"""Lowers a candidate to a TFLite flatbuffer with litert-torch.

Layout: where an input is of rank 4, every rank-4 input and output of the file is [N, H, W, C], which is what
TFLite kernels and camera pipelines want; the artifact says "NHWC". Otherwise shapes are the model's: so of a Keras
model, whose inputs are [N, H, W, C] already and are permuted before anything else.

Precision:
    float32   the flatbuffer as converted
    float16   the same with weights stored as float16 (ai-edge-quantizer's float casting); float32 in and out
    int8      the program is a converted pt2e graph with unfolded weights (`fold_quantize=False`): the
              converter turns each dequantize -> op -> quantize into the int8 op, with int8 in and out

Measured, EfficientNet-Lite0, int8 against float, XNNPACK, one thread: no TRANSPOSE, no PAD, 5.3 against
18.6 MB, CPU time 0.46 of float on a core with AVX512-VNNI (`_tflite_layout` removes the transposes).

Runs in a child process: tensorflow, which litert-torch loads, must come after torch and torchvision.
"""

import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  registers the operators of a quantized program
import torchvision  # noqa: F401  before tensorflow, which crashes the process otherwise

# isort: split
import litert_torch
from ai_edge_quantizer import qtyping, quantizer
from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
from litert_torch.quantize.quant_config import QuantConfig

from edgekit.export._tflite_errors import explain
from edgekit.export._tflite_file import artifact
from edgekit.export._tflite_flatten import flatten_channels_last
from edgekit.export._tflite_layout import pads_join_nhwc
from edgekit.quant import program as programs
from edgekit.records import Artifact, Candidate, Precision

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".tflite"
PACKAGES = ("torch", "torchao", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")


def export(candidate: Candidate, target: "Target", out: Path) -> Artifact:
    """Writes `out` (its name ends in .tflite) and describes what the finished file really holds.

    Raises ConversionError where litert-torch cannot express the program, or TFLite cannot load the result.
    """
    precision = candidate.recipe.precision
    program = torch.export.load(candidate.program)
    channels_last = any(
        len(shape) == 4 for shape, _ in _inputs(program)
    ) and not programs.takes_channels_last(program)
    model = _lower(program, precision, channels_last)
    if precision == "float16":
        _save_float16(model, out)
    else:
        model.export(str(out))
    layout: Literal["NHWC", "as the model"] = "NHWC" if channels_last else "as the model"
    return artifact(out, precision, layout, {name: version(name) for name in PACKAGES})


def _inputs(program: torch.export.ExportedProgram) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of every user input, in the order of the call."""
    wanted = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [(tuple(values[name].shape), values[name].dtype) for name in wanted]


def _lower(program: torch.export.ExportedProgram, precision: Precision, channels_last: bool) -> Any:
    """The litert-torch model, with rank-4 inputs and outputs in NHWC if `channels_last`."""
    module, examples = program.module(), []
    if channels_last or programs.takes_channels_last(program):
        module = flatten_channels_last(module)
    for shape, dtype in _inputs(program):
        last = channels_last and len(shape) == 4
        examples.append(torch.zeros([shape[0], *shape[2:], shape[1]] if last else shape, dtype=dtype))
    if channels_last:
        module = litert_torch.to_channel_last_io(
            module,
            args=[i for i, (shape, _) in enumerate(_inputs(program)) if len(shape) == 4],
            outputs=[i for i, rank in enumerate(_output_ranks(program)) if rank == 4],
        )
    try:
        with pads_join_nhwc():
            return litert_torch.convert(module, tuple(examples), quant_config=_quant_config(precision))
    except (OSError, MemoryError):
        raise
    except Exception as error:
        raise explain(error, program) from error


def _output_ranks(program: torch.export.ExportedProgram) -> list[int]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return [getattr(values.get(name), "ndim", 0) for name in program.graph_signature.user_outputs]


def _quant_config(precision: Precision) -> QuantConfig | None:
    """Tells the converter that the graph is statically quantized; the ranges themselves are in the graph."""
    if precision != "int8":
        return None
    static = get_symmetric_quantization_config(is_per_channel=True)
    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(static))


def _save_float16(model: Any, out: Path) -> None:
    """Stores weights as float16 behind a DEQUANTIZE, which every runtime reads; arithmetic is float."""
    weights = qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT)
    config = qtyping.OpQuantizationConfig(
        weight_tensor_config=weights,
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        model.export(str(path))
        casting = quantizer.Quantizer(str(path))
        casting.update_quantization_recipe(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=config,
            algorithm_key="float_casting",
        )
        out.write_bytes(casting.quantize().quantized_model)
