"""Where the time of a run went: its stages, the slowest first, each with its share of all of them.

Stages run side by side, so that their wall times add up to more than the run's; the share is of that sum. A reused stage cost
this run nothing and counts as nothing.
"""

from collections.abc import Iterator

from edgekit.records import Record, Report, StageTime
from edgekit.report import text

SHOWN = 12  # rows of the table; the others are one line


class Timed(Record, frozen=True):
    """One stage of the run.

    Attributes:
        target: Whose it is; empty for work that all targets share.
        share: Of the wall time of all stages that were run.
    """

    target: str
    time: StageTime
    share: float


def timed(report: Report) -> tuple[Timed, ...]:
    """Returns every stage once, the slowest first, those that were reused last."""
    found = {(time.stage, time.wall_s): (target, time) for target, time in _all(report)}
    whole_s = sum(_spent_s(time) for _, time in found.values()) or 1.0
    rows = [
        Timed(target=target, time=time, share=_spent_s(time) / whole_s) for target, time in found.values()
    ]
    return tuple(sorted(rows, key=lambda row: -row.share))


def lines(report: Report) -> list[str]:
    """Returns the table as lines of plain text."""
    rows = timed(report)
    run = [row for row in rows if not row.time.reused]
    whole_s = sum(row.time.wall_s for row in run)
    spent = f", {text.seconds(whole_s)} of wall time side by side" if run else ""
    found = [f"stages run: {len(run)}{spent}; reused: {len(rows) - len(run)}"]
    for row in run[:SHOWN]:
        cpu = "" if row.time.cpu_s is None else f", {text.seconds(row.time.cpu_s)} CPU"
        found.append(
            f"  {row.share:4.0%}  {text.seconds(row.time.wall_s):>8} wall{cpu}  {row.target or 'all targets'}: {row.time.stage}"
        )
    if run[SHOWN:]:
        rest_s = sum(row.time.wall_s for row in run[SHOWN:])
        found.append(f"        {text.seconds(rest_s):>8} wall  {len(run) - SHOWN} more")
    return found


class Bar(Record, frozen=True):
    """One line of the chart: a stage, and the length of its bar relative to the longest."""

    name: str
    wall: str
    percent: int


def bars(report: Report) -> tuple[Bar, ...]:
    """Returns the slowest stages that were run, as a page draws them."""
    run = [row for row in timed(report) if not row.time.reused][:SHOWN]
    return tuple(
        Bar(
            name=f"{row.target or 'all targets'}: {row.time.stage}",
            wall=text.seconds(row.time.wall_s),
            percent=round(100 * row.time.wall_s / run[0].time.wall_s) if run[0].time.wall_s else 0,
        )
        for row in run
    )


def _all(report: Report) -> Iterator[tuple[str, StageTime]]:
    """The stages of all attempts; what targets share is named by each of them."""
    shared = [time for target in report.targets for a in target.attempts for time in a.stages]
    common = {(t.stage, t.wall_s) for t in shared if sum(o == t for o in shared) > 1}
    yield from (("", time) for time in report.stages)
    for target in report.targets:
        for attempt in target.attempts:
            for time in attempt.stages:
                yield ("" if (time.stage, time.wall_s) in common else target.target), time


def _spent_s(time: StageTime) -> float:
    return 0.0 if time.reused else time.wall_s
