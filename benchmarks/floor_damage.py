"""Damage met in real exports, done to an int8 ONNX file one at a time: what `floor.py` holds the floor against."""

from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import numpy as np
import onnx
from edgekit_runner.artifact import describe
from onnx import numpy_helper

from edgekit.records import Artifact

Arrays = dict[str, np.ndarray]
Damage = Callable[[onnx.ModelProto, Arrays], Arrays]


def damaged(artifact: Artifact, damage: Damage, out: Path) -> Artifact | None:
    """The file with some constants changed; None where it holds nothing to damage so."""
    model = onnx.load(artifact.path)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    changed = damage(model, constants)
    if not changed:
        return None
    for tensor in model.graph.initializer:
        if tensor.name in changed:
            tensor.CopyFrom(numpy_helper.from_array(changed[tensor.name], tensor.name))
    onnx.save(model, out)
    info = describe(out, "onnx")
    return msgspec.structs.replace(artifact, path=str(out), size_bytes=info.size_bytes, sha256=info.sha256)


def _weights(constants: Mapping[str, np.ndarray]) -> list[str]:
    """The integer weights, the largest first."""
    found = [n for n, a in constants.items() if a.dtype == np.int8 and a.ndim > 1 and len(a) > 1]
    return sorted(found, key=lambda n: -constants[n].size)


def shuffled_weight(model: onnx.ModelProto, constants: Arrays) -> Arrays:
    """The output channels of the largest weight in another order, as a wrong layout or a lost permutation leaves them."""
    names = _weights(constants)[:1]
    return {name: np.roll(constants[name], 1, 0) for name in names}


def folded_twice(model: onnx.ModelProto, constants: Arrays) -> Arrays:
    """The scales of a layer in the middle by 0.25 to 4, as a batch norm that was folded into it twice."""
    scales = {
        n.input[1]
        for n in model.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] in _weights(constants)
    }
    found = sorted(name for name in scales if name in constants and constants[name].size > 1)
    if not found:
        return {}
    name = found[len(found) // 2]
    factors = np.exp2(np.random.default_rng(0).uniform(-2, 2, constants[name].shape))
    return {name: (constants[name] * factors).astype(np.float32)}


def fixed_range(model: onnx.ModelProto, constants: Arrays) -> Arrays:
    """The outputs on the grid of a sigmoid, 1/256, as the same-scale rule of TFLite once chose."""
    made = {out: node for node in model.graph.node for out in node.output}
    ends = [made.get(value.name) for value in model.graph.output]
    quantized = [n for n in ends if n is not None and n.op_type == "DequantizeLinear"]
    scales = {n.input[1] for n in quantized if n.input[1] in constants}
    return {name: np.full_like(constants[name], 1 / 256) for name in scales if constants[name] > 1 / 64}


def no_biases(model: onnx.ModelProto, constants: Arrays) -> Arrays:
    """Every bias gone."""
    biases = {n.input[2] for n in model.graph.node if n.op_type in ("Conv", "Gemm") and len(n.input) > 2}
    return {
        name: np.zeros_like(constants[name]) for name in biases if name in constants and constants[name].any()
    }


def dead_layer(model: onnx.ModelProto, constants: Arrays) -> Arrays:
    """The smallest weight is zero, as a kernel that a runtime skips."""
    return {name: np.zeros_like(constants[name]) for name in _weights(constants)[-1:]}


FAULTS: dict[str, Damage] = {
    "channels of the largest weight shuffled": shuffled_weight,
    "batch norm folded twice": folded_twice,
    "output on the grid of a sigmoid": fixed_range,
    "every bias dropped": no_biases,
    "the smallest weight zero": dead_layer,
}
