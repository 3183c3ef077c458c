"""The verbs on what was exported: `check` holds a folder to limits, `diff` and `compare-models` hold two side by side."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.options import json_option
from edgekit.cli.printing import print_json, put, put_columns

if TYPE_CHECKING:
    from edgekit.package.difference import Difference


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--budget", required=True, type=click.Path(path_type=Path), help="A TOML file of limits.")
@json_option
@click.pass_context
def check(ctx: click.Context, folder: Path, budget: Path, as_json: bool) -> None:
    """Hold an exported FOLDER or a bundle to the limits of a file; exit code 1 where one is not kept."""
    from edgekit.package import budget_check, budget_file

    found = budget_check.check(folder, budget_file.read(budget), budget.parent)
    if as_json:
        print_json(found)
    else:
        cells = [(row.verdict, row.place, row.what, row.allowed, row.found) for row in found.rows]
        put_columns([("verdict", "where", "limit", "allowed", "found"), *cells])
        put("within the budget" if found.kept else "not within the budget")
    ctx.exit(0 if found.kept else 1)


@click.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def diff(ctx: click.Context, old: Path, new: Path, as_json: bool) -> None:
    """Say what changed from OLD to NEW, two exports or bundles; exit code 1 where yesterday's app code will not work."""
    from edgekit.package import difference

    found = difference.difference(old, new)
    if as_json:
        print_json(found)
    else:
        for line in _lines(found):
            put(line)
    ctx.exit(0 if found.compatible else 1)


@click.command("compare-models")
@click.argument("a")
@click.argument("b")
@json_option
def compare_models(a: str, b: str, as_json: bool) -> None:
    """Say which samples of the metric A and B answer differently, and whether that is chance.

    Each is an export of one target, a target's folder in one, or the word float. Nothing is run again.
    """
    from edgekit.report import model_comparison

    found = model_comparison.compare_models(a, b)
    if as_json:
        print_json(found)
        return
    for line in model_comparison.lines(found):
        put(line)


def _lines(found: "Difference") -> Iterator[str]:
    for each in found.targets:
        if each.same:
            yield f"{each.target}: the same file, {each.size_bytes[1]} bytes"
        else:
            update = "unknown" if each.update_bytes is None else f"{each.update_bytes} bytes"
            yield f"{each.target}: {each.size_bytes[0]} -> {each.size_bytes[1]} bytes; an update takes {update} (zstd --patch-from)"
        margin = (
            "" if each.metric_margin is None else f" +- {each.metric_margin:.4f} (95 %, if it is a share)"
        )
        change = each.metric[1] - each.metric[0]
        yield f"  metric {each.metric[0]:.4f} -> {each.metric[1]:.4f}: {change:+.4f}{margin}, n={each.samples[0]}, {each.samples[1]}"
        if each.precision[0] != each.precision[1]:
            yield f"  precision {each.precision[0]} -> {each.precision[1]}"
        yield from (f"  layer {layer} {was} -> {now}" for layer, (was, now) in (each.layers or {}).items())
        yield from (f"  BREAKS: {text}" for text in each.breaks)
        yield from (f"  new: {text}" for text in each.adds)
        yield from (f"  {package} {was} -> {now}" for package, (was, now) in each.toolchain.items())
    yield from (f"{name}: BREAKS: gone" for name in found.gone)
    yield from (f"{name}: new" for name in found.added)
    yield "yesterday's app code still works" if found.compatible else "yesterday's app code will NOT work"
