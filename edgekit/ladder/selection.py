"""Which of several attempts: the one to ship, and the one that came nearest. Pure functions of what was measured."""

from collections.abc import Sequence

from edgekit.records import Artifact, Attempt, Verdict

TIE_RATIO = 0.02  # CPU ratios within this are not told apart: the smaller file is shipped


def to_ship(attempts: Sequence[Attempt]) -> int | None:
    """Returns the index of the best accepted attempt, None where none was accepted.

    Where the measurement is on_target, the lowest CPU ratio wins, and among ties the smallest file; elsewhere the smallest
    file. Then the higher metric wins, then the cheaper recipe, which was tried first.
    """
    accepted = [i for i, attempt in enumerate(attempts) if attempt.decision.accepted]
    ratios = {i: ratio for i in accepted if (ratio := deciding_ratio(attempts[i])) is not None}
    if ratios:
        lowest = min(ratios.values())
        accepted = [i for i, ratio in ratios.items() if ratio <= lowest * (1 + TIE_RATIO)]
    return min(accepted, key=lambda i: _size_then_metric(attempts[i]), default=None)


def deciding_ratio(attempt: Attempt) -> float | None:
    """Returns its CPU time over float's, if measured on a machine of the target."""
    found = attempt.measurement
    return found.cpu_ratio if found is not None and found.on_target else None


def _size_then_metric(attempt: Attempt) -> tuple[int, float]:
    artifact, verdict = _executed(attempt)
    return artifact.size_bytes, -verdict.metric


def _executed(attempt: Attempt) -> tuple[Artifact, Verdict]:
    assert attempt.artifact is not None and attempt.verdict is not None, "only executed attempts are accepted"
    return attempt.artifact, attempt.verdict


def nearest(attempts: Sequence[Attempt]) -> int | None:
    """Returns the index of the refused attempt that misses its limits by the least; broken promises come last.

    An attempt that was refused before its training has no file that could be looked at.
    """
    refused = [i for i, a in enumerate(attempts) if a.decision.shortfalls and a.artifact is not None]
    return min(refused, key=lambda i: _distance(attempts[i]), default=None)


def _distance(attempt: Attempt) -> tuple[bool, float, int]:
    found = attempt.decision.shortfalls
    excess = [item.excess for item in found if item.excess is not None]
    return len(excess) < len(found), max(excess, default=0.0), len(found)


def describe(attempt: Attempt) -> str:
    """Describes a refused attempt in one line.

    For example `ptq(mse), metric drop 0.0210, 4840000 bytes, limited by max_drop 0.01 (found 0.021)`.
    """
    artifact, verdict = _executed(attempt)
    ratio = deciding_ratio(attempt)
    speed = [] if ratio is None else [f"{ratio:.2f} of float's CPU time"]
    limits = dict.fromkeys(_limit(*item) for item in _named(attempt))
    parts = [attempt.recipe.name, f"metric drop {verdict.drop:.4g}", f"{artifact.size_bytes} bytes", *speed]
    return f"{', '.join(parts)}, limited by {' and '.join(limits)}"


def _named(attempt: Attempt) -> list[tuple[str, float | None, float | None]]:
    return [(item.limit, item.allowed, item.found) for item in attempt.decision.shortfalls]


def _limit(name: str, allowed: float | None, found: float | None) -> str:
    if allowed is None or found is None:
        return f"the {name}"
    return f"{name} {allowed:.6g} (found {found:.6g})"
