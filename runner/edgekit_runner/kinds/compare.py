"""`compare`: which of two artifacts is faster, and how sure that is.

Each process runs both in turns (see `interleave`), so that both meet the same disturbance; several processes,
because where memory lies differs from one to the next and favours one of the two for a process's whole
life. The ratio is the median over all rounds. Its 95 % interval is a two-level bootstrap: processes are drawn
with replacement, then rounds within each (Davison and Hinkley 1997, section 3.8). CPU time decides on one
thread: it barely moves when another program takes the CPU away; with more threads wall time does, because
CPU time does not tell whether they ran side by side. Under 1 the artifact is the faster one.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgekit_runner import record as records
from edgekit_runner import spawn
from edgekit_runner.kinds.bench import verdict_of
from edgekit_runner.protocol import describe as protocol
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts, quantiles

Listener = Callable[[str], None]
Rounds = Sequence[Sequence[float]]
_RESAMPLES_COUNT = 2000


def run(spec: Spec, listener: Listener) -> records.Record:
    """Weighs each alone, then times both. Whatever fails first is in the record."""
    weights: dict[str, Any] = {}
    for whose, single in (("artifact", spec.artifact_alone()), ("baseline", spec.baseline_alone())):
        checked = spawn.run(single)
        if checked["status"] != "ok":
            return _refused(spec, whose, checked)
        weights[f"{whose}_memory"] = checked["memory"]
        listener(f"{whose} proven and weighed")
    parts = []
    share = _share(spec)
    for number in range(1, spec.processes_min_count + 1):
        part = _part(share, swap=number % 2 == 0)
        if part["status"] != "ok":
            return part | weights
        parts.append(part)
        listener(f"process {number} of {spec.processes_min_count}")
    return combine(parts, spec) | weights


def _part(share: Spec, swap: bool) -> records.Record:
    """The rounds of one process. Every second one loads the baseline first, because what is loaded first lies
    elsewhere in memory: an artifact against itself was off by 1 % in favour of the first.
    """
    if not swap:
        return spawn.run(share)
    part = spawn.run(share.swapped())
    if part["status"] == "ok":
        found = part["comparison"]
        found |= {key: [(a, b) for b, a in found[key]] for key in ("rounds_cpu_s", "rounds_wall_s")}
        for process in part["processes"]:
            process |= {key: 1 / process[key] for key in ("cpu_p50_ratio", "wall_p50_ratio")}
    return part


def combine(parts: Sequence[records.Record], spec: Spec) -> records.Record:
    """One record of the rounds of all processes."""
    out = {**parts[0], "protocol": protocol(spec)}
    out["comparison"] = summarize([part["comparison"] for part in parts], spec)
    used = [process for part in parts for process in part["processes"]]
    out["processes"] = used
    out["validity"] = verdict_of(used, 0)
    out["doubts"] = parts[0]["doubts"] + doubts.of_comparison(out, spec)
    return out


def summarize(parts: Sequence[dict[str, Any]], spec: Spec) -> dict[str, Any]:
    """The comparison. Each part is what `interleave` saw in one process: rounds of (artifact, baseline)
    seconds per run.
    """
    out: dict[str, Any] = {
        "processes_count": len(parts),
        "rounds_count": sum(len(part["rounds_cpu_s"]) for part in parts),
        "runs_per_leg_count": parts[0]["runs_per_leg_count"],
        "tolerance_ratio": spec.tolerance_ratio,
        "decided_by": "cpu" if spec.threads_count == 1 else "wall",
    }
    for clock in ("cpu", "wall"):
        rounds = [part[f"rounds_{clock}_s"] for part in parts]
        ratios = sorted(a / b for process in rounds for a, b in process)
        low, high = bootstrap(rounds, spec.seed)
        out |= {
            f"{clock}_p50_ratio": quantiles.median(ratios),
            f"{clock}_p10_ratio": quantiles.quantile(ratios, 10),
            f"{clock}_p90_ratio": quantiles.quantile(ratios, 90),
            f"{clock}_p50_ci95_low_ratio": low,
            f"{clock}_p50_ci95_high_ratio": high,
            f"artifact_{clock}_p50_s": quantiles.median(a for process in rounds for a, _ in process),
            f"baseline_{clock}_p50_s": quantiles.median(b for process in rounds for _, b in process),
        }
    decided_by = out["decided_by"]
    low, high = (out[f"{decided_by}_p50_ci95_{end}_ratio"] for end in ("low", "high"))
    return {**out, "verdict": verdict(low, high, spec.tolerance_ratio)}


def bootstrap(rounds: Sequence[Rounds], seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of the median ratio, over processes and the rounds within them."""
    import numpy as np

    rng = np.random.default_rng(seed)
    ratios = [np.array([a / b for a, b in process]) for process in rounds]
    medians = []
    for _ in range(_RESAMPLES_COUNT):
        drawn = [ratios[i] for i in rng.integers(len(ratios), size=len(ratios))]
        medians.append(np.median(np.concatenate([rng.choice(r, size=len(r)) for r in drawn])))
    low, high = np.percentile(medians, (2.5, 97.5))
    return float(low), float(high)


def verdict(low: float, high: float, tolerance: float) -> str:
    """ "faster" or "slower" only if the whole interval lies beyond the tolerance, else "inconclusive"."""
    if high < 1 - tolerance:
        return "faster"
    return "slower" if low > 1 + tolerance else "inconclusive"


def _share(spec: Spec) -> Spec:
    count = spec.processes_min_count
    seconds = spec.max_duration_s / count
    return replace(
        spec,
        rounds_count=math.ceil(spec.rounds_count / count),
        min_duration_s=min(spec.min_duration_s, seconds),
        max_duration_s=seconds,
    )


def _refused(spec: Spec, whose: str, checked: records.Record) -> records.Record:
    record = records.blank("compare")
    record |= {key: checked[key] for key in ("environment", "doubts")}
    record["protocol"] = protocol(spec)
    record[whose] = checked["artifact"]
    record |= {f"{whose}_{key}": checked[key] for key in ("runtime", "golden", "memory")}
    return records.fail(record, f"{whose}: {checked['reason']}", checked["error_kind"], checked["status"])
