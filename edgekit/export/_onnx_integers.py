"""Rewrites of an int8 ONNX file into operators that onnxruntime has integer kernels for.

onnxruntime runs HardSwish between a DequantizeLinear and a QuantizeLinear in float: on mobilenet_v3_small these
were 19 islands and a fifth of the time. Written as an addition that ends in [0, 6] and a multiplication it is integers
throughout (QLinearAdd, QLinearMul); rounding the gate x -> relu6(x + 3) / 6 to 8 bits costs at most x / 510.
"""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

LEVELS = 255
THREE, SIX = 3.0, 6.0
#: two scales that should be one, chosen by an estimator from the same values, differ by less than this
SAME_SCALE = 0.02


def hardswish_in_integers(model: onnx.ModelProto) -> None:
    """Rewrites hardswish(x) = x * relu6(x + 3) / 6 where integers come in and go out.

    The clip becomes the end of the gate's grid, and the sixth goes into its scale.
    """
    graph = model.graph
    made, readers = _made(graph), _readers(graph)
    body: list[onnx.NodeProto] = []
    found = 0
    for node in graph.node:
        if node.op_type == "HardSwish" and _between_integers(node, made, readers):
            body += _gate_and_product(node)
            found += 1
        else:
            body.append(node)
    if found:
        graph.initializer.extend(_constants())
        _set_nodes(graph, body)


def scale_in_grid(model: onnx.ModelProto) -> None:
    """Drops a multiplication by a positive constant between two integer grids that differ by that constant alone.

    q * s times c is q * (s c): the integers stay, and the reader is told the other scale. The grids were found
    separately; the product of the first scale and c is the exact one.
    """
    graph = model.graph
    made, readers = _made(graph), _readers(graph)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type == "Mul"]:
        grids = _one_grid(node, made, readers, constants)
        if grids is None:
            continue
        source, quantize, factor = grids
        scale = np.float32(constants[source.input[1]] * factor)
        name = f"{node.output[0]}_scale"
        graph.initializer.append(numpy_helper.from_array(np.asarray(scale), name))
        for reader in readers[quantize.output[0]]:
            reader.input[0], reader.input[1], reader.input[2] = source.input[0], name, source.input[2]


def _one_grid(
    node: onnx.NodeProto,
    made: dict[str, onnx.NodeProto],
    readers: dict[str, list[onnx.NodeProto]],
    constants: dict[str, np.ndarray],
) -> tuple[onnx.NodeProto, onnx.NodeProto, float] | None:
    """Finds what a Mul stands between, where it only changes the scale.

    Returns:
        (the DequantizeLinear before, the QuantizeLinear after, the constant), or None.
    """
    sides = [made.get(name) for name in node.input]
    if any(side is None or side.op_type != "DequantizeLinear" for side in sides):
        return None
    values = [_constant(side, constants) for side in sides if side is not None]
    if (values[0] is None) == (values[1] is None):
        return None
    at = 0 if values[0] is None else 1
    source, factor = sides[at], values[1 - at]
    after = readers[node.output[0]]
    if source is None or factor is None or factor <= 0 or [n.op_type for n in after] != ["QuantizeLinear"]:
        return None
    before, behind = (_grid(n, constants) for n in (source, after[0]))
    if before is None or behind is None or before[1] != behind[1]:
        return None
    if abs(behind[0] / (before[0] * factor) - 1) > SAME_SCALE:
        return None
    if any(n.op_type != "DequantizeLinear" for n in readers[after[0].output[0]]):
        return None
    return source, after[0], factor


def _constant(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> float | None:
    """The single number that a DequantizeLinear of a stored integer gives."""
    stored, grid = constants.get(node.input[0]), _grid(node, constants)
    if stored is None or stored.size != 1 or grid is None:
        return None
    return (int(stored.item()) - grid[1]) * grid[0]


def _grid(node: onnx.NodeProto, constants: dict[str, np.ndarray]) -> tuple[float, int] | None:
    """The (scale, zero point) of a per-tensor Q or DQ."""
    scale, zero = (constants.get(name) for name in node.input[1:3])
    if scale is None or zero is None or scale.size != 1 or zero.size != 1:
        return None
    return float(scale.item()), int(zero.item())


def _between_integers(
    node: onnx.NodeProto, made: dict[str, onnx.NodeProto], readers: dict[str, list[onnx.NodeProto]]
) -> bool:
    source = made.get(node.input[0])
    after = readers.get(node.output[0], [])
    return (
        source is not None
        and source.op_type == "DequantizeLinear"
        and bool(after)
        and all(n.op_type == "QuantizeLinear" for n in after)
    )


def _gate_and_product(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    x, y = node.input[0], node.output[0]
    zero = "gate_constant_zero_point"
    steps = [
        ("DequantizeLinear", ["gate_constant_three", "gate_constant_three_scale", zero], f"{y}_three"),
        ("Add", [x, f"{y}_three"], f"{y}_shifted"),
        ("QuantizeLinear", [f"{y}_shifted", "gate_constant_six_scale", zero], f"{y}_gate_integers"),
        ("DequantizeLinear", [f"{y}_gate_integers", "gate_constant_one_scale", zero], f"{y}_gate"),
        ("Mul", [x, f"{y}_gate"], y),
    ]
    return [helper.make_node(op, inputs, [out], name=f"node_{out}") for op, inputs, out in steps]


def _constants() -> list[onnx.TensorProto]:
    values = {
        "gate_constant_three": np.uint8(LEVELS),
        "gate_constant_three_scale": np.float32(THREE / LEVELS),
        "gate_constant_six_scale": np.float32(SIX / LEVELS),
        "gate_constant_one_scale": np.float32(1 / LEVELS),
        "gate_constant_zero_point": np.uint8(0),
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _made(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    return {out: node for node in graph.node for out in node.output}


def _readers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name, count in Counter(node.input).items():
            found.setdefault(name, []).extend([node] * count)
    outputs = {value.name for value in graph.output}
    for name in outputs:  # an output is read by the caller: no node may take it away
        found.setdefault(name, []).append(onnx.NodeProto(op_type="output"))
    return found


def _set_nodes(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
