"""Every operator of a finished float file in integers, by ai-edge-quantizer (recipes static_wi8_ai8 and static_wi8_ai16).

Its calibration averages the ranges of samples, so that larger values are clipped: a transformer block of random weights
keeps 12 dB to float. Here the smallest and largest value of all samples count: 32 dB.

Two operators it leaves in float are rewritten before: a layer norm squares a difference (SQUARED_DIFFERENCE has no 16-bit
form), said as a product, which keeps more in 8 bits too; an embedding is a lookup (EMBEDDING_LOOKUP), said as a gather.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe
from torch.fx import GraphModule, Node

from edgekit.arrays import to_layout
from edgekit.errors import ConversionError
from edgekit.quant import proven
from edgekit.quant.rewriting import call, calls, replace, shaped

ATEN = torch.ops.aten
RECIPES = {8: recipe.static_wi8_ai8, 16: recipe.static_wi8_ai16}


def for_integers(graph_module: GraphModule) -> GraphModule:
    """Rewrites, in place, the operators that would stay float."""
    proven.rewrite(graph_module, [embedding_to_gather, norm_to_steps], proven.of_graph(graph_module))
    return graph_module


def norm_to_steps(graph_module: GraphModule) -> None:
    """Rewrites a layer norm over the last dimension in steps, with a reshape that keeps difference and square apart."""
    for node in calls(graph_module, ATEN.layer_norm.default):
        source, dims, *rest = node.args
        weight, bias, eps = [*rest, None, None, 1e-5][:3] if len(rest) < 3 else rest[:3]
        if len(dims) != 1:
            continue
        shape, one = list(node.meta["val"].shape), [*node.meta["val"].shape[:-1], 1]

        def step(target: Any, *args: Any, like: list[int], at: Node = node) -> Node:
            return shaped(call(graph_module, at, target, args), like)

        with graph_module.graph.inserting_before(node):
            mean = step(ATEN.mean.dim, source, [-1], True, like=one)
            deviation = step(ATEN.sub.Tensor, source, mean, like=shape)
            rows = [prod(one), shape[-1]] if len(shape) != 2 else [1, *shape]
            row = step(ATEN.reshape.default, deviation, rows, like=rows)
            square = step(ATEN.mul.Tensor, row, row, like=rows)
            variance = step(ATEN.mean.dim, square, [-1], True, like=[*rows[:-1], 1])
            variance = step(ATEN.reshape.default, variance, one, like=one)
            scale = step(ATEN.rsqrt.default, step(ATEN.add.Tensor, variance, eps, like=one), like=one)
            result = step(ATEN.mul.Tensor, deviation, scale, like=shape)
            for target, operand in ((ATEN.mul.Tensor, weight), (ATEN.add.Tensor, bias)):
                result = step(target, result, operand, like=shape) if operand is not None else result
            replace(node, result)


def embedding_to_gather(graph_module: GraphModule) -> None:
    """Rewrites embedding(table, ids) as rows picked of the table."""
    for node in calls(graph_module, ATEN.embedding.default):
        table, ids = node.args[:2]
        shape = list(node.meta["val"].shape)
        with graph_module.graph.inserting_before(node):
            flat = call(graph_module, ids, ATEN.reshape.default, (ids, [-1]))
            rows = call(graph_module, node, ATEN.index_select.default, (table, 0, flat))
            shaped(flat, [prod(shape[:-1])])
            shaped(rows, [prod(shape[:-1]), shape[-1]])
            replace(node, call(graph_module, node, ATEN.reshape.default, (rows, shape)))


def quantize(path: Path, inputs: Path, layout: str, bits: int) -> bytes:
    """Returns the file with every operator in integers that the quantizer knows.

    Args:
        path: The float file.
        inputs: An .npz of calibration inputs, input_0, input_1, ...
        layout: The layout of the file's inputs.
        bits: The bits of activations.

    Raises:
        ConversionError: The quantizer has no form of an operator.
    """
    making = quantizer.Quantizer(str(path))
    making.load_quantization_recipe(RECIPES[bits]())
    try:
        ranges: dict[str, dict[str, Any]] = {}
        for sample in _samples(path, inputs, layout):
            _widen(ranges, making.calibrate({"serving_default": [sample]}))
        return bytes(making.quantize(ranges).quantized_model)
    except (ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        reason = next(
            (line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__
        )
        raise ConversionError(
            f"ai-edge-quantizer cannot bring every operator to {bits}-bit integers: {reason[:300]}"
        ) from error


def _samples(path: Path, inputs: Path, layout: str) -> Iterator[dict[str, np.ndarray]]:
    """Yields the calibration inputs one by one, under the names of the file's signature."""
    runner = Interpreter(str(path)).get_signature_runner("serving_default")
    details = runner.get_input_details()
    with np.load(inputs, allow_pickle=False) as kept:
        arrays = [kept[f"input_{i}"] for i in range(len(kept.files))]
    names = sorted(details, key=lambda name: (len(name), name))  # args_0, args_1, ..., args_10
    for number in range(len(arrays[0])):
        yield {
            name: np.ascontiguousarray(to_layout(array[number : number + 1], layout)).astype(
                details[name]["dtype"]
            )
            for name, array in zip(names, arrays, strict=True)
        }


def _widen(ranges: dict[str, dict[str, Any]], seen: dict[str, dict[str, Any]]) -> None:
    for name, found in seen.items():
        known = ranges.setdefault(name, found)
        if "min" in found and "min" in known:
            known["min"] = np.minimum(known["min"], found["min"])
            known["max"] = np.maximum(known["max"], found["max"])
