"""`bench`: one record of several fresh processes.

Memory layout, hash seed and page cache differ from process to process and stay the same within one, so runs of
one process say little about the next (pyperf takes 20 processes for that reason). The value is therefore the
median over the medians of the processes, its interval is by order statistics over those medians, and
measuring goes on until the interval is narrow enough or a limit is reached. A process whose window shows
work of others is left out and replaced; drift in the samples themselves is no reason to leave one out, or
the figure would be chosen by its own value. When too many are disturbed, all of them count and the verdict
says so.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from edgekit_runner import record as records
from edgekit_runner import spawn
from edgekit_runner.protocol import describe as protocol
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts, quantiles

Listener = Callable[[str], None]
_TOO_FEW = "{} processes carry no 95 % interval of the median: 6 are the fewest that do."
_MEDIANS = ("input_copy_p50_s", "output_copy_p50_s")


def run(spec: Spec, listener: Listener = lambda text: None) -> records.Record:
    """Measures until the interval is narrow enough, a limit is met, or a process fails: then its record."""
    single = _repetition(spec)
    parts: list[records.Record] = []
    begin = time.perf_counter()
    stopped_by = None
    while stopped_by is None:
        part = spawn.run(single)
        if part["status"] != "ok":
            return _failed(part, len(parts))
        parts.append(part)
        stopped_by = _stop(summaries(parts), time.perf_counter() - begin, spec)
        listener(f"process {len(parts)} of {spec.processes_min_count} to {spec.processes_max_count}")
    return combine(parts, spec, stopped_by)


def summaries(parts: Sequence[records.Record]) -> list[dict[str, Any]]:
    """The one entry of `processes` of each single-process record."""
    return [part["processes"][0] for part in parts]


def counted(of_processes: Sequence[dict[str, Any]], least_count: int) -> list[bool]:
    """Which processes count: those without evidence of outside work, or all where these are too few."""
    clean = [not process["external"] for process in of_processes]
    return clean if sum(clean) >= min(least_count, len(clean)) else [True] * len(clean)


def combine(parts: Sequence[records.Record], spec: Spec, stopped_by: str) -> records.Record:
    """The record of all processes: medians of medians, pooled percentiles, one verdict."""
    every = summaries(parts)
    mask = counted(every, spec.processes_min_count)
    chosen = [part for part, yes in zip(parts, mask, strict=True) if yes]
    used = summaries(chosen)
    out = {**chosen[0]}
    out["protocol"] = protocol(spec)
    out["latency"] = _latency(chosen, stopped_by)
    out["processes"] = [{"counted": yes, **process} for process, yes in zip(every, mask, strict=True)]
    out["phases"] = {
        key: quantiles.median(part["phases"][key] for part in chosen) for key in chosen[0]["phases"]
    }
    out["memory"] = memory_of(chosen)
    out["energy"] = energy_of(chosen, out["latency"]["runs_count"])
    out["validity"] = verdict_of(used, len(every) - len(used))
    out["validity"] |= _convergence(out["latency"], spec)
    out["latency"]["p50_valid"] = out["validity"]["verdict"] != "disturbed"
    out["samples"] = None
    out["doubts"] = chosen[0]["doubts"] + doubts.of_combination(out, spec)
    return out


def verdict_of(used: Sequence[dict[str, Any]], left_out_count: int) -> dict[str, Any]:
    """One verdict: disturbed where half of the processes or more are, unknown where nothing could tell."""
    bad = [process for process in used if process["verdict"] == "disturbed"]
    if 2 * len(bad) >= len(used):
        worst = max(bad, key=lambda process: process["wall_cpu_ratio"] or 0.0)
        causes = [f"{len(bad)} of {len(used)} processes were disturbed, the worst so:", *worst["causes"]]
        verdict = "disturbed"
    else:
        causes = []
        verdict = "unknown" if any(process["verdict"] == "unknown" for process in used) else "ok"
    return {
        "verdict": verdict,
        "causes": causes,
        "unreadable": sorted({name for process in used for name in process["unreadable"]}),
        "left_out_processes_count": left_out_count,
    }


def memory_of(chosen: Sequence[records.Record]) -> dict[str, Any]:
    """The memory table of the process with the median peak, and the range of the peaks."""
    known = [part["memory"] for part in chosen if part["memory"]["peak_bytes"] is not None]
    if not known:
        return {**chosen[0]["memory"], "peak_low_bytes": None, "peak_high_bytes": None}
    ordered = sorted(known, key=lambda table: int(table["peak_bytes"]))
    low, high = (ordered[i]["peak_bytes"] for i in (0, -1))
    return {**ordered[(len(ordered) - 1) // 2], "peak_low_bytes": low, "peak_high_bytes": high}


def energy_of(chosen: Sequence[records.Record], runs_count: int) -> dict[str, Any]:
    """Energy of all timed windows together, where a counter gave it for every one of them."""
    parts = [part["energy"] for part in chosen]
    absent = next((part for part in parts if part["energy_j"] is None), None)
    if absent is not None:
        return {**absent, "per_run_j": None}
    total = math.fsum(part["energy_j"] for part in parts)
    seconds = math.fsum(part["wall_s"] for part in parts)
    return {**parts[0], "energy_j": total, "wall_s": seconds, "per_run_j": total / runs_count}


def _repetition(spec: Spec) -> Spec:
    """What one process is asked for: its share of the runs and of the seconds."""
    count = spec.processes_min_count
    return replace(
        spec,
        min_runs_count=math.ceil(spec.min_runs_count / count),
        min_duration_s=spec.min_duration_s / count,
        max_duration_s=max(spec.max_duration_s / count, spec.min_duration_s / count),
    )


def _stop(of_processes: Sequence[dict[str, Any]], elapsed_s: float, spec: Spec) -> str | None:
    clean = [process for process in of_processes if not process["external"]]
    if len(of_processes) - len(clean) >= spec.processes_min_count:
        return "disturbance"
    if len(clean) >= spec.processes_min_count:
        half = half_width_ratio([process["p50_s"] for process in clean])
        if half is not None and half <= spec.ci_half_width_ratio:
            return "ci_half_width_ratio"
        if elapsed_s >= spec.max_duration_s:
            return "max_duration_s"
    return "processes_max_count" if len(of_processes) >= spec.processes_max_count else None


def half_width_ratio(medians_s: Sequence[float]) -> float | None:
    """Half the interval of the median, over the median; None where too few processes carry an interval."""
    interval = quantiles.median_interval(medians_s)
    if interval.low is None or interval.high is None:
        return None
    return (interval.high - interval.low) / 2 / quantiles.median(medians_s)


def _latency(chosen: Sequence[records.Record], stopped_by: str) -> dict[str, Any]:
    """Seconds. p50 is over process medians; mean, deviation and tail percentiles are of the pooled runs."""
    processes = summaries(chosen)
    pooled = [value / 1e9 for part in chosen for value in part["samples"]["wall_ns"]]
    cpu_total = math.fsum(value / 1e9 for part in chosen for value in part["samples"]["cpu_ns"])
    out = quantiles.summary_s(pooled)
    for name, key in (("p50", "p50_s"), ("cpu_p50", "cpu_p50_s")):
        medians = [process[key] for process in processes]
        interval = quantiles.median_interval(medians)
        out |= {
            f"{name}_s": quantiles.median(medians),
            f"{name}_ci95_low_s": interval.low,
            f"{name}_ci95_high_s": interval.high,
            f"{name}_ci95_reason": interval.reason and _TOO_FEW.format(len(medians)),
        }
    return {
        **out,
        "cpu_min_s": min(process["cpu_min_s"] for process in processes),
        "wall_cpu_ratio": sum(pooled) / cpu_total if cpu_total else None,
        "runs_count": len(pooled),
        "processes_count": len(processes),
        "stopped_by": stopped_by,
        **{key: quantiles.median(part["latency"][key] for part in chosen) for key in _MEDIANS},
        "duration_s": math.fsum(part["latency"]["duration_s"] for part in chosen),
    }


def _convergence(latency: dict[str, Any], spec: Spec) -> dict[str, Any]:
    """Whether the interval came under the width asked for; null where there is no interval to judge by."""
    low, high, middle = latency["p50_ci95_low_s"], latency["p50_ci95_high_s"], latency["p50_s"]
    if low is None or high is None:
        return {"converged": None, "converged_reason": latency["p50_ci95_reason"]}
    half = (high - low) / 2 / middle
    if half <= spec.ci_half_width_ratio:
        return {"converged": True, "converged_reason": None}
    reason = (
        f"not_converged: the 95 % interval of the median is +-{half:.1%} wide after "
        f"{latency['processes_count']} processes; asked was +-{spec.ci_half_width_ratio:.1%}."
    )
    return {"converged": False, "converged_reason": reason}


def _failed(part: records.Record, done_count: int) -> records.Record:
    if done_count:
        part["reason"] = f"process {done_count + 1}: {part['reason']}"
    part["samples"] = None
    return part
