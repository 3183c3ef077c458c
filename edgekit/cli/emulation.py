"""`edgekit verify --arm`: its options, and how what was found is printed."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import F
from edgekit.cli.printing import print_json, put, say
from edgekit.errors import UserError

if TYPE_CHECKING:
    from edgekit.package.on_arm import ArmProof
    from edgekit.records import EmulatedRun

NO_TIME = "Counted by {emulator} on emulated CPUs, one thread: no cache, no memory and no time is in a count."
OPTIONS = {"cpus": "--cpu", "inputs": "--inputs", "counts": "--counts", "runs": "--runs"}


def arm_options(command: F) -> F:
    """The options that run a folder on emulated ARM CPUs."""
    options = [
        click.option(
            "--arm",
            is_flag=True,
            help="Run it on emulated ARM CPUs, too: answers against this machine's, and instructions.",
        ),
        click.option(
            "--cpu", "cpus", multiple=True, metavar="NAME", help="With --arm: cortex-a72 or cortex-a76 alone."
        ),
        click.option(
            "--inputs",
            type=click.Path(path_type=Path),
            metavar="NPZ",
            help="With --arm: input_0.. to compare by, samples first.",
        ),
        click.option(
            "--counts",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="With --arm: write the counts, for edgekit check.",
        ),
        click.option(
            "--runs", type=click.IntRange(1, 100), metavar="N", help="With --arm: inferences to count (5)."
        ),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def prove(folder: Path, given: dict[str, Any], as_json: bool) -> int:
    """Runs the folder on ARM, prints what was found, and returns the exit code."""
    from edgekit.package import on_arm

    asked = on_arm.Asked(
        cpus=tuple(given["cpus"]), inputs=str(given["inputs"] or ""), runs=given["runs"] or 5
    )
    found = on_arm.prove(folder, asked, say)
    print_json(found) if as_json else _print(found)
    if given["counts"]:
        on_arm.write_counts(given["counts"], found)
    return on_arm.exit_code(found)


def check(is_arm: bool, given: dict[str, Any]) -> None:
    """Raises UserError for options of --arm without it."""
    said = [option for name, option in OPTIONS.items() if given[name]]
    if said and not is_arm:
        raise UserError(f"{said[0]} belongs to --arm; give that, too")


def _print(found: list["ArmProof"]) -> None:
    rows: list[tuple[str, ...]] = [
        ("target", "CPU (emulated)", "answers", "instructions of an inference", "of float", "verdict")
    ]
    rows += [_cells(each.target, run) for each in found for run in each.runs]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        put("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    put(NO_TIME.format(emulator=next(run.emulator for each in found for run in each.runs)))
    for each in found:
        if each.left_out:
            put(f"{each.target} was not run: {each.left_out}")


def _cells(target: str, run: "EmulatedRun") -> tuple[str, ...]:
    if run.count is None:
        return target, run.cpu, "-", "-", "-", f"failed: {run.reason}"
    top1 = "" if run.top1_ratio is None else f", {100 * run.top1_ratio:.4g} % same top-1"
    answers = (
        f"n={run.samples}{top1}, {100 * (run.equal_ratio or 0):.4g} % of values bit-equal, "
        f"off by {run.max_abs_error or 0:.3g} of {run.atol or 0:.3g}"
    )
    counts, ratio = run.count.runs, run.count.ratio
    middle = run.count.instructions_per_inference
    spread = f"{middle / 1e6:.2f} M [{min(counts) / 1e6:.2f}, {max(counts) / 1e6:.2f}], n={len(counts)}"
    return target, run.cpu, answers, spread, "-" if ratio is None else f"{ratio:.3f}", "ok"
