"""Options that several verbs share, and how their texts are read."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click
from edgekit_runner.protocol import PROTOCOLS

from edgekit.device import TIMEOUT_S
from edgekit.errors import UserError

F = Callable[..., Any]
RUN = (
    "seed",
    "jobs",
    "recipes",
    "explore",
    "resume",
    "stage_timeout_s",
    "keep_work",
    "cache",
    "devices",
    "records",
    "cluster",
    "arm",
)  # the options of `run_options` that deploy takes under the same names


def _read_jobs(_context: click.Context, _option: click.Parameter, text: str) -> int | None:
    """Reads the number of --jobs; None is auto."""
    if text == "auto":
        return None
    if not (text.isascii() and text.isdigit()) or int(text) < 1:
        raise click.BadParameter(f"{text!r} is neither a whole number of at least 1 nor auto")
    return int(text)


def budget_options(command: F) -> F:
    """The options that make a Budget; what is not given comes from the profile."""
    options = [
        click.option("--max-drop", type=float, help="Allowed fall of the metric below float's, e.g. 0.01."),
        click.option(
            "--min-agreement", type=float, help="Share of samples with float's answer at least, e.g. 0.985."
        ),
        click.option("--min-speedup", type=float, help="Float time / artifact time at least, e.g. 1.5."),
        click.option("--max-size", "max_size_bytes", type=int, help="Bytes of the artifact at most."),
        click.option(
            "--max-latency", "max_latency_s", type=float, help="CPU seconds of one inference at most."
        ),
        click.option("--max-memory", "max_memory_bytes", type=int, help="Bytes of peak memory at most."),
        click.option(
            "--min-snr", "min_snr_db", type=float, help="dB that every output keeps to float, in place of 7."
        ),
        click.option(
            "--floor", type=click.Choice(["on", "off"]), help="off: nothing below the metric counts."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def task_options(command: F) -> F:
    """The options that name a task and its targets."""
    options = [
        click.argument("task"),
        click.option(
            "--target",
            "-t",
            "targets",
            multiple=True,
            required=True,
            help="A profile's name, a .toml file, or all.",
        ),
        click.option(
            "--isa",
            help="Instruction set of the machine that will serve, or host. Default: the weakest admitted.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="An argument of the task's function.",
        ),
        click.option(
            "--recipe",
            "recipes",
            multiple=True,
            metavar="STEPS",
            help="In place of the ladder: 'prune(macs=0.5) > distill > qat'. Several are tried in order.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def run_options(command: F) -> F:
    """The options of a run: RUN, and whether its progress is shown on stderr."""
    options = [
        click.option(
            "--seed",
            type=click.IntRange(0, 2**32 - 1),
            default=0,
            show_default=True,
            help="Seed of every random generator.",
        ),
        click.option(
            "--jobs",
            default="auto",
            show_default=True,
            callback=_read_jobs,
            metavar="N",
            help="Stages at once, each of 1 to 4 GB; auto: one a core, as far as memory reaches.",
        ),
        click.option(
            "--explore", is_flag=True, help="Try every recipe and ship the best accepted one, not the first."
        ),
        click.option("--resume", is_flag=True, help="Continue with the finished stages of a stopped run."),
        click.option(
            "--stage-timeout",
            "stage_timeout_s",
            type=click.FloatRange(0),
            metavar="SECONDS",
            help="Wall time after which a stage is taken for hung and ended; 0 is none. Default: 2 hours, more for what trains.",
        ),
        click.option(
            "--keep-work",
            is_flag=True,
            help="Keep the folder of the stages, for python -m edgekit.engine.replay.",
        ),
        click.option(
            "--cache/--no-cache",
            default=True,
            help="Take finished stages from the user's cache and keep them there; see edgekit cache.",
        ),
        click.option(
            "--device",
            "devices",
            multiple=True,
            metavar="DEVICE",
            help="Time there what the device serves: ssh:user@host[:port] or adb:SERIAL. Several.",
        ),
        click.option(
            "--records",
            type=click.Path(path_type=Path),
            metavar="DIR",
            help="Records of edgekit compare --json, measured elsewhere, in place of a device.",
        ),
        click.option(
            "--cluster",
            metavar="ADDRESS",
            help="Run the stages on the workers of a Dask scheduler, such as tcp://host:8786, which share the folder of -o.",
        ),
        click.option(
            "--arm",
            is_flag=True,
            help="Run files for ARM machines on emulated ones, too: right answers, instructions below float's.",
        ),
        click.option("--timings", is_flag=True, help="Print on stderr where the time went."),
        click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def device_options(command: F) -> F:
    """The options that say how to measure on a device."""
    options = [
        click.option(
            "--protocol",
            type=click.Choice(list(PROTOCOLS)),
            default="default",
            show_default=True,
            help="How long and how often to measure.",
        ),
        click.option("--python", help="The Python on the device, where the one found is not the right one."),
        click.option(
            "--timeout",
            "timeout_s",
            type=click.FloatRange(0, min_open=True),
            default=TIMEOUT_S,
            show_default=True,
            help="Seconds of one measurement at most.",
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def read_settings(pairs: tuple[str, ...]) -> dict[str, str]:
    """Reads the KEY=VALUE pairs of --set. Raises UserError for one of another form."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UserError(f"--set {pair!r} is not KEY=VALUE")
        if key in found:
            raise UserError(f"--set {key} is given twice, as {found[key]!r} and {value!r}; give it once")
        found[key] = value
    return found


def read_threads(text: str) -> list[int]:
    """Reads the numbers of --threads, such as 1,2. Raises UserError for anything else."""
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1:
        raise UserError(f"--threads {text!r} is not a list of positive whole numbers, e.g. 1,2")
    return counts


def read_given(budget: Mapping[str, float | str | None]) -> dict[str, float | str]:
    """Keeps only what was given on the command line; the rest comes from each profile."""
    return {key: value for key, value in budget.items() if value is not None}
