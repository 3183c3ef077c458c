"""Operators that join tensors, and the grids of what they join: written so that litert-torch keeps them.

TFLite's CONCATENATION, MAXIMUM, MINIMUM and SELECT (where, masked_fill, writes into a part) want every operand on the grid of the result. litert-torch, where
it meets dequantize -> concatenation, makes integers of it on the grid of any one operand, whether the program rounds the
result or not: a box of 640 pixels is stored on the grid of a sigmoid, as 0.996. Nor does it keep a rounding
dequantize(a) -> quantize(b) -> dequantize(b) before such an operator. An operator in between stops both:

    joined in integers, the operand of another grid     RELU, or MUL by one, both from int8 of grid a to int8 of grid b
    joined in float                                     RELU, or ADD of TINY, in float behind the dequantize
    padded in float, not with zero      ADD of TINY behind the dequantize; else the number is written on the grid of what is padded
    softmax of what has no grid (masked scores)         ADD of TINY behind it; else it reads them on a grid of its own
    outputs of a recurrent layer                        ADD of TINY behind them; else the last state of each layer, joined out of
                                                        the same steps, is stored on the grid of the outputs

RELU serves where the lowest integer is zero (sigmoid, softmax, behind a relu): there it changes nothing.
"""

import operator

import torch
from torch.fx import GraphModule, Node

from edgekit.quant import rules

ATEN = torch.ops.aten
QUANT = torch.ops.quantized_decomposed
QUANTIZE = QUANT.quantize_per_tensor.default
DEQUANTIZE = QUANT.dequantize_per_tensor.default
JOINS = {
    ATEN.cat.default, ATEN.maximum.default, ATEN.minimum.default, ATEN.where.self, ATEN.where.ScalarSelf,
    ATEN.masked_fill.Scalar, ATEN.masked_fill.Tensor, ATEN.slice_scatter.default, ATEN.select_scatter.default,
}  # fmt: skip
ONE = (1 / 127, 0, -127, 127, torch.int8)  # the grid on which 127 is one
RECURRENT = {ATEN.lstm.input, ATEN.gru.input, ATEN.rnn_tanh.input, ATEN.rnn_relu.input}
TINY = 1e-37  # vanishes in any number it is added to, except zero, which it leaves far below any step


def keep_grids(module: GraphModule) -> GraphModule:
    """Puts an operator between a join and each operand whose grid is not the result's, in place."""
    for join in [node for node in module.graph.nodes if node.target in JOINS]:
        for operand in [node for node in join.all_input_nodes if node.target is DEQUANTIZE]:
            if not _in_integers(join):
                join.replace_input_with(operand, _same(module, join, operand, TINY))
            elif (source := _of_another_grid(operand)) is not None:
                rounding: Node = operand.args[0]
                rounding.args = (_same(module, rounding, source, None), *rounding.args[1:])
    for pad in [node for node in module.graph.nodes if _writes_a_float(node)]:
        pad.replace_input_with(pad.args[0], _same(module, pad, pad.args[0], TINY))
    for made in [node for node in module.graph.nodes if _is_float_inside(node)]:
        for rounding in [user for user in made.users if user.target is QUANTIZE]:
            rounding.replace_input_with(made, _same(module, rounding, made, TINY))
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


def _writes_a_float(node: Node) -> bool:
    """Whether `node` pads what has a grid with a number that need not be on it, and something reads the result in float."""
    pads = node.target in rules.PADS and rules.pad_value(node) not in (0, None)
    return (
        pads and node.args[0].target is DEQUANTIZE and any(user.target is not QUANTIZE for user in node.users)
    )


def _is_float_inside(node: Node) -> bool:
    """Whether `node` is made of what has no grid: masked scores, or the steps of a recurrent layer and their concatenation."""
    if node.target is operator.getitem:
        return node.args[0].target in RECURRENT
    return node.target is ATEN.softmax.int and node.args[0].target is not DEQUANTIZE


def _in_integers(join: Node) -> bool:
    """Whether all operands and the result have one grid."""
    grids = {node.args[1:3] if node.target is DEQUANTIZE else None for node in join.all_input_nodes}
    grids |= {user.args[1:3] if user.target is QUANTIZE else None for user in join.users}
    return len(grids) == 1 and None not in grids


def _of_another_grid(operand: Node) -> Node | None:
    """The dequantize of grid a in dequantize(a) -> quantize(b) -> dequantize(b), where `operand` ends such a chain."""
    source = operand.args[0].args[0]
    while source.target is ATEN.clone.default:
        source = source.args[0]
    changes = source.target is DEQUANTIZE and source.args[1:3] != operand.args[1:3]
    return source if changes else None


def _same(module: GraphModule, before: Node, source: Node, tiny: float | None) -> Node:
    """Gives the values of a dequantize, behind an operator that the converter does not remove."""
    with module.graph.inserting_before(before):
        if source.target is DEQUANTIZE and source.args[2] == source.args[3]:
            return module.graph.call_function(ATEN.relu.default, (source,))
        shape = [1] * source.meta["val"].dim()
        if tiny is not None:
            return module.graph.call_function(ATEN.add.Tensor, (source, _stored(module, shape, tiny)))
        integers = module.graph.call_function(QUANTIZE, (_stored(module, shape, 1.0), *ONE))
        one = module.graph.call_function(DEQUANTIZE, (integers, *ONE))
        return module.graph.call_function(ATEN.mul.Tensor, (source, one))


def _stored(module: GraphModule, shape: list[int], value: float) -> Node:
    name = f"_same_{len(shape)}_{'one' if value == 1 else 'tiny'}"
    if not hasattr(module, name):
        module.register_buffer(name, torch.full(shape, value))
    return module.graph.get_attr(name)
