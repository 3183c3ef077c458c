"""The runner's median beside that of a bare loop in the same runtime.

After each process of a `bench` the bare loop of `_bare.py` runs in a process of its own, so both take as many
processes under the same conditions. What is compared is the median over the medians of all processes.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from trust._place import Place
from trust._records import Row, judged

TRIALS = {"onnx": 2, "tflite": 2}
WITHIN_RATIO = 0.03


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """One `bench`, with a bare loop after each of its processes."""
    model = f"conv20.{kind}"
    loops: list[dict[str, float]] = []
    count, seconds = (20, 0.05) if place.quick else (17, 0.5)  # a sixth of the default protocol

    def after_each(text: str) -> None:
        loops.extend(place.bare([place.path(model)], count, seconds))

    record = place.bench(model, after_each)
    kept = [process["counted"] for process in record["processes"]]
    return {
        "model": model,
        "verdict": record["validity"]["verdict"],
        "runner_p50_s": record["latency"]["p50_s"],
        "runner_cpu_p50_s": record["latency"]["cpu_p50_s"],
        "runner_processes": [
            {key: p[key] for key in ("p50_s", "cpu_p50_s", "counted")} for p in record["processes"]
        ],
        "bare_processes": [loop | {"counted": yes} for loop, yes in zip(loops, kept, strict=True)],
    }


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """One row a runtime, all benches of it together."""
    return tuple(_row(kind, trials) for kind, trials in found.items() if trials)


def _row(kind: str, trials: Sequence[Mapping[str, Any]]) -> Row:
    ratios = {}
    for clock in ("p50_s", "cpu_p50_s"):
        ours, bare = ([p for t in trials for p in _medians(t, who, clock)] for who in ("runner", "bare"))
        ratios[clock] = median(ours) / median(bare)
    each = [median(_medians(t, "runner", "p50_s")) / median(_medians(t, "bare", "p50_s")) for t in trials]
    disturbed = sum(t["verdict"] == "disturbed" for t in trials)
    figure = (
        f"wall {ratios['p50_s'] - 1:+.2%} of {median(bare) * 1e3:.2f} ms (each bench: "
        f"{', '.join(f'{r - 1:+.2%}' for r in each)}), CPU {ratios['cpu_p50_s'] - 1:+.2%}; "
        f"{len(bare)} processes each; {disturbed} of {len(trials)} disturbed"
    )
    holds = abs(ratios["p50_s"] - 1) <= WITHIN_RATIO
    what, claim = f"median against a bare loop, conv20.{kind}", f"within {WITHIN_RATIO:.0%}"
    return judged("bare", what, len(trials), TRIALS[kind], figure, claim, holds)


def _medians(trial: Mapping[str, Any], who: str, clock: str) -> list[float]:
    """The figures of the processes that the runner counted, and of the bare loops that ran after these."""
    return [process[clock] for process in trial[f"{who}_processes"] if process["counted"]]
