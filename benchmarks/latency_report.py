"""The results of latency_pruning.py, and their tables: accuracy at equal latency, what was foretold, every plan."""

import statistics
from collections.abc import Callable, Sequence
from itertools import pairwise

import result_file
from result_file import spread

from edgekit.records import Precision, Record, WidthTable

LEVELS = (0.9, 0.8, 0.7, 0.6)


class Row(Record):
    """One plan. widths: by root. macs: the share left. metric: after recalibration; recovered: after `images` of training, seed by seed.
    foretold, measured: share of the whole network's time, by precision."""

    name: str
    family: str
    macs: float
    widths: dict[str, int]
    metric: float
    foretold: dict[str, float] = {}
    measured: dict[str, float] = {}
    recovered: tuple[float, ...] = ()
    images: int = 0


class Results(Record):
    base_metric: float = 0.0
    base_s: dict[str, float] = {}
    tables: dict[str, WidthTable] = {}
    rows: tuple[Row, ...] = ()


def nearest(rows: Sequence[Row], precision: Precision, level: float) -> list[str]:
    """The plan of each family whose measured time is nearest to the level; of latency, the family of the precision."""
    families = dict.fromkeys(row.family for row in rows if _counts(row.family, precision))
    found = []
    for family in families:
        timed = [row for row in rows if row.family == family and precision in row.measured]
        if timed:
            found.append(min(timed, key=lambda row: abs(row.measured[precision] - level)).name)
    return found


def _counts(family: str, precision: str) -> bool:
    return not family.startswith("latency") or family == f"latency {precision}"


def report(results: Results, precisions: Sequence[Precision]) -> str:
    """Markdown: accuracy at equal latency, what was foretold, and every plan."""
    parts = [f"whole net: {100 * results.base_metric:.2f}"]
    for precision in precisions:
        rows = [row for row in results.rows if precision in row.measured]
        if rows:
            base = results.base_s.get(precision, 0) * 1e3
            parts += [
                "",
                f"## {precision}: {base:.3f} ms",
                "",
                *_at_levels(rows, precision),
                "",
                *_errors(rows, precision),
            ]
    return "\n".join([*parts, "", *_plans(results.rows, precisions)])


def _at_levels(rows: Sequence[Row], precision: Precision) -> list[str]:
    """The metric after recalibration of each family, linear between its plans, at equal measured time."""
    lines = [["family", *(f"at {level:g}" for level in LEVELS), "recovered (time)"]]
    for family in dict.fromkeys(row.family for row in rows if _counts(row.family, precision)):
        points = sorted((row.measured[precision], row.metric) for row in rows if row.family == family)
        won = [
            f"{_points(row)} ({row.measured[precision]:.2f})"
            for row in rows
            if row.family == family and row.recovered
        ]
        values = [_between(points, level) for level in LEVELS]
        lines.append(
            [family, *(f"{100 * v:.1f}" if v is not None else "-" for v in values), ", ".join(won) or "-"]
        )
    return result_file.markdown(lines)


def _points(row: Row) -> str:
    return spread([100 * metric for metric in row.recovered], 2)


def _between(points: Sequence[tuple[float, float]], level: float) -> float | None:
    """The best that the family has at no more than this time, linear where two plans enclose it."""
    below = [metric for time, metric in points if time <= level]
    inside = [
        a + (b - a) * (level - x) / (y - x)
        for (x, a), (y, b) in pairwise(points)
        if x <= level <= y and y > x
    ]
    found = [*below, *inside]
    return max(found) if found else None


def _errors(rows: Sequence[Row], precision: Precision) -> list[str]:
    """measured / foretold - 1."""
    lines = [["plans", "median error", "worst", "median signed"]]
    kinds: list[tuple[str, Callable[[Row], bool]]] = [
        ("chosen by the table", lambda row: row.family == f"latency {precision}"),
        ("others in multiples", lambda row: "multiples" in row.family),
        ("any width", lambda row: "any width" in row.family),
    ]
    for kind, of_kind in kinds:
        errors = [row.measured[precision] / row.foretold[precision] - 1 for row in rows if of_kind(row)]
        if errors:
            sizes = [abs(e) for e in errors]
            lines.append(
                [
                    kind,
                    f"{statistics.median(sizes):.3f}",
                    f"{max(sizes):.3f}",
                    f"{statistics.median(errors):+.3f}",
                ]
            )
    return result_file.markdown(lines)


def _plans(rows: Sequence[Row], precisions: Sequence[Precision]) -> list[str]:
    head = [
        "plan",
        "MACs",
        "metric",
        *(f"{what} {p}" for p in precisions for what in ("foretold", "measured")),
    ]
    lines = [[*head, "recovered"]]
    for row in rows:
        times = [
            f"{found[p]:.3f}" if p in found else "-"
            for p in precisions
            for found in (row.foretold, row.measured)
        ]
        won = f"{_points(row)} ({row.images} images)" if row.recovered else "-"
        lines.append([row.name, f"{row.macs:.3f}", f"{100 * row.metric:.2f}", *times, won])
    return result_file.markdown(lines)
