"""Budgets that no artifact can meet, whatever is tried: said before the work, not after it. Pure functions."""

from edgekit import technique
from edgekit.errors import UserError
from edgekit.formats import FORMATS
from edgekit.records import Budget, Plan, TaskFacts, Traced
from edgekit.target import Target

WEIGHT_BYTES = {"int8": 1, "float16": 2, "float32": 4}


def check(budget: Budget, target: Target) -> None:
    """Checks a budget before any work.

    Raises:
        UserError: It asks for a speed that only another technique than those of the profile could give.
    """
    rungs = [rung for rung in target.ladder if rung.precision in target.precisions]
    if all(rung.precision == "float32" and not rung.before for rung in rungs) and budget.min_speedup > 1:
        raise UserError(
            f"budget min_speedup is {budget.min_speedup:g}, but the ladder of {target.name} holds only float32, which "
            "is as fast as float; allowed: at most 1, or a profile with other techniques"
        )


def no_program(facts: TaskFacts, target: Target) -> str:
    """Returns why a SavedModel or an ONNX file cannot go to `target`; empty where it can, and for any other model."""
    if facts.onnx:
        return "" if target.format == "onnx" else _no_converter(facts, target)
    if facts.torch or FORMATS[target.format].takes_saved_model:
        return ""
    return (
        f"{target.name} needs a torch program, which a SavedModel does not have: TensorFlow's own converter writes TFLite "
        "files alone. Give the Keras model, or its .keras file, to reach this target"
    )


def _no_converter(facts: TaskFacts, target: Target) -> str:
    kinds = f" (its operators: {', '.join(facts.operators)})" if facts.operators else ""
    return (
        f"{target.name} needs a torch program, and no converter that edgekit trusts makes one of an ONNX file{kinds}: give the torch or "
        "Keras model that the file was written from, or choose a target of ONNX"
    )


def too_small(plan: Plan, traced: Traced) -> str:
    """Returns why no recipe of the plan can make a file that small, or ""; known as soon as the model is traced."""
    limit = plan.budget.max_size_bytes
    steps = [step for recipe in plan.recipes for step in recipe.steps]
    if limit is None or not steps or not all(technique.of(step).keeps_weights for step in steps):
        return ""
    precision = min((recipe.precision for recipe in plan.recipes), key=WEIGHT_BYTES.__getitem__)
    least = traced.weights * WEIGHT_BYTES[precision]
    if least <= limit:
        return ""
    return (
        f"budget max_size_bytes {limit} cannot be met: {traced.weights} weights take at least {least} bytes "
        f"in {precision}, the smallest that {plan.target} offers here; allowed: more than {least}"
    )
