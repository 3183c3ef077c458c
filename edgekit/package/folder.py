"""The folder of one target, as `edgekit export` leaves it.

    DIR/<target>/model.*  manifest.json  golden.npz  log.jsonl  logs/     the accepted artifact and its proof
    DIR/baselines/model.*                                                 the float files they were compared with
    DIR/report.json  report.html  SHA256SUMS                              SHA256SUMS in each target's folder, too

Paths in the report are relative to DIR.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgekit.engine.events import EventLog
from edgekit.engine.output import copy_content
from edgekit.golden import golden_atol
from edgekit.package import manifest_content, manifest_file, sums
from edgekit.package.anonymous import Anonymous
from edgekit.records import Artifact, Attempt, Candidate, Report, TargetReport, Traced, convert
from edgekit.target import Target

MOST_LOG_BYTES = 1 << 20  # of one stage's log; the task's code may print anything


def place(
    result: TargetReport,
    target: Target,
    traced: Traced,
    out: Path,
    logs: Sequence[tuple[str, Path]],
    log: EventLog,
) -> TargetReport:
    """Copies what was accepted for one target into `out`.

    Args:
        result: The report of the target.
        target: The target.
        traced: The traced model, with its name, preprocessing and doubts.
        out: The folder of the export.
        logs: (name, file) of what the stages printed.
        log: The events of the run.

    Returns:
        The report with the paths that the files have in `out`.
    """
    folder = out / target.name
    folder.mkdir()
    log.write(target.name, folder / "log.jsonl")
    _keep_logs(logs, folder / "logs")
    chosen, placed = result.chosen, None
    if chosen is not None:
        placed = _place_accepted(chosen, result, target, traced, folder)
    attempts = [_relative(placed if a is chosen and placed else a, out) for a in result.attempts]
    baseline = _place_baseline(result.baseline, out) if result.baseline else None
    return msgspec.structs.replace(result, attempts=tuple(attempts), baseline=baseline, folder=target.name)


def _place_accepted(
    chosen: Attempt, result: TargetReport, target: Target, traced: Traced, folder: Path
) -> Attempt:
    assert chosen.artifact is not None and chosen.verdict is not None
    source = Path(chosen.artifact.path)
    copy_content(source, folder / source.name)
    golden = Path(str(chosen.verdict.golden))
    shutil.copyfile(golden, folder / manifest_file.GOLDEN)
    if chosen.artifact.state:
        shutil.copyfile(golden.with_name(manifest_file.STREAM), folder / manifest_file.STREAM)
    artifact = msgspec.structs.replace(chosen.artifact, path=str(folder / source.name))
    placed = msgspec.structs.replace(chosen, artifact=artifact)
    atol = golden_atol(folder / manifest_file.GOLDEN, artifact.precision)
    content = manifest_content.build(
        result, placed, target, traced.facts.name, traced.preprocessing, atol, folder, traced.doubts
    )
    manifest_file.write(content, folder)
    return placed


def _place_baseline(baseline: Artifact, out: Path) -> Artifact:
    source = Path(baseline.path)
    place = out / "baselines" / source.name
    if not place.exists():
        copy_content(source, place)
    return msgspec.structs.replace(baseline, path=str(place.relative_to(out)))


def _relative(attempt: Attempt, out: Path) -> Attempt:
    """Makes paths inside `out` relative to it; refused attempts, whose files are not kept, lose their folder."""

    def short(path: str) -> str:
        return str(Path(path).relative_to(out)) if Path(path).is_relative_to(out) else Path(path).name

    artifact, candidate, verdict = attempt.artifact, attempt.candidate, attempt.verdict
    return msgspec.structs.replace(
        attempt,
        artifact=artifact and msgspec.structs.replace(artifact, path=short(artifact.path)),
        candidate=candidate and _without_path(candidate),
        verdict=verdict and msgspec.structs.replace(verdict, golden=None),
    )


def _without_path(candidate: Candidate) -> Candidate:
    return msgspec.structs.replace(candidate, program="")


def _keep_logs(logs: Sequence[tuple[str, Path]], folder: Path) -> None:
    """Copies the text log of every child process that worked for this target."""
    for name, log in logs:
        if log.is_file():
            folder.mkdir(exist_ok=True)
            _keep_log(log, folder / name)


def _keep_log(log: Path, place: Path) -> None:
    """Copies a log; of one that the user's code filled, the beginning and the end."""
    size_bytes = log.stat().st_size
    if size_bytes <= MOST_LOG_BYTES:
        shutil.copyfile(log, place)
        return
    half_bytes = MOST_LOG_BYTES // 2
    with log.open("rb") as whole, place.open("wb") as kept:
        kept.write(whole.read(half_bytes))
        kept.write(f"\n... {size_bytes - 2 * half_bytes} bytes left out ...\n".encode())
        whole.seek(-half_bytes, os.SEEK_END)
        kept.write(whole.read())


def finish(report: Report, out: Path, anonymous: Anonymous) -> None:
    """Writes report.json and report.html, then the hashes of all files: of each target's folder, and of the whole.

    Nothing in them, and in what the stages and the run told, names this machine.
    """
    from edgekit.report import html, load

    report = convert(anonymous.data(msgspec.to_builtins(report)), Report)
    load.dump(report, out / load.NAME)
    html.write(report, out / "report.html")
    for single in report.targets:
        folder = out / str(single.folder)
        for log in (folder / "log.jsonl", *folder.glob("logs/*")):
            text = log.read_text(encoding="utf-8", errors="replace")
            log.write_text(anonymous.text(text), encoding="utf-8")
        sums.seal(folder)
    sums.seal(out)
