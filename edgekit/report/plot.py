"""The geometry of the size-against-accuracy plot; the template draws it.

No plotting library: the drawing is 5 kB of SVG, where plotly would put 4 MB into the page.
"""

import math
import re
from typing import Literal

import msgspec

from edgekit.records import Attempt, Record, Report, TargetReport
from edgekit.report import text
from edgekit.report.drawing import Front, Label, Line, Plot, Point, Tick
from edgekit.report.table import why

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50
OFF_SCALE = 8  # the axis shows drops up to this many times the budget; worse ones are drawn at its edge


class _Spot(Record, frozen=True):
    """A point before scaling."""

    target: int
    size_bytes: int
    metric: float
    kind: Literal["accepted", "refused", "float"]
    title: str
    fronts: tuple[int, ...] = ()  # the targets on whose front it is


class _Scale(Record, frozen=True):
    """Maps values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def plot(report: Report) -> Plot | None:
    """Lays out the plot of a report; None where no artifact has both a size and a metric."""
    spots, left_out = _spots(report)
    if not any(spot.kind != "float" for spot in spots):
        return None
    limits = _limits(report)
    x, y = _x_scale(spots, limits), _y_scale(spots, limits, report)
    points = tuple(_point(number, spot, x, y) for number, spot in enumerate(spots, 1))
    return Plot(
        width=WIDTH,
        height=HEIGHT,
        left=LEFT,
        right=WIDTH - RIGHT,
        top=TOP,
        bottom=HEIGHT - BOTTOM,
        x_ticks=tuple(Tick(at=x(at), label=_round_size(at)) for at in _nice(x.low, x.high)),
        y_ticks=_metric_ticks(y),
        points=points,
        labels=_labels(points),
        lines=_lines(report, limits, x, y),
        left_out=left_out,
        fronts=_fronts(report, spots, points),
    )


def _fronts(report: Report, spots: list[_Spot], points: tuple[Point, ...]) -> tuple[Front, ...]:
    found = []
    for index, target in enumerate(report.targets):
        mine = [point for spot, point in zip(spots, points, strict=True) if index in spot.fronts]
        line = " ".join(f"{point.x},{point.y}" for point in sorted(mine, key=lambda p: (p.x, p.y)))
        if mine:
            found.append(Front(colour=index % 6, points=line, title=f"Pareto front of {target.target}"))
    return tuple(found)


def _on_front(target: TargetReport, attempt: int | None) -> bool:
    """Whether an attempt is on the front of its target.

    Only where every recipe was tried: elsewhere the front is that of whatever happened to come first.
    """
    return target.explored and any(p.on_front for p in target.points if p.attempt == attempt)


def _spots(report: Report) -> tuple[list[_Spot], tuple[str, ...]]:
    """What can be drawn, the float files last, and a line for each attempt that cannot."""
    spots: list[_Spot] = []
    left_out: list[str] = []
    for index, target in enumerate(report.targets):
        for number, attempt in enumerate(target.attempts):
            spot = _attempted(index, target, number)
            if spot is None:
                left_out.append(f"{target.target}, {attempt.recipe.name}: {why(attempt)}")
            else:
                spots.append(spot)
    return [*spots, *_float_files(report)], tuple(left_out)


def _float_files(report: Report) -> list[_Spot]:
    """The float model as each format stores it; targets that share a file share the point."""
    found: dict[tuple[str, int], _Spot] = {}
    for index, target in enumerate(report.targets):
        if target.baseline is not None:
            kind, size = target.baseline.format, target.baseline.size_bytes
            words = f"float model as {kind}: {text.size(size)}, {text.metric(report.float_metric)}"
            spot = _Spot(target=index, size_bytes=size, metric=report.float_metric, kind="float", title=words)
            first = found.setdefault((kind, size), spot)
            if _on_front(target, None):
                found[kind, size] = msgspec.structs.replace(first, fronts=(*first.fronts, index))
    return list(found.values())


def _attempted(index: int, target: TargetReport, number: int) -> _Spot | None:
    attempt: Attempt = target.attempts[number]
    if attempt.artifact is None or attempt.verdict is None:
        return None
    kind: Literal["accepted", "refused"] = "accepted" if attempt.decision.accepted else "refused"
    figures = f"{text.size(attempt.artifact.size_bytes)}, {text.metric(attempt.verdict.metric)}"
    words = f"{target.target}, {attempt.recipe.name}: {figures}, {kind}: {why(attempt)}"
    return _Spot(
        target=index,
        size_bytes=attempt.artifact.size_bytes,
        metric=attempt.verdict.metric,
        kind=kind,
        title=words,
        fronts=(index,) if _on_front(target, number) else (),
    )


def _limits(report: Report) -> dict[tuple[Literal["x", "y"], float], list[str]]:
    """Maps every limit of size and metric to the targets it holds for."""
    found: dict[tuple[Literal["x", "y"], float], list[str]] = {}
    for target in report.targets:
        budget = report.budget or target.plan.budget
        found.setdefault(("y", report.float_metric - budget.max_drop), []).append(target.target)
        if budget.max_size_bytes is not None:
            found.setdefault(("x", float(budget.max_size_bytes)), []).append(target.target)
    return found


def _lines(
    report: Report, limits: dict[tuple[Literal["x", "y"], float], list[str]], x: _Scale, y: _Scale
) -> tuple[Line, ...]:
    lines = [Line(axis="y", at=y(report.float_metric), label="float model", kind="float")]
    for (axis, value), names in limits.items():
        scope = "" if len(names) == len(report.targets) else f" ({', '.join(names)})"
        if axis == "y":
            lines.append(
                Line(
                    axis=axis,
                    at=y(value),
                    label=f"budget: at least {text.metric(value)}{scope}",
                    kind="budget",
                )
            )
        else:
            words = f"budget: at most {text.size(round(value))}{scope}"
            lines.append(Line(axis=axis, at=x(value), label=words, kind="budget"))
    return tuple(lines)


def _x_scale(spots: list[_Spot], limits: dict[tuple[Literal["x", "y"], float], list[str]]) -> _Scale:
    sizes = [spot.size_bytes for spot in spots] + [value for (axis, value) in limits if axis == "x"]
    return _Scale(low=0, high=max(1, max(sizes)) * 1.08, start=LEFT, end=WIDTH - RIGHT)


def _y_scale(
    spots: list[_Spot], limits: dict[tuple[Literal["x", "y"], float], list[str]], report: Report
) -> _Scale:
    allowed = [value for (axis, value) in limits if axis == "y"]
    values = [spot.metric for spot in spots] + allowed + [report.float_metric]
    drop = report.float_metric - min(allowed)
    low = max(min(values), report.float_metric - OFF_SCALE * drop) if drop > 0 else min(values)
    margin = max((max(values) - low) * 0.12, abs(report.float_metric) * 1e-4, 1e-9)
    return _Scale(low=low - margin, high=max(values) + margin, start=HEIGHT - BOTTOM, end=TOP)


def _point(number: int, spot: _Spot, x: _Scale, y: _Scale) -> Point:
    shapes: tuple[Literal["circle", "square", "diamond", "triangle"], ...] = (
        "circle",
        "square",
        "diamond",
        "triangle",
    )
    off_scale = spot.metric < y.low
    return Point(
        number=number,
        x=x(spot.size_bytes),
        y=y(max(spot.metric, y.low)),
        shape=shapes[spot.target % len(shapes)],
        colour=spot.target % 6,
        kind=spot.kind,
        off_scale=off_scale,
        title=spot.title + (" (below the scale of the plot)" if off_scale else ""),
        front=bool(spot.fronts),
    )


def _labels(points: tuple[Point, ...]) -> tuple[Label, ...]:
    """One label for points that overlap, so that no number hides another."""
    spots: list[list[Point]] = []
    for point in points:
        near = (spot for spot in spots if abs(spot[0].x - point.x) < 16 and abs(spot[0].y - point.y) < 12)
        found = next(near, None)
        if found is None:
            spots.append([point])
        else:
            found.append(point)
    return tuple(
        Label(
            x=max(p.x for p in spot) + 6,
            y=min(p.y for p in spot) - 6,
            words=", ".join(str(p.number) for p in spot),
        )
        for spot in spots
    )


def _metric_ticks(y: _Scale) -> tuple[Tick, ...]:
    """The marks with as many decimals as the finest one needs, the same for all."""
    values = _nice(y.low, y.high)
    digits = max((len(f"{at:.10f}".rstrip("0").partition(".")[2]) for at in values), default=0)
    return tuple(Tick(at=y(at), label=f"{at:.{digits}f}") for at in values)


def _round_size(value: float) -> str:
    """Formats `5 MB` where a figure would be `5.00 MB`."""
    return re.sub(r"\.0+ ", " ", text.size(round(value))) if value else "0"


def _nice(low: float, high: float, wanted: int = 6) -> list[float]:
    """Round values between `low` and `high`, about `wanted` of them."""
    rough = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step)
    return [round(index * step, 12) for index in range(first, math.floor(high / step) + 1)]
