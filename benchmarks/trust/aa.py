"""A/A: an artifact compared with itself must not be called faster or slower.

Half of the comparisons are of an ONNX file, half of a TFLite file. The interval at tolerance 0 is shown beside the
claim: a 95 % interval that is right excludes 1 in one comparison of twenty.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from edgekit_runner.stats import ratio as comparison

from trust._place import Place
from trust._records import Row, judged, told

TRIALS = {"itself": 40}
ALLOWED_RATIO = 2 / 40
_KEPT = (
    "verdict", "tolerance_ratio", "decided_by", "cpu_p50_ratio", "cpu_p50_ci95_low_ratio",
    "cpu_p50_ci95_high_ratio", "wall_p50_ratio", "rounds_count", "processes_count", "elapsed_s", "validity",
)  # fmt: skip


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """One comparison of a model with itself."""
    model = ("conv20.onnx", "conv20.tflite")[index % 2]
    found = place.compare(model, model)
    return {"model": model} | {key: found[key] for key in _KEPT}


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """Wrong verdicts; then what the intervals look like."""
    trials = found["itself"]
    if not trials:
        return ()
    n, full = len(trials), TRIALS["itself"]
    wrong = sum(trial["verdict"] != "inconclusive" for trial in trials)
    allowed = int(ALLOWED_RATIO * n)
    ends = [(t["cpu_p50_ci95_low_ratio"], t["cpu_p50_ci95_high_ratio"]) for t in trials]
    excluded = sum(comparison.verdict(low, high, 0.0) != "inconclusive" for low, high in ends)
    halves = [(high - low) / 2 for low, high in ends]
    off = [abs(t["cpu_p50_ratio"] - 1) for t in trials]
    disturbed = sum(t["validity"]["verdict"] != "ok" for t in trials)
    return (
        judged(
            "aa", f"wrong verdicts at tolerance {trials[0]['tolerance_ratio']:.0%}", n, full, f"{wrong} of {n}",
            f"at most {ALLOWED_RATIO:.0%}: {allowed} of {n}", wrong <= allowed,
        ),
        told("aa", "95 % intervals that exclude 1", n, f"{excluded} of {n}"),
        told("aa", "half-width of the interval", n, f"median {median(halves):.2%}, largest {max(halves):.2%}"),
        told("aa", "distance of the ratio from 1", n, f"median {median(off):.2%}, largest {max(off):.2%}"),
        told("aa", "comparisons not undisturbed", n, f"{disturbed} of {n}"),
        told("aa", "time of a comparison", n, f"median {median(t['elapsed_s'] for t in trials):.1f} s"),
    )  # fmt: skip
