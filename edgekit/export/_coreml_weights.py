"""Weights of a Core ML program stored as what they are: sparse where a step made zeros, palettes where one made tables.

Numbers do not change: the runtime, and edgekit's interpreter, unpack the exact values of the program. coremltools' own
passes do it, told to find zeros and repeated values, not to make them.
"""

import logging
import warnings
from typing import Any

import coremltools.optimize.coreml as cto

from edgekit import technique
from edgekit.errors import ConversionError
from edgekit.records import Candidate, Scalar

WORTH = 0.125  # the share of a layer's weights that must be zero: the mask costs a bit for each weight
SMALLEST = 2048  # a layer with fewer weights stays as it is
GROUPS_IOS, TABLES_IOS = 18, 16


def compact(model: Any, candidate: Candidate, ios: int) -> Any:
    """Stores the weights sparsely, or as palettes, where the recipe's steps ask for it.

    Args:
        model: The converted coremltools model.
        candidate: What it was made from, with the steps of the recipe.
        ios: The iOS version that the file is for.

    Raises:
        ConversionError: This iOS does not know such tables.
    """
    options = {step.technique: step.options for step in candidate.recipe.steps}
    if candidate.recipe.precision == "int8" or ios < TABLES_IOS:
        return model
    if "palettize" in options:
        return _quiet(cto.palettize_weights, model, _palette(options["palettize"], ios))
    if any(technique.of(name).makes_zeros for name in options):
        return _quiet(cto.prune_weights, model, _zeros())
    return model


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


def _quiet(rewrite: Any, model: Any, config: Any) -> Any:
    """Runs a pass without its warnings: it warns of every layer that it leaves as it is."""
    log = logging.getLogger("coremltools")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return rewrite(model, cto.OptimizationConfig(global_config=config))
    finally:
        log.setLevel(level)
