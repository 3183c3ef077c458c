"""A GRU in integers for ONNX Runtime, which has no such kernel: its two products by MatMulInteger, the second in a Scan over the steps.

    z, r, n = sigmoid(Xz + Hz), sigmoid(Xr + Hr), tanh(Xn + r * Hn);  h' = n + z * (h - n)

X = x W + b is one product of all steps, H = h R + c one of each step; both operands are rounded as in any dynamic file. The loop costs
some 20 us a step, which a small cell does not earn back: `edgekit.quant.rules.INTEGER_GRU_HIDDEN` says from which width it does.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.quant import rules

Constants = Mapping[str, onnx.TensorProto]
REVERSED = {b"forward": (False,), b"reverse": (True,), b"bidirectional": (False, True)}


def fits(node: onnx.NodeProto, constants: Constants) -> bool:
    """Whether a node is a GRU that gains: wide, of stored weights, with first states and the gates of torch."""
    if node.op_type != "GRU":
        return False
    given = _attributes(node)
    plain = given.get("linear_before_reset") == 1 and not {"activations", "clip"} & given.keys()
    inputs = [*node.input, "", "", ""][:6]
    stored = all(name in constants for name in inputs[1:4])
    return (
        plain
        and stored
        and not inputs[4]
        and bool(inputs[5])
        and given["hidden_size"] >= rules.INTEGER_GRU_HIDDEN
    )


def in_integers(
    node: onnx.NodeProto, constants: Constants, top: int
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Returns the nodes that take the place of a GRU, and the tensors that they store.

    Args:
        node: The cell.
        constants: The stored tensors by name.
        top: The last level of a weight: 127, or 63 where sums of full-range products saturate.
    """
    made = _Builder(node.output[0] or node.output[1], top)
    weights = [numpy_helper.to_array(constants[name]) for name in node.input[1:4]]
    reverse = REVERSED[_attributes(node).get("direction", b"forward")]
    sides = [made.direction(node, i, [w[i] for w in weights], back) for i, back in enumerate(reverse)]
    for output, names, axis in zip(node.output, zip(*sides, strict=True), (1, 0), strict=False):
        if output:
            made.add("Concat", list(names), output, axis=axis)
    return made.nodes, made.stored


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


class _Builder:
    """Collects nodes and tensors, all named after one cell."""

    def __init__(self, name: str, top: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.stored: list[onnx.TensorProto] = []
        self._name, self._top = name, top
        self._zero = self.store("zero", np.zeros((), np.int8))
        self._gates = ""

    def store(self, what: str, array: np.ndarray) -> str:
        self.stored.append(numpy_helper.from_array(array, f"{self._name}_{what}"))
        return f"{self._name}_{what}"

    def add(self, op: str, inputs: list[str], output: str, **attributes: object) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], name=f"{output}_{op}", **attributes))
        return output

    def direction(
        self, node: onnx.NodeProto, number: int, weights: list[np.ndarray], back: bool
    ) -> tuple[str, str]:
        """Adds one direction; returns the names of its [T, 1, N, H] states and its [1, N, H] last state."""
        w, r, b = weights
        name, hidden = f"{self._name}_{number}", r.shape[-1]
        x, (h_bias, x_bias) = node.input[0], (b[3 * hidden :], b[: 3 * hidden])
        given = self._product(self.nodes, x, w, x_bias, f"{number}_x")
        place = self.store(f"{number}_place", np.array(number))
        first = self.add("Gather", [node.input[5], place], f"{name}_first", axis=0)
        self._gates = self.store(f"{number}_gates", np.full(3, hidden))
        body = self._body(r, h_bias, number, hidden)
        ends = [f"{name}_end", f"{name}_states"]
        way = {"scan_input_directions": [int(back)], "scan_output_directions": [int(back)]}
        scan = helper.make_node(
            "Scan", [first, given], ends, name=f"{name}_scan", body=body, num_scan_inputs=1, **way
        )
        self.nodes.append(scan)
        axes = [self.store(f"{number}_axis{axis}", np.array([axis])) for axis in (1, 0)]
        states = self.add("Unsqueeze", [ends[1], axes[0]], f"{name}_all")
        return states, self.add("Unsqueeze", [ends[0], axes[1]], f"{name}_last")

    def _product(
        self, nodes: list[onnx.NodeProto], x: str, weight: np.ndarray, bias: np.ndarray, what: str
    ) -> str:
        """Adds x W^T + bias with both operands rounded; W is [gates, inputs], with one scale for each of its rows."""
        scale = np.maximum(np.abs(weight).max(1), 1e-12).astype(np.float32) / np.float32(self._top)
        levels = np.rint(weight / scale[:, None]).clip(-self._top, self._top).astype(np.int8)
        w, s = self.store(f"{what}_int8", levels.T.copy()), self.store(f"{what}_scale", scale)
        name = f"{self._name}_{what}"
        q = [f"{name}_{part}" for part in ("levels", "step", "offset")]
        nodes += [
            helper.make_node("DynamicQuantizeLinear", [x], q, name=f"{name}_round"),
            helper.make_node(
                "MatMulInteger", [q[0], w, q[2], self._zero], [f"{name}_sum"], name=f"{name}_multiply"
            ),
            helper.make_node(
                "Cast", [f"{name}_sum"], [f"{name}_float"], name=f"{name}_cast", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [q[1], s], [f"{name}_unit"], name=f"{name}_units"),
            helper.make_node(
                "Mul", [f"{name}_float", f"{name}_unit"], [f"{name}_real"], name=f"{name}_widen"
            ),
            helper.make_node(
                "Add", [f"{name}_real", self.store(f"{what}_bias", bias)], [name], name=f"{name}_add"
            ),
        ]
        return name

    def _body(self, weight: np.ndarray, bias: np.ndarray, number: int, hidden: int) -> onnx.GraphProto:
        """One step: the state and the input's part of the gates -> the next state, twice."""
        nodes: list[onnx.NodeProto] = []
        own = f"{self._name}_{number}_step_"
        h = self._product(nodes, f"{own}h", weight, bias, f"{number}_h")

        def add(op: str, inputs: list[str], *outputs: str, **attributes: object) -> None:
            named = [name if name == h else own + name for name in inputs]
            named = [self._gates if name == f"{own}gates" else name for name in named]
            nodes.append(
                helper.make_node(
                    op, named, [own + o for o in outputs], name=f"{own}{outputs[0]}_{op}", **attributes
                )
            )

        add("Split", [h, "gates"], "hz", "hr", "hn", axis=-1)
        add("Split", ["x", "gates"], "xz", "xr", "xn", axis=-1)
        for gate in ("z", "r"):
            add("Add", [f"x{gate}", f"h{gate}"], f"{gate}_sum")
            add("Sigmoid", [f"{gate}_sum"], gate)
        add("Mul", ["r", "hn"], "reset")
        add("Add", ["xn", "reset"], "n_sum")
        add("Tanh", ["n_sum"], "n")
        add("Sub", ["h", "n"], "away")
        add("Mul", ["z", "away"], "kept")
        add("Add", ["n", "kept"], "next")
        add("Identity", ["next"], "state")
        sides = [[("h", hidden), ("x", 3 * hidden)], [("next", hidden), ("state", hidden)]]
        inputs, outputs = (
            [helper.make_tensor_value_info(own + n, TensorProto.FLOAT, [None, size]) for n, size in side]
            for side in sides
        )
        return helper.make_graph(nodes, f"{own}body", inputs, outputs)
