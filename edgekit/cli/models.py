"""The verbs for a model that is new here: `inspect` says what it is, `new` writes a task file for it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgekit.cli.options import json_option, read_settings
from edgekit.cli.printing import print_json, put
from edgekit.cli.task_text import is_model, task_text
from edgekit.device.scratch import Scratch
from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.engine.specs import Inspected
    from edgekit.records import Plan, TensorSpec

LONGEST_NAME = 200  # that is shown whole; a file of a stranger may have any

input_option = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="SHAPE[:TYPE]",
    help="What the model takes for one sample, e.g. 1,3,224,224 or 1,128:int64; once for each input.",
)


@click.command()
@click.argument("model")
@input_option
@click.option(
    "-o",
    "--out",
    default="task.py",
    show_default=True,
    type=click.Path(path_type=Path),
    help="File to write; none is replaced.",
)
def new(model: str, inputs: tuple[str, ...], out: Path) -> None:
    """Write a task file for MODEL: timm:NAME, torchvision:NAME, hf:FOLDER or a model's file; your data goes into it."""
    text = task_text(model, inputs, out.name)
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise UserError(f"{out} exists; give another -o") from error
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    put(f"{out}: read your data in load(), then edgekit export {out}:task -t x86-server -o out")


@click.command()
@click.argument("model")
@input_option
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An argument of the task's function."
)
@json_option
def inspect(model: str, inputs: tuple[str, ...], settings: tuple[str, ...], as_json: bool) -> None:
    """Say what MODEL is and what each target would try, before any work. MODEL is a task or what `new` takes."""
    from edgekit import api
    from edgekit.ladder.planner import plan
    from edgekit.profile.reading import load_target, target_names

    if is_model(model):
        with Scratch() as folder:
            place = folder / "task.py"
            place.write_text(task_text(str(model), inputs, place.name), encoding="utf-8")
            found = api.inspect(f"{place}:task", {})
    else:
        found = api.inspect(model, read_settings(settings))
    profiles = [load_target(name) for name in target_names()]
    plans = [plan(found.facts, profile, {}, profile.default_isa) for profile in profiles]
    if as_json:
        print_json({"model": found, "plans": plans})
        return
    for line in (*_model_lines(found), *_plan_lines(plans)):
        put(line)


def _model_lines(found: "Inspected") -> Iterator[str]:
    yield f"{found.facts.name}: {found.parameters:,} parameters, {found.weights:,} of them weights that are read"
    yield from (_tensor("input", spec) for spec in found.inputs)
    yield from (_tensor("output", spec) for spec in found.outputs)
    yield from (f"free axis: {text}" for text in found.free)
    macs = found.facts.macs
    if macs is not None:
        kinds = ("convolution", "linear", "recurrent", "attention")
        shares = [f"{getattr(macs, kind):.0%} {kind}" for kind in kinds if getattr(macs, kind)]
        yield f"multiply-accumulates of one sample: {macs.count:,} ({', '.join(shares) or 'none of a known kind'})"
    yield from (f"doubt: {text}" for text in found.doubts)


def _tensor(what: str, spec: "TensorSpec") -> str:
    name = spec.name if len(spec.name) <= LONGEST_NAME else f"{spec.name[:LONGEST_NAME]}..."
    return f"{what} {name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]"


def _plan_lines(plans: "list[Plan]") -> Iterator[str]:
    for made in plans:
        tried = ", ".join(recipe.name for recipe in made.recipes[:4])
        more = f", {len(made.recipes) - 4} more" if made.recipes[4:] else ""
        yield f"{made.target}: would try {tried}{more}" if made.recipes else f"{made.target}: nothing to try"
        yield from (f"  {skipped.technique} left out: {skipped.reason}" for skipped in made.skipped)
