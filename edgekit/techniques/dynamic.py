"""Dynamic quantization: weights stored as integers, while activation ranges are computed at every inference.

A layer y = W x stores W as int8 with one scale for each output channel. At run time the runtime takes the
minimum and maximum of x, rounds x to 8 bits, multiplies integers and returns float. There is nothing to
calibrate and no range can be wrong; the price is one pass over x for each layer. It pays off where a layer
reads little and multiplies much: in linear layers and recurrent cells. In a convolution it costs more than
the integers save: 8x float's time in ONNX Runtime (ConvInteger), 1.6x in LiteRT, both on x86-64; on ARM it was not
measured here. So convolutions stay float, and the plan skips it for CNNs.

This step records what the exporter is to do and which layers that reaches; the runtime's own quantizer then
does it to the float file:

    ONNX    quantize_dynamic. MatMul and Gemm with stored weights -> MatMulInteger; LSTM ->
            DynamicQuantizeLSTM. A GRU of at least 320 channels is written as MatMulInteger in a loop over the
            steps; there are no integer kernels for narrower ones and for RNN cells: their weights are
            stored as int8 and converted to float when the file runs, at float speed. 7-bit weights where
            the profile asks for them. Embeddings are stored as int8
            with a scale for each row, as in any int8 file.
    TFLite  ai-edge-quantizer, dynamic_wi8_afp32. FULLY_CONNECTED -> the hybrid kernel; the converter
            unrolls LSTM, GRU and RNN cells into FULLY_CONNECTED, so they are included; embeddings are
            stored as int8.

Products of two activations (attention scores) stay float in both. Sources: onnxruntime, "Quantize ONNX
models"; ai-edge-quantizer, `recipe.py`. Cost: none here, seconds during the export.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgekit.errors import NotApplicable, UserError
from edgekit.quant import graph_macs, rules
from edgekit.quant import program as programs
from edgekit.records import Candidate, Figure, FloatLayer, Kind, Settings

if TYPE_CHECKING:
    from torch.fx import Node

    from edgekit.engine.specs import Context
    from edgekit.task import Task

WEIGHT_BITS = (7, 8)
ONNX_LAYERS = ("MatMul", "Gemm", "LSTM", "GRU", "RNN")
NO_ONNX_KERNEL = ("gru", "rnn_tanh", "rnn_relu")


class Options(Settings):
    """dynamic has no options."""


def apply(candidate: Candidate, task: "Task", options: Options, context: "Context") -> Candidate:
    """Marks the candidate as dynamic, with the layers that stay float; its program stays as it is.

    Raises:
        UserError: The target's format or arithmetic has no dynamic quantizer.
        NotApplicable: The model has no layer that it could quantize.
    """
    _check(candidate, context)
    if candidate.onnx:
        return _of_graph(candidate)
    nodes = list(graph_macs.counted(programs.load(candidate.program)))
    total = sum(count for _, _, count in nodes)
    left = [(node, count, reason) for node, kind, count in nodes if (reason := _left(node, kind, context))]
    layers = [node for node, kind, _ in nodes if kind != "attention"]
    if len(left) == len(layers):
        kinds = ", ".join(sorted({graph_macs.operator(node) for node, _, _ in nodes})) or "none"
        raise NotApplicable(
            f"dynamic: the model has no layer that this runtime quantizes (its layers: {kinds}); allowed are linear layers "
            "and the cells that the runtime has integer kernels for"
        )
    in_float = sum(count for _, count, _ in left) + sum(n for _, kind, n in nodes if kind == "attention")
    figures = (
        Figure(step="dynamic", name="layers quantized", value=float(len(layers) - len(left)), unit="count"),
        Figure(step="dynamic", name="layers left float", value=float(len(left)), unit="count"),
        Figure(
            step="dynamic", name="multiply-accumulates in integers", value=1 - in_float / total, unit="ratio"
        ),
    )
    return msgspec.structs.replace(
        candidate,
        scheme="dynamic",
        float_layers=tuple(_float_layers(left, total)),
        figures=(*candidate.figures, *figures),
    )


def _of_graph(candidate: Candidate) -> Candidate:
    """The same of the task's own ONNX graph, whose layers have names of their own.

    Raises:
        NotApplicable: No product and no cell of it has stored weights.
    """
    from edgekit.quant import onnx_graph

    graph = onnx_graph.read(Path(candidate.onnx)).graph
    stored = {tensor.name for tensor in graph.initializer}
    layers = [n for n in graph.node if n.op_type in ONNX_LAYERS and stored & set(n.input[1:3])]
    if not layers:
        raise NotApplicable(
            f"dynamic: no {', '.join(ONNX_LAYERS)} of the ONNX graph has stored weights; there is nothing that this runtime quantizes"
        )
    figure = Figure(step="dynamic", name="layers quantized", value=float(len(layers)), unit="count")
    return msgspec.structs.replace(candidate, scheme="dynamic", figures=(*candidate.figures, figure))


def _check(candidate: Candidate, context: "Context") -> None:
    if candidate.quant is None:
        raise UserError("dynamic needs a target with a [quant] table; this candidate has none")
    bits = candidate.quant.weight_bits
    if bits not in WEIGHT_BITS:
        raise UserError(
            f"dynamic: the profile asks for {bits}-bit weights; allowed are 7 and 8, use ptq for others"
        )
    target = context.target
    if target is not None and target.format == "tflite" and bits != 8:
        raise UserError(f"dynamic: the profile asks for {bits}-bit weights; TFLite's quantizer stores 8 bits")
    if target is not None and target.format == "coreml":
        raise UserError("dynamic: Core ML has no dynamic quantization; allowed formats: onnx, tflite")


def _left(node: "Node", kind: Kind, context: "Context") -> str:
    """Why a layer stays float; empty for one that does not, and for attention, which is not a layer."""
    if kind == "convolution":
        return "a convolution is slower with ranges found at run time than in float"
    onnx = context.target is not None and context.target.format == "onnx"
    operator = graph_macs.operator(node)
    if onnx and operator == "gru" and _hidden(node) >= rules.INTEGER_GRU_HIDDEN:
        return ""
    if onnx and operator in NO_ONNX_KERNEL:
        return "ONNX Runtime has no integer kernel for this cell; its weights are stored as int8 and widened"
    return ""


def _hidden(node: "Node") -> int:
    """The channels of a cell: gru.input(x, states, [w_ih, w_hh, ...], ...)."""
    return int(node.args[2][1].meta["val"].shape[-1])  # type: ignore[index,union-attr]


def _float_layers(left: "list[tuple[Node, int, str]]", total: int) -> Iterator[FloatLayer]:
    for node, count, reason in left:
        origin = programs.origin(node) or node.name
        yield FloatLayer(name=node.name, origin=origin, macs_ratio=count / total, reason=reason)
