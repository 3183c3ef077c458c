"""The verbs that take a task: `edgekit plan`, `edgekit export`, and `edgekit demo`, which brings its own."""

from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import (
    RUN,
    budget_options,
    json_option,
    read_given,
    read_settings,
    run_options,
    task_options,
)
from edgekit.cli.printing import budget_text, print_json, put, say_timings, show


@click.command()
@task_options
@budget_options
@json_option
def plan(
    task: str,
    targets: tuple[str, ...],
    isa: str | None,
    settings: tuple[str, ...],
    recipes: tuple[str, ...],
    as_json: bool,
    **budget: float | str | None,
) -> None:
    """Show which recipes would be tried for TASK, and why."""
    from edgekit.api import check_recipes, look
    from edgekit.ladder.planner import plan as make_plan
    from edgekit.ladder.profiles import choose_isa, load_targets
    from edgekit.ladder.recipe_parser import with_recipes

    profiles = [with_recipes(target, recipes) for target in load_targets(targets)]
    levels = [choose_isa(target, isa, profiles) for target in profiles]
    if recipes:
        check_recipes(profiles)
    facts = look(task, read_settings(settings))
    plans = [
        make_plan(facts, target, read_given(budget), level)
        for target, level in zip(profiles, levels, strict=True)
    ]
    if as_json:
        print_json(plans)
        return
    for made in plans:
        put(f"{made.target} ({made.isa}), budget: {budget_text(made.budget)}")
        for number, recipe in enumerate(made.recipes, 1):
            put(f"  {number}. {recipe.name} -> {recipe.precision}: {recipe.steps[-1].reason}")
        for skipped in made.skipped:
            put(f"  -  {skipped.technique} left out: {skipped.reason}")


@click.command()
@task_options
@click.option(
    "-o",
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write; replaced if it is edgekit's.",
)
@budget_options
@run_options
@json_option
def export(
    task: str,
    targets: tuple[str, ...],
    isa: str | None,
    settings: tuple[str, ...],
    out: Path,
    quiet: bool,
    timings: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Export TASK (file.py:attr) for every target, each artifact proven in its runtime."""
    from edgekit.api import deploy
    from edgekit.cli.progress import progress

    how = {name: options.pop(name) for name in RUN}
    budget, given = read_given(options), read_settings(settings)
    with progress(quiet) as listener:
        report = deploy(task, targets, out, budget=budget, isa=isa, settings=given, on_event=listener, **how)
    if timings:
        say_timings(report)
    show(report, out, as_json)


@click.command()
@click.option(
    "-o",
    "--out",
    default="edgekit-demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder to write.",
)
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
@json_option
def demo(out: Path, quiet: bool, as_json: bool) -> None:
    """Train a small digits net (seconds) and export it for all targets."""
    from edgekit.api import deploy
    from edgekit.cli.demo_task import demo_reference
    from edgekit.cli.progress import progress

    with progress(quiet) as listener:
        report = deploy(demo_reference(), ["all"], out, on_event=listener)
    show(report, out, as_json)
