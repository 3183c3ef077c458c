"""Lowers a candidate to a TFLite flatbuffer with litert-torch.

Layout: where an input is of rank 4, every rank-4 input and output of the file is [N, H, W, C], which is what
TFLite kernels and camera pipelines want; the artifact says "NHWC". Otherwise shapes are the model's: so of a Keras
model, whose inputs are [N, H, W, C] already and are permuted before anything else.

Precision:
    float32   the flatbuffer as converted
    float16   the same with weights stored as float16 (ai-edge-quantizer's float casting); float32 in and out
    int8      the program is a converted pt2e graph with unfolded weights (`fold_quantize=False`): the
              converter turns each dequantize -> op -> quantize into the int8 op, with int8 in and out;
              embedding tables are stored as int8 afterwards
    int8, of every operator: the float file, made integers when it is finished (`_tflite_integers`)
    dynamic   an int8 candidate with a float program: ai-edge-quantizer stores the weights of the finished file as
              int8 (dynamic_wi8_afp32), and kernels round their float inputs; float32 in and out

Measured, EfficientNet-Lite0, int8 against float, XNNPACK, one thread: no TRANSPOSE, no PAD, 5.3 against
18.6 MB, CPU time 0.46 of float on a core with AVX512-VNNI (`_tflite_layout` removes the transposes).

Runs in a child process: tensorflow, which litert-torch loads, must come after torch and torchvision.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  registers the operators of a quantized program
import torchvision  # noqa: F401  before tensorflow, which crashes the process otherwise

# isort: split
import litert_torch
from ai_edge_quantizer import qtyping, quantizer
from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
from litert_torch.quantize.quant_config import QuantConfig

from edgekit.errors import ConversionError
from edgekit.export._tflite_errors import explain, unloadable
from edgekit.export._tflite_file import artifact, ordered
from edgekit.export._tflite_flatten import flatten_channels_last
from edgekit.export._tflite_forms import for_litert
from edgekit.export._tflite_grids import keep_grids
from edgekit.export._tflite_integers import for_integers, quantize
from edgekit.export._tflite_layout import pads_join_nhwc, shapes_stay_known
from edgekit.export._tflite_names import rename
from edgekit.export._tflite_normalize import l2_normalization
from edgekit.quant import program as programs
from edgekit.quant.freeing import settled
from edgekit.records import Artifact, Candidate, Precision

if TYPE_CHECKING:
    from edgekit.target import Target

SUFFIX = ".tflite"
PACKAGES = ("torch", "torchao", "litert-torch", "ai-edge-litert", "ai-edge-quantizer")


def export(candidate: Candidate, target: "Target", out: Path) -> Artifact:
    """Writes `out` (its name ends in .tflite) and describes what the finished file really holds.

    Raises:
        ConversionError: litert-torch cannot express the program, or TFLite cannot load the result.
    """
    precision = candidate.recipe.precision
    program = settled(programs.load(candidate.program))
    channels_last = any(
        len(shape) == 4 for shape, _ in _inputs(program)
    ) and not programs.takes_channels_last(program)
    dynamic = candidate.scheme == "dynamic"
    whole = bool(candidate.calibration)
    model = _lower(program, "float32" if dynamic or whole else precision, channels_last, whole)
    how = _DYNAMIC if dynamic else _STORED.get(precision)
    if how is _TABLES and not _looks_up(program):
        how = None
    layout: Literal["NHWC", "as the model"] = "NHWC" if channels_last else "as the model"
    with _explained(program):
        if whole:
            _save_integers(model, out, candidate, layout)
        elif how is not None:
            _save_stored(model, out, how)
        else:
            model.export(str(out))
    inputs, outputs = programs.named(program, candidate.interface)
    rename(out, [spec.name for spec in inputs], [spec.name for spec in outputs])
    toolchain = {name: version(name) for name in PACKAGES}
    # the technique has reported which inputs and outputs stay float
    try:
        return ordered(artifact(out, precision, layout, toolchain, float_interfaces=True), inputs, outputs)
    except ConversionError as error:
        raise unloadable(str(error.__cause__ or error), program) from error


@contextmanager
def _explained(program: torch.export.ExportedProgram) -> Iterator[None]:
    """Puts what the converter raises into one sentence."""
    try:
        yield
    except (OSError, MemoryError, ConversionError):
        raise
    except Exception as error:  # it raises every kind
        raise explain(error, program) from error


def _inputs(program: torch.export.ExportedProgram) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of every user input, in the order of the call."""
    wanted = program.graph_signature.user_inputs
    values = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    return [(tuple(values[name].shape), values[name].dtype) for name in wanted]


def _lower(
    program: torch.export.ExportedProgram, precision: Precision, channels_last: bool, whole: bool
) -> Any:
    """Gives the litert-torch model, with rank-4 inputs and outputs in NHWC if `channels_last`.

    `whole` is a float program of which every operator becomes integers afterwards.
    """
    module, examples = l2_normalization(keep_grids(for_litert(program.module()))), []
    module = for_integers(module) if whole else module
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
    with _explained(program), pads_join_nhwc(), shapes_stay_known():
        return litert_torch.convert(module, tuple(examples), quant_config=_quant_config(precision))


def _output_ranks(program: torch.export.ExportedProgram) -> list[int]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return [getattr(values.get(name), "ndim", 0) for name in program.graph_signature.user_outputs]


def _quant_config(precision: Precision) -> QuantConfig | None:
    """Tells the converter that the graph is statically quantized; the ranges themselves are in the graph."""
    if precision != "int8":
        return None
    static = get_symmetric_quantization_config(is_per_channel=True)
    return QuantConfig(pt2e_quantizer=PT2EQuantizer().set_global(static))


class _Stored(NamedTuple):
    """How ai-edge-quantizer stores the weights of a float file, and which operators' weights it stores."""

    config: qtyping.OpQuantizationConfig
    algorithm: str
    operators: tuple[qtyping.TFLOperationName, ...]


# Weights as float16 behind a DEQUANTIZE, which every runtime reads; arithmetic is float
_FLOAT16 = _Stored(
    qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=16, dtype=qtyping.TensorDataType.FLOAT
        ),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    ),
    "float_casting",
    (qtyping.TFLOperationName.ALL_SUPPORTED,),
)
# The settings of recipe.dynamic_wi8_afp32; not of convolutions (`edgekit.techniques.dynamic`)
_DYNAMIC = _Stored(
    qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(
            num_bits=8, symmetric=True, granularity=qtyping.QuantGranularity.CHANNELWISE
        ),
        compute_precision=qtyping.ComputePrecision.INTEGER,
    ),
    "min_max_uniform_quantize",
    (
        qtyping.TFLOperationName.FULLY_CONNECTED,
        qtyping.TFLOperationName.BATCH_MATMUL,
        qtyping.TFLOperationName.EMBEDDING_LOOKUP,
    ),
)
# Tables of an int8 file: the quantized graph holds them in float, a lookup multiplies nothing
_TABLES = _DYNAMIC._replace(operators=(qtyping.TFLOperationName.EMBEDDING_LOOKUP,))


_STORED = {"float16": _FLOAT16, "int8": _TABLES}


def _looks_up(program: torch.export.ExportedProgram) -> bool:
    return any(node.target is torch.ops.aten.embedding.default for node in program.graph.nodes)


def _save_integers(model: Any, out: Path, candidate: Candidate, layout: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        model.export(str(path))
        out.write_bytes(quantize(path, Path(candidate.calibration), layout, candidate.activation_bits))


def _save_stored(model: Any, out: Path, how: _Stored) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float32.tflite"
        model.export(str(path))
        storing = quantizer.Quantizer(str(path))
        for name in how.operators:
            storing.update_quantization_recipe(
                regex=".*", operation_name=name, op_config=how.config, algorithm_key=how.algorithm
            )
        out.write_bytes(storing.quantize().quantized_model)
