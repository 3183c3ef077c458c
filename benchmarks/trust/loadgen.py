"""The 90th percentile beside that of MLPerf LoadGen, scenario SingleStream, on the same model.

Each trial is a test by LoadGen and a `bench`, in turns first. LoadGen issues the queries and takes the times by its
own clock; it needs the package mlcommons-loadgen.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from edgekit_runner import api

from trust._place import Place, finished
from trust._records import Row, judged

TRIALS = {"pair": 6}
WITHIN_RATIO = 0.05
MODEL = "conv20.onnx"
_SECONDS, _QUICK_SECONDS = 10.0, 0.3


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """One test by LoadGen and one `bench`."""
    order = (_theirs, _ours) if index % 2 == 0 else (_ours, _theirs)
    return {key: value for part in order for key, value in part(place).items()}


def _theirs(place: Place) -> dict[str, Any]:
    seconds = _QUICK_SECONDS if place.quick else _SECONDS
    record = finished(api.loadgen(place.spec(MODEL, duration_s=seconds, scenario="SingleStream")))
    found = record["loadgen"]
    keys = ("p50_s", "p90_s", "early_stopping_p90_s", "queries_count", "result_valid", "version")
    return {f"loadgen_{key}": found[key] for key in keys} | {"loadgen_verdict": record["validity"]["verdict"]}


def _ours(place: Place) -> dict[str, Any]:
    record = place.bench(MODEL)
    keys = ("p50_s", "p90_s", "runs_count")
    found = {f"bench_{key}": record["latency"][key] for key in keys}
    return found | {"bench_verdict": record["validity"]["verdict"]}


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """One row. A test that LoadGen itself calls invalid does not count as agreement."""
    trials = found["pair"]
    if not trials:
        return ()
    theirs, ours = (median(t[f"{who}_p90_s"] for t in trials) for who in ("loadgen", "bench"))
    half = median(t["bench_p50_s"] for t in trials) / median(t["loadgen_p50_s"] for t in trials)
    each = [t["bench_p90_s"] / t["loadgen_p90_s"] - 1 for t in trials]
    invalid = sum(not t["loadgen_result_valid"] for t in trials)
    disturbed = sum("disturbed" in (t["loadgen_verdict"], t["bench_verdict"]) for t in trials)
    figure = (
        f"{ours * 1e3:.2f} against {theirs * 1e3:.2f} ms: {ours / theirs - 1:+.2%} (pairs {min(each):+.2%} to "
        f"{max(each):+.2%}), p50 {half - 1:+.2%}; {invalid} invalid by LoadGen, {disturbed} pairs disturbed"
    )
    holds = abs(ours / theirs - 1) <= WITHIN_RATIO and invalid == 0
    what, claim = f"p90 against LoadGen SingleStream, {MODEL}", f"within {WITHIN_RATIO:.0%}"
    return (judged("loadgen", what, len(trials), TRIALS["pair"], figure, claim, holds),)
