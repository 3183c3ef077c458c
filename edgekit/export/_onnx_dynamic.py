"""Turns a float ONNX file into one with int8 weights and activations ranged at run time, by ONNX Runtime's own quantizer.

Convolutions are left out (`edgekit.techniques.dynamic` says why). The quantizer does not know GRU and RNN cells: a wide GRU is
written in integers (`_onnx_gru`), the others get their weights stored as int8 behind a DequantizeLinear: a quarter of the size at the
speed of float.
"""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxscript.optimizer import fold_constants

from edgekit.export import _onnx_gru
from edgekit.export._onnx_passes import drop_unused
from edgekit.records import Quant

OPERATORS = ("MatMul", "Gemm", "LSTM")  # not Gather: one scale for a whole table, see _onnx_tables
# torch's converter orders the gates of a cell by operators, and folds these only up to 8,192 elements; ONNX Runtime's
# quantizer silently leaves a cell in float if its weights are not stored tensors
MAX_NUMBERS = 1 << 30
_CELLS = ("GRU", "RNN")


def quantize(model: onnx.ModelProto, quant: Quant) -> None:
    """Rewrites the model in place."""
    fold_constants(model, input_size_limit=MAX_NUMBERS, output_size_limit=MAX_NUMBERS)
    drop_unused(model)
    _weights_of_their_own(model)
    log = logging.getLogger()
    level = log.level
    log.setLevel(
        logging.ERROR
    )  # it asks, on the root logger, for a pre-processing that torch's converter has done already
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "dynamic.onnx"
            quantize_dynamic(
                model,
                path,
                op_types_to_quantize=list(OPERATORS),
                per_channel=quant.granularity == "per_channel",
                reduce_range=quant.weight_bits < 8,
                weight_type=QuantType.QInt8,
            )
            model.CopyFrom(onnx.load(path))
    finally:
        log.setLevel(level)
    _widest_cells(model, 127 if quant.weight_bits == 8 else 63)
    _store_cells(model)
    _store_once(model)
    drop_unused(model)


def _weights_of_their_own(model: onnx.ModelProto) -> None:
    """Gives each LSTM a copy of weights that several read: the quantizer cannot take a second one, and leaves a broken file."""
    stored, seen = {tensor.name: tensor for tensor in model.graph.initializer}, set[str]()
    for node in model.graph.node:
        for place in (1, 2) if node.op_type == "LSTM" else ():
            name = node.input[place]
            if name in seen and name in stored:
                copied = model.graph.initializer.add()
                copied.CopyFrom(stored[name])
                node.input[place] = copied.name = f"{name}_{len(model.graph.initializer)}"
            seen.add(name)


def _store_once(model: onnx.ModelProto) -> None:
    """Lets all nodes read one of several stored tensors that are equal."""
    first, same = dict[bytes, str](), dict[str, str]()
    for tensor in model.graph.initializer:
        unnamed = onnx.TensorProto()
        unnamed.CopyFrom(tensor)
        unnamed.name = ""
        same[tensor.name] = first.setdefault(unnamed.SerializeToString(deterministic=True), tensor.name)
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = same.get(name, name)


def _widest_cells(model: onnx.ModelProto, top: int) -> None:
    """Writes every GRU that gains in integers."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    body: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if _onnx_gru.fits(node, constants):
            nodes, stored = _onnx_gru.in_integers(node, constants, top)
            body += nodes
            model.graph.initializer.extend(stored)
        else:
            body.append(node)
    kept = [copied for node in body if (copied := onnx.NodeProto()).CopyFrom(node) is None]
    del model.graph.node[:]
    model.graph.node.extend(kept)


def _store_cells(model: onnx.ModelProto) -> None:
    """Stores W and R of GRU and RNN, [directions, gates * hidden, inputs], as int8 with one scale for each row of gates."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    widened: list[onnx.NodeProto] = []
    for node in model.graph.node:
        for place in (1, 2) if node.op_type in _CELLS else ():
            stored = constants.get(node.input[place])
            if stored is not None and stored.data_type == onnx.TensorProto.FLOAT:
                widened.append(_store(model, stored))
                node.input[place] = widened[-1].output[0]
    body = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*widened, *body])


def _store(model: onnx.ModelProto, stored: onnx.TensorProto) -> onnx.NodeProto:
    values, name = numpy_helper.to_array(stored), stored.name
    scale = np.maximum(np.abs(values).max((0, 2)), 1e-12).astype(np.float32) / np.float32(127)
    integers = np.rint(values / scale[None, :, None]).clip(-127, 127).astype(np.int8)
    for array, suffix in ((integers, "int8"), (scale, "scale"), (np.zeros(scale.shape, np.int8), "zero")):
        model.graph.initializer.append(numpy_helper.from_array(array, f"{name}_{suffix}"))
    inputs = [f"{name}_{suffix}" for suffix in ("int8", "scale", "zero")]
    return helper.make_node("DequantizeLinear", inputs, [f"{name}_wide"], name=f"{name}_widen", axis=1)
