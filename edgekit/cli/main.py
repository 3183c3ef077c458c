"""The command line: verbs, thin. Results go to stdout, progress to stderr.

Exit codes: 0 fine, 1 budget or verification failed, 2 user error, 3 a runtime is missing; `compare`: 0 faster,
1 slower, 4 inconclusive; 130 stopped.
"""

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from edgekit_runner.host import telemetry

from edgekit.cli.bundles import package
from edgekit.cli.devices import bench, compare
from edgekit.cli.kept_stages import cache
from edgekit.cli.models import inspect, new
from edgekit.cli.options import (
    RUN,
    budget_options,
    json_option,
    read_given,
    read_settings,
    run_options,
    task_options,
)
from edgekit.cli.pipelines import check, diff
from edgekit.cli.printing import (
    any_terminal,
    budget_text,
    print_json,
    print_table,
    say,
    say_timings,
    show,
    whole_output,
)
from edgekit.cli.techniques import techniques
from edgekit.engine.output import absolute
from edgekit.errors import EdgekitError, Stopped


class Verbs(click.Group):
    """Turns every expected error into one sentence and its exit code; anything else is a bug and shows itself."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb; an expected error ends it with one sentence on stderr and its exit code."""
        telemetry.switch_off()
        any_terminal()
        try:
            absolute(Path())  # a current folder that was removed stops every verb
            with _stoppable(), whole_output():
                return super().invoke(ctx)
        except EdgekitError as error:
            say(f"edgekit: {_with_notes(error)}")
            ctx.exit(error.exit_code)


def _with_notes(error: BaseException) -> str:
    """The sentence of an error with the notes added on its way here, such as that finished stages are kept."""
    return "; ".join([str(error) or "stopped", *getattr(error, "__notes__", [])])


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ends a verb that is told to stop (SIGTERM) as Ctrl-C does: its processes and folders go first, finished stages are kept."""
    former = signal.getsignal(signal.SIGTERM)
    with suppress(ValueError):  # another thread than the main one may not set it
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as error:
        say(f"edgekit: {_with_notes(error)}")
        sys.exit(Stopped.exit_code)
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, former)


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        from edgekit_runner import __version__

        click.echo(__version__)
        context.exit()


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def main() -> None:
    """One trained model in; for each target a small, fast artifact that meets the accuracy budget, proven and measured."""


@main.command()
@json_option
def targets(as_json: bool) -> None:
    """List the target profiles."""
    from edgekit.target import load_target, target_names

    profiles = [load_target(name) for name in target_names()]
    if as_json:
        print_json(profiles)
        return
    width = max(len(profile.name) for profile in profiles)
    for profile in profiles:
        click.echo(f"{profile.name:<{width}}  {profile.summary}; {profile.default_isa} unless --isa")


@main.command()
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
    check_recipes(recipes)
    facts = look(task, read_settings(settings))
    plans = [
        make_plan(facts, target, read_given(budget), level)
        for target, level in zip(profiles, levels, strict=True)
    ]
    if as_json:
        print_json(plans)
        return
    for made in plans:
        click.echo(f"{made.target} ({made.isa}), budget: {budget_text(made.budget)}")
        for number, recipe in enumerate(made.recipes, 1):
            click.echo(f"  {number}. {recipe.name} -> {recipe.precision}: {recipe.steps[-1].reason}")
        for skipped in made.skipped:
            click.echo(f"  -  {skipped.technique} left out: {skipped.reason}")


@main.command()
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


@main.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--key", type=click.Path(path_type=Path), help="The ed25519 public key that signed a bundle.")
@json_option
def verify(folder: Path, key: Path | None, as_json: bool) -> None:
    """Re-prove an exported folder or a bundle: checksums, signature, golden answers in the runtime, the precision lint."""
    from edgekit.package.reverify import recheck

    results = recheck(folder, key)
    if as_json:
        print_json(results)
        return
    for name, result in results.items():
        float_ = (
            ""
            if result.float_snr_db is None
            else f", {result.float_snr_db:.1f} dB to the float model's answer"
        )
        click.echo(
            f"{name}: ok; checksums match, golden output within {result.golden_atol:.4g} (off by {result.max_abs_error:.4g}){float_}"
        )


@main.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Write one HTML page for all of them.")
@json_option
def report(folders: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Show the report of exported folders; with -o write it as HTML."""
    from edgekit.report import html, load

    reports = [load.read(folder) for folder in folders]
    if out is not None:
        html.write(reports, out)
    if as_json:
        print_json(reports)
        return
    for single in reports:
        print_table(single)


@main.command()
@click.argument("name", type=click.Choice(["bundle", "manifest", "report"]))
def schema(name: str) -> None:
    """Print the JSON Schema of bundle.json, manifest.json or report.json."""
    from edgekit.package import schemas

    click.echo(json.dumps(schemas.schema(name), indent=2, sort_keys=True))


@main.command()
@json_option
def doctor(as_json: bool) -> None:
    """What is installed, what each target still needs, and the instruction set found."""
    from edgekit.cli.doctor import examine, lines

    found = examine()
    if as_json:
        print_json(found)
        return
    for line in lines(found):
        click.echo(line)


@main.command()
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


main.add_command(bench)
main.add_command(cache)
main.add_command(check)
main.add_command(compare)
main.add_command(diff)
main.add_command(inspect)
main.add_command(new)
main.add_command(package)
main.add_command(techniques)


if __name__ == "__main__":
    main()
