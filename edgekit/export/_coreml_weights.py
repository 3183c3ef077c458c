"""Weights of a Core ML program stored as what they are: zeros sparsely, tables as palettes, grids as integers with scales.

Numbers do not change: the runtime, and edgekit's interpreter, unpack the exact values of the program. coremltools' own
passes do it, told to find zeros, repeated values and grids, not to make them.
"""

import logging
import warnings
from collections.abc import Iterator
from functools import partial
from typing import Any

import coremltools.optimize.coreml as cto
import numpy as np
import torch

from edgekit import technique
from edgekit.errors import ConversionError
from edgekit.records import Candidate, Scalar
from edgekit.sparse import grid

WORTH = 0.125  # the share of a layer's weights that must be zero: the mask costs a bit for each weight
SMALLEST = 2048  # a layer with fewer weights stays as it is
GROUPS_IOS, JOINT_IOS, TABLES_IOS = 18, 18, 16


def compact(model: Any, candidate: Candidate, ios: int) -> Any:
    """Stores the weights sparsely, as palettes, as integers with scales, or as sparse palettes, as the recipe's steps ask.

    Args:
        model: The converted coremltools model.
        candidate: What it was made from, with the steps of the recipe.
        ios: The iOS version that the file is for.

    Raises:
        ConversionError: This iOS does not know such tables, or integers of 4 bits.
    """
    options = {step.technique: step.options for step in candidate.recipe.steps}
    if candidate.recipe.precision == "int8" or ios < TABLES_IOS:
        return model
    sparse = any(technique.of(name).makes_zeros for name in options)
    if "weight_only" in options:
        return _quiet(cto.linear_quantize_weights, model, _integers(model, options["weight_only"], ios))
    if "palettize" not in options:
        return _quiet(cto.prune_weights, model, _every(_zeros())) if sparse else model
    palette = _every(_palette(options["palettize"], ios))
    if not sparse or ios < JOINT_IOS:
        return _quiet(cto.palettize_weights, model, palette)
    return _quiet(
        partial(cto.palettize_weights, joint_compression=True),
        _quiet(cto.prune_weights, model, _every(_zeros())),
        palette,
    )


def _every(config: Any) -> Any:
    """One configuration for every weight."""
    return cto.OptimizationConfig(global_config=config)


def _palette(options: dict[str, Scalar], ios: int) -> Any:
    group = int(options.get("group", 0))
    if group and ios < GROUPS_IOS:
        raise ConversionError(
            f"palettize option group is {group}, but deployment.min_ios is {ios}: a table for each group of channels needs iOS "
            f"{GROUPS_IOS}; give group=0, or a later iOS"
        )
    grouped = {"granularity": "per_grouped_channel", "group_size": group} if group else {}
    return cto.OpPalettizerConfig(mode="unique", weight_threshold=SMALLEST, **grouped)


def _zeros() -> Any:
    return cto.OpThresholdPrunerConfig(minimum_sparsity_percentile=WORTH, weight_threshold=SMALLEST)


def _integers(model: Any, options: dict[str, Scalar], ios: int) -> Any:
    """Each weight by the grid that it is on; what is on none keeps its numbers."""
    bits, block = int(options.get("bits", 8)), int(options.get("block", 0))
    if (bits < 8 or block) and ios < GROUPS_IOS:
        raise ConversionError(
            f"weight_only with bits={bits} and block={block} needs iOS {GROUPS_IOS}, but deployment.min_ios is {ios}; give bits=8 and "
            "block=0, or a later iOS"
        )
    forms = dict.fromkeys(((bits, block), (8, 0)))
    return cto.OptimizationConfig(
        op_name_configs={
            name: next((_grid(*form) for form in forms if grid.is_on(weight, *form)), None)
            for name, weight in _stored(model)
        }
    )


def _grid(bits: int, block: int) -> Any:
    shared = {"granularity": "per_block", "block_size": block} if block else {}
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype=f"int{bits}", weight_threshold=SMALLEST, **shared
    )


def _stored(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The float constants that are large enough, by name."""
    for function in model._mil_program.functions.values():
        for operation in function.operations:
            value = operation.outputs[0].val if operation.op_type == "const" else None
            if not isinstance(value, np.ndarray) or value.ndim < 2 or value.size <= SMALLEST:
                continue
            if value.dtype.kind == "f":
                yield operation.name, torch.from_numpy(value.astype(np.float32))


def _quiet(rewrite: Any, model: Any, config: Any) -> Any:
    """Runs a pass without its warnings: it warns of every layer that it leaves as it is."""
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return rewrite(model, config)
    finally:
        log.setLevel(level)
