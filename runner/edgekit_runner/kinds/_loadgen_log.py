"""What LoadGen's detail log says: one JSON object a line behind a mark, the result among a hundred settings."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from edgekit_runner.errors import RunnerError
from edgekit_runner.stats import quantiles

_MARK = ":::MLLOG "
_TAILS = (90, 95, 99)


def parse(lines: Iterable[str]) -> dict[str, Any]:
    """Key and value of LoadGen's detail log; what it calls an error is listed under "errors"."""
    found: dict[str, Any] = {"errors": []}
    for line in lines:
        if not line.startswith(_MARK):
            continue
        try:
            entry = json.loads(line.removeprefix(_MARK))
        except ValueError:  # LoadGen does not escape everything it quotes
            continue
        found[entry["key"]] = entry["value"]
        if entry["metadata"]["is_error"]:
            found["errors"].append(str(entry["value"]))
    return found


def summarize(log: Mapping[str, Any], scenario: str) -> dict[str, Any]:
    """The section `loadgen`, in seconds and samples a second.

    Args:
        log: What `parse` returned.
        scenario: The scenario that was asked for.

    Raises:
        RunnerError: The log holds no result.
    """
    single = scenario == "SingleStream"
    rate = "result_qps_with_loadgen_overhead" if single else "result_samples_per_second"
    missing = [key for key in ("result_validity", "result_query_count", rate) if key not in log]
    if missing:
        raise RunnerError(f"LoadGen gave no result ({missing[0]} is not in its log); run it again.")
    queries_count = int(log["result_query_count"])
    early_ns = log.get("early_stopping_latency_ss") if single else None
    return {
        "scenario": scenario,
        "version": log.get("loadgen_version"),
        "result_valid": log["result_validity"] == "VALID",
        "invalid_reasons": _invalid(log),
        "min_duration_met": log.get("result_min_duration_met"),
        "min_queries_met": log.get("result_min_queries_met"),
        "early_stopping_met": log.get("early_stopping_met"),
        "early_stopping_p90_s": early_ns / 1e9 if early_ns else None,
        "early_stopping_reason": _plain(log.get("early_stopping_result")) or None,
        "queries_count": queries_count,
        "samples_count": queries_count * int(log.get("generated_samples_per_query", 1)),
        "samples_per_second_hz": log[rate],
        **_latencies(log, queries_count if single else 0),
    }


def _latencies(log: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Latency of a query of SingleStream; all null where `count` is 0."""
    out: dict[str, Any] = {}
    for name, key in (("min", "min"), ("mean", "mean"), ("max", "max"), ("p50", "50.00_percentile")):
        out[f"{name}_s"] = _seconds(log.get(f"result_{key}_latency_ns") if count else None)
    for q in _TAILS:
        least = quantiles.TAIL_COUNT * 100 // (100 - q)
        reason = (
            f"n={count} < {least}: under 10 values beyond." if count else "Offline has no latency of a query."
        )
        allowed = quantiles.percentile_allowed(count, q)
        out[f"p{q}_s"] = _seconds(log.get(f"result_{q}.00_percentile_latency_ns") if allowed else None)
        out[f"p{q}_reason"] = None if allowed else reason
    return out


def _seconds(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1e9


def _invalid(log: Mapping[str, Any]) -> list[str]:
    """Why LoadGen calls a result invalid, in its own words where it has some."""
    if log["result_validity"] == "VALID":
        return []
    early = _plain(log.get("early_stopping_result"))
    said = [
        "" if log.get("result_min_duration_met", True) else "the least duration was not met",
        "" if log.get("result_min_queries_met", True) else "too few queries were processed",
        "" if log.get("early_stopping_met", True) else f"early stopping was not satisfied ({early})",
        _plain(log.get("result_invalid_reason")),
        *map(_plain, log["errors"]),
    ]
    return [text.rstrip(". ") for text in said if text]


def _plain(text: Any) -> str:
    return " ".join(str(text or "").replace("*", " ").split())


def of_result(found: Mapping[str, Any]) -> list[str]:
    """The doubt that LoadGen itself states."""
    if found["result_valid"]:
        return []
    return [f"LoadGen calls this result invalid: {'; '.join(found['invalid_reasons'])}."]
