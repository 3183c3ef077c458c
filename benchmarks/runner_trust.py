"""Measures, on this machine, whether the runner's numbers can be trusted, and holds them against its claims.

    python benchmarks/runner_trust.py --json trust.json
    python benchmarks/runner_trust.py --json trust.json --resume
    python benchmarks/runner_trust.py --only aa,light --repeat 2

It takes half an hour on two CPUs that do nothing else; anything else that runs is measured too. Trials are written to
the JSON file one by one, so that a stopped run goes on with --resume. Exit code 1 where a claim fails. See
benchmarks/README.md.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import result_file
import trust
from edgekit_runner import __version__
from trust import _table
from trust._place import Place, check_here, runner_sha256
from trust._records import Results, Row, Settings, Trial

from edgekit.engine.machine import machine_facts
from edgekit.errors import EdgekitError, UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when no claim failed, 1 when one did or a trial could not be made, else that of the error."""
    try:
        results = _run(_arguments(argv))
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(_table.render(results), end="")
    return int(any(row.verdict == "FAIL" for row in results.rows))


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--only", default="", help=f"sections, separated by commas: {', '.join(trust.SECTIONS)}")
    add("--json", type=Path, help="file that the trials are appended to")
    add("--resume", action="store_true", help="keep the trials of the JSON file and add what is missing")
    add("--repeat", type=int, help="most trials of each kind (default: as many as the claim is about)")
    add("--quick", action="store_true", help="tiny models and runs: shows that every section works, no more")
    return parser.parse_args(argv)


def _run(asked: argparse.Namespace) -> Results:
    names = trust.choose(asked.only)
    if asked.repeat is not None and asked.repeat < 1:
        raise UserError(f"--repeat is {asked.repeat}; it must be at least 1")
    check_here()
    kept = result_file.read(asked.json, asked.resume, Results)
    with tempfile.TemporaryDirectory(prefix="runner-trust-") as folder:
        place = Place(Path(folder), asked.quick)
        results = _begin(asked.json, kept, place)
        for name in names:
            for kind, index in _missing(results, name, asked.repeat):
                results = _with(results, _trial(name, kind, index, place))
                _refuse_another_runner(results.settings)
                result_file.write(asked.json, results)
    rows = tuple(row for name in trust.SECTIONS for row in _rows(results, name))
    results = msgspec.structs.replace(results, rows=rows)
    result_file.write(asked.json, results)
    return results


def _begin(path: Path | None, kept: Results | None, place: Place) -> Results:
    """The trials so far. Raises UserError where they are of another runner, other models or another machine."""
    settings = Settings(
        quick=place.quick, runner_version=__version__, runner_sha256=runner_sha256(), models=place.models()
    )
    if kept is None:
        return Results(settings=settings, machine=machine_facts())
    result_file.refuse_others(path, kept.settings, settings)
    if kept.machine != machine_facts():
        raise UserError(
            f"{path} was made on {kept.machine}, now it is {machine_facts()}; give another --json"
        )
    return msgspec.structs.replace(kept, rows=())


def _refuse_another_runner(settings: Settings) -> None:
    """Raises UserError when someone edited the runner while it was measured."""
    if runner_sha256() != settings.runner_sha256:
        raise UserError(
            "the runner's sources changed while it was measured; measure again into another --json"
        )


def _missing(results: Results, name: str, repeat: int | None) -> Iterator[tuple[str, int]]:
    """The trials to make, the kinds of a section in turns; those that failed before once more."""
    done = {(t.kind, t.index) for t in results.trials if t.section == name and not t.reason}
    counts = trust.counts(name, repeat)
    for index in range(max(counts.values())):
        for kind, count in counts.items():
            if index < count and (kind, index) not in done:
                yield kind, index


def _trial(name: str, kind: str, index: int, place: Place) -> Trial:
    section, begin = trust.load(name), time.perf_counter()
    figures, reason = {}, ""
    try:
        figures = section.measure(kind, index, place)
    except EdgekitError as error:
        reason = str(error)
    wall_s = time.perf_counter() - begin
    said = f": failed: {reason}" if reason else ""
    print(
        f"{name}: {kind} {index + 1} of {section.TRIALS[kind]}, {wall_s:.1f} s{said}",
        file=sys.stderr,
        flush=True,
    )
    return Trial(section=name, kind=kind, index=index, wall_s=wall_s, reason=reason, figures=figures)


def _with(results: Results, made: Trial) -> Results:
    """The results with a trial in place of an earlier attempt."""
    key = (made.section, made.kind, made.index)
    others = (t for t in results.trials if (t.section, t.kind, t.index) != key)
    return msgspec.structs.replace(results, trials=(*others, made))


def _rows(results: Results, name: str) -> tuple[Row, ...]:
    """What the trials of a section say; a trial that could not be made fails the section."""
    section = trust.load(name)
    mine = sorted((t for t in results.trials if t.section == name), key=lambda t: t.index)
    found = {kind: [t.figures for t in mine if t.kind == kind and not t.reason] for kind in section.TRIALS}
    rows: tuple[Row, ...] = section.rows(found)
    failed = [t for t in mine if t.reason]
    if failed:
        reasons = tuple(f"{t.kind} {t.index + 1}: {t.reason}" for t in failed)
        what = "trials that could not be made"
        bad = Row(section=name, what=what, n=len(failed), figure="see below", verdict="FAIL", quotes=reasons)
        rows = (*rows, bad)
    return rows


if __name__ == "__main__":
    sys.exit(main())
