"""The plan: which recipes to try for one task on one target, cheapest first, and why. A pure function.

It looks at what the profile admits, at what the task brings and at what the model's multiply-accumulates are made of,
never at the weights; everything measured belongs to the gate. A model that was not traced is taken for a convolutional
network: what would degrade one is left out.
"""

from collections.abc import Mapping

import msgspec

from edgekit.errors import UserError
from edgekit.records import Budget, Kind, Macs, Plan, Recipe, Scalar, Skipped, Step, TaskFacts, convert
from edgekit.target import LadderStep, Rung, Target
from edgekit.task import Task
from edgekit.technique import TECHNIQUES, Technique, of

NO_MODULE = "a Keras model cannot be pruned: channels are followed through the layers of a torch module"
NO_CELLS: tuple[Kind, ...] = ("convolution", "linear", "attention")
CELLS = "calibrated integers do not reach into recurrent cells"
# A rung is for a network when at least this share of its multiply-accumulates is of the kinds it names.
FITS = 0.5
KINDS: dict[Kind, str] = {
    "convolution": "convolutions",
    "linear": "linear layers",
    "recurrent": "recurrent cells",
    "attention": "attention",
}


def plan(
    task: Task | TaskFacts,
    target: Target,
    budget: "Budget | Mapping[str, float | str] | None" = None,
    isa: str | None = None,
) -> Plan:
    """Plans the ladder for `task` on `target`.

    Args:
        task: The task, or what the plan must know of it.
        target: The profile.
        budget: None takes the profile's, a Budget replaces it, a mapping overrides some of its fields.
        isa: The instruction-set level of the machine that will serve; None takes the weakest that the profile admits.

    Raises:
        TargetError: The profile does not admit `isa`.
        UserError: The budget has an unknown field or a value out of range.
    """
    facts = task.facts() if isinstance(task, Task) else task
    level = isa or target.default_isa
    target.quant_for(level)
    recipes: list[Recipe] = []
    skipped: list[Skipped] = []
    for rung in target.ladder:
        reason = _reason_to_skip(rung, facts, target)
        if reason:
            skipped.append(Skipped(technique=rung.name, reason=reason))
        else:
            recipes.append(_recipe(rung, target, level))
    named = {step.technique for rung in target.ladder for step in rung.steps}
    skipped += [
        Skipped(technique=row.name, reason=_not_named(row, target))
        for row in TECHNIQUES.values()
        if row.always_listed and row.name not in named
    ]
    return Plan(
        task=facts.name,
        target=target.name,
        isa=level,
        budget=budget_for(target, budget),
        recipes=tuple(recipes),
        skipped=tuple(skipped),
    )


def budget_for(target: Target, budget: Budget | Mapping[str, float | str] | None) -> Budget:
    """Returns the limits that count for one target.

    Args:
        target: The profile.
        budget: None takes the profile's, a Budget replaces it, a mapping overrides some of its fields.

    Raises:
        UserError: There is no such field, or a value is out of range.
    """
    if isinstance(budget, Budget):
        return budget
    try:
        return convert({**msgspec.to_builtins(target.budget), **(budget or {})}, Budget)
    except msgspec.ValidationError as error:
        raise UserError(f"budget: {error}; allowed: {', '.join(Budget.__struct_fields__)}") from error


def _reason_to_skip(rung: Rung, facts: TaskFacts, target: Target) -> str:
    if rung.precision not in target.precisions:
        return f"profile admits {' and '.join(target.precisions)} only"
    if "tensorflow" in rung.needs and not facts.tensorflow:
        return "no Keras model or SavedModel in the task"
    source = "ONNX file" if facts.onnx else "SavedModel"
    if not facts.torch and source not in of(rung.steps[0].technique).takes:
        return f"{'an' if facts.onnx else 'a'} {source} has no torch program"
    if facts.onnx and rung.steps[0].options.get("rounding", "nearest") != "nearest":
        return "weights of an ONNX file are rounded to nearest"
    brought = {"calibration": facts.calibration, "training": facts.training, "tensorflow": facts.tensorflow}
    if facts.tensorflow and any(of(step.technique).of_modules for step in rung.steps):
        return NO_MODULE
    missing = [need for need in rung.needs if not brought[need]]
    if missing:
        return f"no {' and no '.join(missing)} data in the task"
    if facts.onnx and of(rung.steps[0].technique).ranges_at_run_time:
        return rung.unfit if "Conv" in facts.operators else ""
    return _unfit(rung, facts.macs)


def _unfit(rung: Rung, macs: Macs | None) -> str:
    """Returns why the rung is not for a network of such multiply-accumulates; empty where it is."""
    networks, unfit = rung.networks, rung.unfit
    if not networks and of(rung.technique).between_operators:
        networks, unfit = NO_CELLS, CELLS
    if not networks:
        return ""
    if macs is None or not macs.count:
        if "convolution" in networks:
            return ""
        known = "known once the model is traced" if macs is None else "not known of this one"
        return f"only for a network of {', '.join(KINDS[k] for k in networks)}, which is {known}: {unfit}"
    if macs.share(networks) >= FITS:
        return ""
    most = max(set(KINDS) - set(networks), key=lambda kind: macs.share([kind]))
    return f"{100 * macs.share([most]):.0f} % of the multiply-accumulates are {KINDS[most]}: {unfit}"


def _not_named(row: Technique, target: Target) -> str:
    if row.precision in target.precisions:
        return "no recipe names it"
    return f"profile {target.name} admits {' and '.join(target.precisions)} only"


def _recipe(rung: Rung, target: Target, isa: str) -> Recipe:
    quant = target.quant_for(isa)
    reason = rung.reason
    if rung.precision == "int8" and quant is not None:
        weights = f"{quant.weight_bits}-bit {quant.granularity} weights"
        own = (
            "float inputs and outputs"
            if of(rung.technique).ranges_at_run_time
            else f"{quant.activation_dtype} activations"
        )
        reason += f"; {isa}: {own}, {weights}"
    before = [
        Step(technique=step.technique, options=_for_target(step, target), reason=step.reason)
        for step in rung.before
    ]
    last = Step(technique=rung.technique, options=rung.options, reason=reason)
    return Recipe(name=rung.name, precision=rung.precision, steps=(*before, last))


def _for_target(step: LadderStep, target: Target) -> dict[str, Scalar]:
    """Returns what a step on the float program must know of the target, so that targets with equal answers can share it."""
    if not of(step.technique).of_modules:
        return step.options
    return {"multiple": target.channel_multiple, **step.options}
