"""Every recipe of an explored target in one table, with a mark on those on the Pareto front."""

from typing import Literal

from edgekit.records import ParetoPoint, Record, Report, TargetReport
from edgekit.report import text
from edgekit.report.cells import MISSING

ON_FRONT = "●"
LEGEND = f"{ON_FRONT} on the Pareto front: nothing else is at least as small, fast and accurate and better in one of them."
HEADINGS = {
    "front": "Front",
    "target": "Target",
    "recipe": "Recipe",
    "size": "Size",
    "metric": "Metric against float",
    "latency": "CPU time / float",
    "verdict": "Verdict",
}


class Tried(Record, frozen=True):
    """One executed artifact, ready to print."""

    front: str
    target: str
    recipe: str
    size: str
    metric: str
    latency: str
    verdict: Literal["shipped", "accepted", "refused", "reference"]

    @property
    def cells(self) -> tuple[str, ...]:
        """The columns, in the order of HEADINGS."""
        return tuple(getattr(self, name) for name in HEADINGS)


def tried(report: Report) -> tuple[Tried, ...]:
    """The artifacts of all explored targets, smallest first within each."""
    return tuple(
        _row(target, point)
        for target in report.targets
        if target.explored
        for point in sorted(target.points, key=lambda p: p.size_bytes)
    )


def _row(target: TargetReport, point: ParetoPoint) -> Tried:
    return Tried(
        front=ON_FRONT if point.on_front else "",
        target=target.target,
        recipe=point.name,
        size=text.size(point.size_bytes),
        metric=MISSING if point.drop is None else text.change(-point.drop),
        latency=MISSING if point.cpu_ratio is None else text.times(point.cpu_ratio),
        verdict=_verdict(target, point),
    )


def _verdict(
    target: TargetReport, point: ParetoPoint
) -> Literal["shipped", "accepted", "refused", "reference"]:
    if point.attempt is None:
        return "reference"
    if point.attempt == target.shipped:
        return "shipped"
    return "accepted" if target.attempts[point.attempt].decision.accepted else "refused"
