"""The stages that a recipe goes through on one target, where nothing fails: what is scheduled and awaited by."""

from edgekit import technique
from edgekit.engine.catalogue import COMPRESS, EXPORT, MEASURE, PROVE
from edgekit.engine.expected import Ahead
from edgekit.records import Recipe
from edgekit.target import Target


def path_of(recipe: Recipe, target: Target) -> list[Ahead]:
    """Returns the stages in their order, by the names that `edgekit.ladder.build` and `attempt` run them under."""
    found = [Ahead(EXPORT, "", export_label("float32", target))]
    of_target = False
    for step in recipe.steps:
        row = technique.of(step)
        if row.at_export:
            continue
        of_target = of_target or not row.shared
        owner, label = (target.name, recipe.name) if of_target else ("", step.technique)
        found.append(Ahead(COMPRESS, owner, label))
    if recipe.precision != "float32" or len(found) > 1:
        found.append(Ahead(EXPORT, target.name, export_label(recipe.precision, target)))
    return [*found, Ahead(PROVE, target.name, PROVE.name), Ahead(MEASURE, target.name, MEASURE.name)]


def export_label(precision: str, target: Target) -> str:
    """Returns what an export is called."""
    return f"export {precision} {target.format}"
