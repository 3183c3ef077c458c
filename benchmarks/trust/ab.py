"""A/B: a true difference of 10 % must be found, within a minute.

The two models are 22 and 20 of the same layer, each is the artifact in half of the comparisons. That the true
ratio of CPU time is 1.10 is checked by bare loops that know nothing of the runner.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from trust._place import Place
from trust._records import Row, judged, told

TRIALS = {"bare pair": 3, "comparison": 10}
TRUE_RATIO, TRUE_BAND = 1.10, 0.02
LEAST_RATIO, MOST_S = 9 / 10, 60.0
_KEPT = (
    "verdict", "cpu_p50_ratio", "cpu_p50_ci95_low_ratio", "cpu_p50_ci95_high_ratio", "wall_p50_ratio",
    "elapsed_s", "validity",
)  # fmt: skip


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """One bare loop over both models in turns, or one comparison."""
    if kind == "bare pair":
        count, seconds = (50, 0.1) if place.quick else (1000, 10.0)
        long, short = place.bare([place.path("conv22.onnx"), place.path("conv20.onnx")], count, seconds)
        return {
            "cpu_ratio": long["cpu_p50_s"] / short["cpu_p50_s"],
            "wall_ratio": long["p50_s"] / short["p50_s"],
            "runs_count": long["runs_count"],
            "short_p50_s": short["p50_s"],
        }
    slower = index % 2 == 0
    found = place.compare(*(("conv22.onnx", "conv20.onnx")[:: 1 if slower else -1]))
    return {"truth": "slower" if slower else "faster"} | {key: found[key] for key in _KEPT}


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """The true ratio, then how often it was found."""
    made = []
    if loops := found["bare pair"]:
        ratio = median(loop["cpu_ratio"] for loop in loops)
        spread = ", ".join(f"{loop['cpu_ratio']:.3f}" for loop in loops)
        made.append(
            judged(
                "ab", "true CPU ratio by bare loops", len(loops), TRIALS["bare pair"],
                f"{ratio:.3f} ({spread}; {loops[0]['runs_count']} runs of {loops[0]['short_p50_s'] * 1e3:.1f} ms each)",
                f"{TRUE_RATIO:.2f} by construction, +-{TRUE_BAND}", abs(ratio - TRUE_RATIO) <= TRUE_BAND,
            )
        )  # fmt: skip
    if trials := found["comparison"]:
        made += _comparisons(trials)
    return tuple(made)


def _comparisons(trials: Sequence[Mapping[str, Any]]) -> list[Row]:
    n = len(trials)
    right = sum(t["verdict"] == t["truth"] and t["elapsed_s"] <= MOST_S for t in trials)
    # a ratio of the faster over the slower is turned round, so that all are of the same difference
    ratios = [t["cpu_p50_ratio"] if t["truth"] == "slower" else 1 / t["cpu_p50_ratio"] for t in trials]
    elapsed = [t["elapsed_s"] for t in trials]
    return [
        judged(
            "ab", f"difference found within {MOST_S:.0f} s", n, TRIALS["comparison"], f"{right} of {n}",
            f"at least {LEAST_RATIO:.0%}", right >= LEAST_RATIO * n,
        ),
        told("ab", "measured CPU ratio", n, f"median {median(ratios):.3f}, {min(ratios):.3f} to {max(ratios):.3f}"),
        told("ab", "time of a comparison", n, f"median {median(elapsed):.1f} s, longest {max(elapsed):.1f} s"),
    ]  # fmt: skip
