"""Operators as units: what both sides of a comparison have, however they fuse it.

A runtime fuses what torch writes as several nodes: convolution, batch norm and activation are one kernel, and in an
integer file so is the quantize behind them. A unit is such a group of a program. Its value is what leaves the group;
where a quantize follows, its codes are the integers that the file holds.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules
from edgekit.quant.program import operator_of, origin

Grid = tuple[float, int]  # scale, zero point

# the first match counts, against the name without case, underscores and overload; all but moves compute
_FAMILIES = (
    (r"^(dequantize|cast)", "dequantize"),
    (r"^quantize", "quantize"),
    (
        r"^(depthwise)?conv|^transposeconv|^fullyconnected|^linear|^gemm|matmul$|^addmm$|^b?mm$|^baddbmm$",
        "mac",
    ),
    (r"^(add|sub)", "add"),
    (r"^(mul|div|realdiv)", "mul"),
    (r"pool|mean", "pool"),
    (r"^cat$|^concat", "cat"),
    (r"^(upsample|resize|interpolate)", "resize"),
    (r"^(hardsigmoid|sigmoidhard)", "hardsigmoid"),
    (r"^(sigmoid|logistic)", "sigmoid"),
    (r"^(relu6?$|relun1to1|relu0to1|hardtanh|clip|clamp|minimum|maximum)", "clip"),
    (r"norm", "norm"),
    (
        r"^(view|reshape|flatten|unflatten|permute|transpose|squeeze|unsqueeze|expand|slice|stridedslice|select|split|chunk"
        r"|pad|constantpad|dropout|clone|contiguous|alias|detach|identity|gather|shape|tile|getitem|to$|pack|unpack)",
        "move",
    ),
)


def family(op: str) -> str:
    """The kind of an operator, whatever its dialect: "aten.conv2d.default", "Conv" and "CONV_2D" are all "mac"."""
    plain = op.removeprefix("aten.").partition(".")[0].replace("_", "").lower()
    return next((name for pattern, name in _FAMILIES if re.search(pattern, plain)), plain)


@dataclass(frozen=True)
class Unit:
    """One group of a program.

    Attributes:
        node: Its operator.
        op: The type of that operator.
        module: The torch module that it comes from.
        value: The node whose result leaves the group.
        chain: All nodes of the group.
        clips: Whether an activation that clips is part of it.
        shape: The shape of its value.
        codes: The quantize behind it, "" where there is none.
        reads: The dequantize nodes that read the codes.
        grid: (scale, zero point) of the codes.
        channels: How many channels the weights have; 0 for operators without weights.
    """

    node: str
    op: str
    module: str
    value: str
    chain: tuple[str, ...]
    clips: bool
    shape: tuple[int, ...]
    codes: str = ""
    reads: tuple[str, ...] = ()
    grid: Grid | None = None
    channels: int = 0  # weights of a layer, 0 for other operators

    @property
    def family(self) -> str:
        """The kind of its operator; see `family`."""
        return family(self.op)


def units(module: GraphModule) -> list[Unit]:
    """The units of a program's module, in order; inputs that are quantized come first, as units called "input"."""
    live = depends_on_input(module)
    found: list[Unit] = []
    inside: set[Node] = set()
    for node in module.graph.nodes:
        if node not in live or node in inside or not isinstance(node.meta.get("val"), torch.Tensor):
            continue
        kind = "input" if node.op == "placeholder" else family(str(node.target))
        if kind in ("quantize", "dequantize") or is_dialect(node):
            continue
        chain = [node] if node.op == "placeholder" else _chain(node)
        inside.update(chain)
        unit = _unit(node, chain)
        if unit.codes or (node.op != "placeholder" and unit.family != "move"):
            found.append(unit)
    return found


def readers(module: GraphModule, unit: Unit) -> list[Node]:
    """The layers that multiply what the unit makes, also through operators that only move it."""
    by_name = {node.name: node for node in module.graph.nodes}
    frontier, seen, found = [by_name[unit.value]], set[Node](), []
    while frontier:
        for user in frontier.pop().users:
            if user in seen:
                continue
            seen.add(user)
            kind = "move" if is_dialect(user) else family(str(user.target))
            if kind == "mac":
                found.append(user)
            elif kind == "move":
                frontier.append(user)
    return found


def _unit(node: Node, chain: list[Node]) -> Unit:
    end = chain[-1]
    quantize = next((user for user in end.users if _is_quantize(user)), None)
    reads = [user for user in quantize.users if is_dialect(user)] if quantize is not None else []
    weight = node.args[1] if node.target in rules.MAC and isinstance(node.args[1], Node) else None
    return Unit(
        node=node.name,
        op="input" if node.op == "placeholder" else operator_of(node).removeprefix("aten."),
        module=origin(node),
        value=end.name,
        chain=tuple(link.name for link in chain),
        clips=len(chain) > 1 and end.target in rules.FUSED,
        shape=tuple(int(d) for d in end.meta["val"].shape),
        codes=quantize.name if quantize is not None else "",
        reads=tuple(read.name for read in reads),
        grid=(float(quantize.args[1]), int(quantize.args[2])) if quantize is not None else None,
        channels=int(weight.meta["val"].shape[0]) if weight is not None else 0,
    )


def _chain(node: Node) -> list[Node]:
    """The nodes that runtimes fuse into `node`: batch norm behind a layer, then an activation that only clips."""
    chain = [node]
    if family(str(node.target)) not in ("mac", "add", "mul"):
        return chain
    for allowed in (rules.NORM, rules.FUSED):
        user = rules.only_user(chain[-1])
        if user is not None and user.target in allowed:
            chain.append(user)
    return chain


def depends_on_input(module: GraphModule) -> set[Node]:
    """The nodes whose values depend on an input of the program."""
    live: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "placeholder" or live.intersection(node.all_input_nodes):
            live.add(node)
    return live


def is_dialect(node: Node) -> bool:
    """Whether a node quantizes or dequantizes."""
    return "quantized_decomposed" in str(node.target)


def _is_quantize(node: Node) -> bool:
    return str(node.target).startswith("quantized_decomposed.quantize_per_tensor")


def squeezed(shape: Sequence[Any]) -> list[int]:
    """The sizes of the dimensions larger than 1, sorted: equal for [1, C, H, W] and [1, H, W, C]."""
    return sorted(int(d) for d in shape if int(d) != 1)
