"""The Pareto front of what was tried for one target: size, CPU time, loss of accuracy, all to be small.

An artifact is dominated if another is at least as good in each of the three and better in one; those that nothing
dominates are the front, the only ones worth choosing from. A figure that was not measured on the target's own kind of
machine does not count here: two artifacts are compared by what both have.
"""

from collections.abc import Sequence

import msgspec

from edgekit.ladder.selection import deciding_ratio
from edgekit.records import Artifact, Attempt, ParetoPoint, convert

AXES = {"size_bytes": "size", "cpu_ratio": "CPU time", "drop": "metric"}


def points(attempts: Sequence[Attempt], baseline: Artifact | None) -> tuple[ParetoPoint, ...]:
    """Returns every executed attempt, and the float file where no attempt is it; each says whether it is on the front."""
    found = [point for i, attempt in enumerate(attempts) if (point := _point(i, attempt)) is not None]
    tried = {attempt.artifact.sha256 for attempt in attempts if attempt.artifact is not None}
    if baseline is not None and baseline.sha256 not in tried:
        found.append(_float(baseline))
    return tuple(
        msgspec.structs.replace(point, on_front=not any(dominates(other, point) for other in found))
        for point in found
    )


def dominates(a: ParetoPoint, b: ParetoPoint) -> bool:
    """Whether `a` is at least as good as `b` wherever both have a figure, and better in something."""
    pairs = [(getattr(a, axis), getattr(b, axis)) for axis in AXES]
    both = [(x, y) for x, y in pairs if x is not None and y is not None]
    return all(x <= y for x, y in both) and any(x < y for x, y in both)


def _point(index: int, attempt: Attempt) -> ParetoPoint | None:
    if attempt.artifact is None:
        return None
    figures = {
        "size_bytes": attempt.artifact.size_bytes,
        "cpu_ratio": deciding_ratio(attempt),
        "drop": None if attempt.verdict is None else attempt.verdict.drop,
    }
    missing = tuple(name for axis, name in AXES.items() if figures[axis] is None)
    return convert(
        {"name": attempt.recipe.name, "attempt": index, "on_front": False, "missing": missing, **figures},
        ParetoPoint,
    )


def _float(baseline: Artifact) -> ParetoPoint:
    return ParetoPoint(
        name="float file",
        attempt=None,
        size_bytes=baseline.size_bytes,
        cpu_ratio=1.0,
        drop=0.0,
        on_front=False,
    )
