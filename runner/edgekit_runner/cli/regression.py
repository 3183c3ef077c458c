"""`check`: is the artifact of this bench record worse than the baseline's? Pure: two JSON files, one verdict.

First, whether the two may be compared at all. Then each figure by the 95 % interval of its ratio, recovered from
the two intervals in the records by the method of variance estimates recovery on the logarithm (Donner and Zou,
Statistical Methods in Medical Research 21, 2012): the half-widths add like standard errors. A figure is worse or
better only if the whole interval is beyond the tolerance, equal if it is at most within, else undecided. The
interval holds how processes scatter and not how two days differ, so `compare`, which interleaves, tells smaller
differences apart.
"""

import math
from typing import Any

from edgekit_runner import __version__
from edgekit_runner import record as records
from edgekit_runner.errors import UserError
from edgekit_runner.record import AnyRecord

ALL_CPU_RATIO = 1.1  # wall over CPU time up to which one thread did nothing but compute
_SAME = {
    "format": "artifact.format", "machine": "environment.machine", "CPU model": "environment.cpu_model",
    "ISA": "environment.isa", "runtime": "runtime.name", "runtime version": "runtime.version",
}  # fmt: skip
_TELLING = {
    "system": "environment.os", "Python": "environment.python", "runner": "runner_version",
    "number of usable CPUs": "environment.cpu_usable_count",
    "CPU quota": "environment.cgroup_quota_cpu_count", "frequency governor": "environment.governor",
    "power state": "environment.power_state",
}  # fmt: skip
_NO_BEARING = ("golden_atol", "timeout_s")  # what of the protocol moves no figure

Pair = tuple[AnyRecord, AnyRecord]


def check(record: AnyRecord, baseline: AnyRecord, tolerance_ratio: float = 0.05) -> dict[str, Any]:
    """Judges a record against a baseline.

    Args:
        record: A record of kind bench.
        baseline: The same of the baseline.
        tolerance_ratio: How far from 1 a ratio counts as equal.

    Returns:
        The verdict "regression", "better", "equal" or "inconclusive" and all that led to it, ready for JSON.

    Raises:
        UserError: The tolerance is out of range, or a record lacks what has to be there.
    """
    if not 0 <= tolerance_ratio < 1:
        raise UserError(f"the tolerance is {tolerance_ratio}; allowed: a ratio from 0 to under 1, as 0.05.")
    pair = (record, baseline)
    failed = [
        f"The {w} is {one['status']}: {one['reason']}" for w, one in _named(pair) if one["status"] != "ok"
    ]
    differences = failed or _differences(pair)
    metrics = [] if differences else _metrics(pair, tolerance_ratio)
    # refused means that its outputs are wrong; a failure may be the machine's
    refused = record["status"] == "refused" and baseline["status"] == "ok"
    return {
        "schema_version": records.SCHEMA_VERSION,
        "kind": "regression",
        "runner_version": __version__,
        "verdict": "regression" if refused else _overall([metric["verdict"] for metric in metrics]),
        "tolerance_ratio": tolerance_ratio,
        "record": _about(record),
        "baseline": _about(baseline),
        "differences": differences,
        "metrics": metrics,
        "doubts": [] if failed else _doubts(pair),
    }


def ratio_interval(
    a: tuple[float | None, ...], b: tuple[float | None, ...]
) -> tuple[float | None, float | None]:
    """The ends of the interval of a/b, each a (figure, low end, high end); None where one is None or 0."""
    known = [value for value in (*a, *b) if value]
    if len(known) < 6:
        return None, None
    a_middle, a_low, a_high, b_middle, b_low, b_high = map(math.log, known)
    down, up = (
        math.hypot(a_middle - a_low, b_high - b_middle),
        math.hypot(a_high - a_middle, b_middle - b_low),
    )
    return math.exp(a_middle - b_middle - down), math.exp(a_middle - b_middle + up)


def judge(low: float | None, high: float | None, tolerance: float) -> str:
    """Judges the interval of a ratio, of which over 1 is worse.

    Args:
        low: Its low end.
        high: Its high end.
        tolerance: How far from 1 counts as equal.

    Returns:
        "worse", "better", "equal", "undecided" or, without an interval, "unknown".
    """
    if low is None or high is None:
        return "unknown"
    if low > 1 + tolerance:
        return "worse"
    if high > 1 + tolerance:
        return "undecided"
    return "better" if high < 1 - tolerance else "equal"


def _overall(verdicts: list[str]) -> str:
    """What is unknown is left out, but not the latency, which is the first of them."""
    if "worse" in verdicts:
        return "regression"
    if "undecided" in verdicts or verdicts[:1] in ([], ["unknown"]):
        return "inconclusive"
    return "better" if "better" in verdicts else "equal"


def _named(pair: Pair) -> list[tuple[str, AnyRecord]]:
    return list(zip(("record", "baseline"), pair, strict=True))


def _differences(pair: Pair) -> list[str]:
    """Why the two may not be compared, a sentence each."""
    found = []
    for name, path in _SAME.items():
        a, b = (_at(one, path) for one in pair)
        found += _differ(name, a, b)
        if a == b == "unknown":
            found.append(f"The {name} is unknown in both, so it may be another.")
    for section in ("protocol", "environment.allocator_env"):
        a, b = (_at(one, section, dict) for one in pair)
        for name in sorted({*a, *b} - {*_NO_BEARING}):
            found += _differ(name, a.get(name), b.get(name))
    return found + [sentence for whose, one in _named(pair) for sentence in _unfit(whose, one)]


def _unfit(whose: str, record: AnyRecord) -> list[str]:
    found = []
    if _at(record, "environment.emulated") == "yes":
        found.append(f"The {whose} was taken on an emulated CPU.")
    if _at(record, "validity.verdict") == "disturbed":
        found.append(f"The {whose} was disturbed; measure it again on a quiet machine.")
    if _at(record, "golden.status") != "passed":
        found.append(f"The {whose} is unproven; measure it again with --golden.")
    return found


def _differ(name: str, a: object, b: object) -> list[str]:
    return [] if a == b else [f"Another {name}: {a} against {b}."]


def _doubts(pair: Pair) -> list[str]:
    found = []
    if _at(pair[0], "artifact.sha256") == _at(pair[1], "artifact.sha256"):
        found.append("Both records are of the same artifact: what differs is not its doing.")
    for name, path in _TELLING.items():
        found += _differ(name, *(_at(one, path) for one in pair))
    blind = [whose for whose, one in _named(pair) if _at(one, "validity.verdict") == "unknown"]
    return found + [f"Whether other work disturbed the {whose} is unknown." for whose in blind]


def _metrics(pair: Pair, tolerance: float) -> list[dict[str, Any]]:
    """Latency first. CPU time on one thread, because it barely moves; wall time with more, and where the thread
    waited for an accelerator, which CPU time does not show.
    """
    waits = [_number(one, "latency.wall_cpu_ratio") for one in pair]
    computes = all(wait is not None and wait <= ALL_CPU_RATIO for wait in waits)
    cpu = computes and _at(pair[0], "protocol.threads_count") == 1
    name, latency = ("cpu_latency", "latency.cpu_p50{}_s") if cpu else ("wall_latency", "latency.p50{}_s")
    return [
        _metric(name, latency, "_ci95", pair, tolerance),
        _metric("peak_memory", "memory.peak{}_bytes", "", pair, tolerance),
        _metric("size", "artifact.size_bytes", "", pair, tolerance),
        _metric("energy", "energy.per_run{}_j", "", pair, tolerance),
    ]


def _metric(name: str, path: str, interval: str, pair: Pair, tolerance: float) -> dict[str, Any]:
    """One row; `path` has a gap for the ends of the interval, and a figure without a gap is exact."""
    unit = path.rpartition("_")[2]
    a, b = (_number(one, path.format("")) for one in pair)
    lows, highs = (
        [_number(one, path.format(f"{interval}_{end}"), None) for one in pair] for end in ("low", "high")
    )
    low, high = ratio_interval((a, lows[0], highs[0]), (b, lows[1], highs[1]))
    verdict = judge(low, high, tolerance)
    absent = "not measured in both" if None in (a, b) else "a record holds no interval of it"
    reasons = {
        "undecided": f"it may be beyond {1 + tolerance:.3g}; measure longer or `compare`",
        "unknown": absent,
    }
    return {
        "name": name,
        f"record_{unit}": a,
        f"baseline_{unit}": b,
        "middle_ratio": _over(a, b),
        "low_ratio": low,
        "high_ratio": high,
        "verdict": verdict,
        "reason": reasons.get(verdict),
    }


def _over(a: float | None, b: float | None) -> float | None:
    return a / b if a is not None and b else None


def _about(record: AnyRecord) -> dict[str, Any]:
    if record["artifact"] is None:
        return {"started_utc": record["started_utc"], **dict.fromkeys(("path", "sha256", "size_bytes"))}
    path, digest = (_at(record, f"artifact.{key}", str) for key in ("path", "sha256"))
    size = _number(record, "artifact.size_bytes")
    return {"started_utc": record["started_utc"], "path": path, "sha256": digest, "size_bytes": size}


def _number(record: AnyRecord, path: str, missing: Any = ...) -> float | None:
    found = _at(record, path, missing=missing)
    if found is None or (type(found) in (int, float) and math.isfinite(found) and found >= 0):
        return found
    raise UserError(f"{path} of the record of {record['started_utc']} is {found!r}; measure again.")


def _at(record: AnyRecord, path: str, kind: type = object, missing: Any = ...) -> Any:
    """The value at "section.key", or `missing`; `UserError` where there is none, or none of that kind."""
    value: Any = record
    for key in path.split("."):
        value = value.get(key, missing) if isinstance(value, dict) else ...
    if value is ... or not isinstance(value, kind):
        raise UserError(f"the record of {record['started_utc']} lacks {path}; measure again.")
    return value
