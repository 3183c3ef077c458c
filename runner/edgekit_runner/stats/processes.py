"""Figures of several processes as one: which processes count, medians of medians, pooled percentiles, one verdict.

Memory layout, hash seed and page cache differ from process to process and stay the same within one, so the interval
of a median is by order statistics over the medians of the processes.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_runner.stats import quantiles
from edgekit_runner.stats.validity import ValiditySection

Parts = Sequence[Mapping[str, Any]]  # records of one process each
_TOO_FEW = "{} processes carry no 95 % interval of the median: 6 are the fewest that do."
_MEDIANS = ("input_copy_p50_s", "output_copy_p50_s")


def summaries(parts: Parts) -> list[dict[str, Any]]:
    """The one entry of `processes` of each single-process record."""
    return [part["processes"][0] for part in parts]


def counted(of_processes: Sequence[Mapping[str, Any]], least_count: int) -> list[bool]:
    """Which processes count: those without evidence of outside work, or all where these are too few."""
    clean = [not process["external"] for process in of_processes]
    return clean if sum(clean) >= min(least_count, len(clean)) else [True] * len(clean)


def half_width_ratio(medians_s: Sequence[float]) -> float | None:
    """Half the interval of the median, over the median; None where too few processes carry an interval."""
    interval = quantiles.median_interval(medians_s)
    if interval.low is None or interval.high is None:
        return None
    return (interval.high - interval.low) / 2 / quantiles.median(medians_s)


def verdict_of(used: Sequence[Mapping[str, Any]], left_out_count: int) -> ValiditySection:
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


def memory_of(chosen: Parts) -> dict[str, Any]:
    """The memory table of the process with the median peak, and the range of the peaks."""
    known = [part["memory"] for part in chosen if part["memory"]["peak_bytes"] is not None]
    if not known:
        return {**chosen[0]["memory"], "peak_low_bytes": None, "peak_high_bytes": None}
    ordered = sorted(known, key=lambda table: int(table["peak_bytes"]))
    low, high = (ordered[i]["peak_bytes"] for i in (0, -1))
    return {**ordered[(len(ordered) - 1) // 2], "peak_low_bytes": low, "peak_high_bytes": high}


def energy_of(chosen: Parts, runs_count: int) -> dict[str, Any]:
    """Energy of all timed windows together, where a counter gave it for every one of them."""
    parts = [part["energy"] for part in chosen]
    absent = next((part for part in parts if part["energy_j"] is None), None)
    if absent is not None:
        return {**absent, "per_run_j": None}
    total = math.fsum(part["energy_j"] for part in parts)
    seconds = math.fsum(part["wall_s"] for part in parts)
    return {**parts[0], "energy_j": total, "wall_s": seconds, "per_run_j": total / runs_count}


def latency_of(chosen: Parts, stopped_by: str) -> dict[str, Any]:
    """The section `latency`, in seconds: p50 is over process medians, the other figures are of the pooled runs."""
    processes = summaries(chosen)
    pooled = [value / 1e9 for part in chosen for value in part["samples"]["wall_ns"]]
    cpu_total = math.fsum(value / 1e9 for part in chosen for value in part["samples"]["cpu_ns"])
    return {
        **quantiles.summary_s(pooled),
        **_medians("p50", [process["p50_s"] for process in processes]),
        **_medians("cpu_p50", [process["cpu_p50_s"] for process in processes]),
        "cpu_min_s": min(process["cpu_min_s"] for process in processes),
        "wall_cpu_ratio": sum(pooled) / cpu_total if cpu_total else None,
        "runs_count": len(pooled),
        "processes_count": len(processes),
        "stopped_by": stopped_by,
        **{key: quantiles.median(part["latency"][key] for part in chosen) for key in _MEDIANS},
        "duration_s": math.fsum(part["latency"]["duration_s"] for part in chosen),
    }


def _medians(name: str, medians_s: Sequence[float]) -> dict[str, Any]:
    interval = quantiles.median_interval(medians_s)
    return {
        f"{name}_s": quantiles.median(medians_s),
        f"{name}_ci95_low_s": interval.low,
        f"{name}_ci95_high_s": interval.high,
        f"{name}_ci95_reason": interval.reason and _TOO_FEW.format(len(medians_s)),
    }


def convergence(latency: Mapping[str, Any], wanted_ratio: float) -> tuple[bool | None, str | None]:
    """Whether the interval came under the width asked for.

    Args:
        latency: What `latency_of` returned.
        wanted_ratio: Half the width asked for, over the median.

    Returns:
        The answer, None where there is no interval to judge by, and the reason where it is not yes.
    """
    low, high, middle = latency["p50_ci95_low_s"], latency["p50_ci95_high_s"], latency["p50_s"]
    if low is None or high is None:
        return None, latency["p50_ci95_reason"]
    half = (high - low) / 2 / middle
    if half <= wanted_ratio:
        return True, None
    reason = (
        f"not_converged: the 95 % interval of the median is +-{half:.1%} wide after "
        f"{latency['processes_count']} processes; asked was +-{wanted_ratio:.1%}."
    )
    return False, reason
