"""Instruction counts of an artifact against those of a baseline that was committed, a row a CPU."""

from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import UserError
from edgekit.package.budget_file import TargetLimits
from edgekit.package.budget_row import Row, at_most, row
from edgekit.records.instructions import SCHEMA_VERSION, InstructionCount, Instructions
from edgekit.records.manifest import Manifest
from edgekit.records.record_file import Words, read_record

MAKES = "`edgekit verify DIR --arm --counts FILE` writes them"
WORDS = Words("instruction counts", MAKES, f"count again: {MAKES}")
NO_TIME = "emulated, no time"
MAX_MORE = 0.03  # of the baseline's: ONNX Runtime's counts differ by one or two percent from run to run


def rows(name: str, manifest: Manifest, limits: TargetLimits, beside: Path) -> Iterator[Row]:
    """The limits of instructions of one target.

    Args:
        name: The target.
        manifest: Its manifest.
        limits: Its limits.
        beside: The folder that their paths are relative to.

    Raises:
        UserError: A file cannot be read, or is of another artifact.
    """
    if limits.instructions is None:
        if limits.max_instruction_ratio is not None:
            why = f"instructions in [targets.{name}] names no counts; {MAKES}"
            yield at_most(name, "max_instruction_ratio", None, limits.max_instruction_ratio, "", why)
        return
    path = beside / limits.instructions
    found = read(path)
    counts = [count for count in found.counts if count.target == name]
    for count in counts:
        _check_artifact(count, manifest, path)
    if limits.max_instruction_ratio is not None:
        yield from (_of_float(name, count, limits.max_instruction_ratio) for count in counts)
    if limits.instructions_baseline is not None:
        yield from _of_baseline(name, found, read(beside / limits.instructions_baseline), limits)
    if not counts:
        yield Row(
            place=name, what="instructions", found=f"{path} counts none of it; {MAKES}", allowed="one", verdict="not measured"
        )  # fmt: skip


def read(path: Path) -> Instructions:
    """Reads counts. Raises UserError where they cannot be read, or are not what edgekit writes."""
    return read_record(path, Instructions, SCHEMA_VERSION, WORDS)


def _check_artifact(count: InstructionCount, manifest: Manifest, path: Path) -> None:
    if count.artifact_sha256 != manifest.file.sha256:
        raise UserError(
            f"{path} is of another artifact (sha256 {count.artifact_sha256[:16]}, {count.target} has "
            f"{manifest.file.sha256[:16]}); count this one: {MAKES}"
        )


def _of_float(name: str, count: InstructionCount, limit: float) -> Row:
    unit, why = f"of float ({_words(count)}; {NO_TIME})", "the float file was not counted"
    return at_most(name, f"max_instruction_ratio on {count.cpu}", count.ratio, limit, unit, why)


def _of_baseline(name: str, found: Instructions, base: Instructions, limits: TargetLimits) -> Iterator[Row]:
    known = {count.place: count for count in base.counts}
    now = {count.place: count for count in found.counts if count.target == name}
    most = 1 + (MAX_MORE if limits.max_more_instructions is None else limits.max_more_instructions)
    for place in sorted({*now, *(place for place in known if place[0] == name)}):
        what = f"instructions on {place[2]}, {place[3]}"
        if place in now and place in known:
            yield _compared(what, most, (found, now[place]), (base, known[place]))
            continue
        why = "the baseline counts none" if place in now else "not counted now, the baseline did"
        yield Row(place=name, what=what, found=why, allowed=_allowed(most), verdict="not measured")


def _compared(
    what: str,
    most: float,
    one: tuple[Instructions, InstructionCount],
    base: tuple[Instructions, InstructionCount],
) -> Row:
    count, other = one[1], base[1]
    share = count.instructions_per_inference / other.instructions_per_inference
    said = [f"{share:.4g} of the baseline ({_words(count)} against {_words(other)}; {NO_TIME})"]
    if one[0].emulator != base[0].emulator:
        said.append(f"another emulator: {one[0].emulator} against {base[0].emulator}")
    if count.runtime_version != other.runtime_version:
        said.append(f"another {count.runtime}: {count.runtime_version} against {other.runtime_version}")
    return row(count.target, what, "; ".join(said), _allowed(most), share <= most)


def _allowed(most: float) -> str:
    return f"{most:.6g} of the baseline"


def _words(count: InstructionCount) -> str:
    """`25100001 [25099871, 25100412], 5 runs`."""
    return f"{count.instructions_per_inference} [{min(count.runs)}, {max(count.runs)}], n={len(count.runs)}"
