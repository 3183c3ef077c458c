"""A record as a short table for a person; the doubts stand under it as sentences."""

from typing import Any

from .record import Record

_MIB = 1024 * 1024


def render(record: Record) -> str:
    """The lines of one record of any kind and status."""
    lines = [] if record["status"] == "ok" else [f"{record['status'].upper()}: {record['reason']}"]
    lines += _compare(record) if record["kind"] == "compare" else _bench(record)
    if record["environment"]:
        env = record["environment"]
        lines.append(f"{'machine':<18}{env['machine']}, {env['cpu_model']}, isa {env['isa']}")
    lines += [f"doubt: {doubt}" for doubt in record["doubts"]]
    return "\n".join(lines)


def _bench(record: Record) -> list[str]:
    lines = []
    if record["artifact"]:
        art = record["artifact"]
        label, digest = "artifact", art["sha256"][:12]
        lines.append(f"{label:<18}{art['path']} ({art['size_bytes']} bytes, sha256 {digest})")
    if record["runtime"]:
        run = record["runtime"]
        threads = record["protocol"]["threads_count"]
        lines.append(f"{'runtime':<18}{run['name']} {run['version']}, {threads} thread(s)")
    if record["golden"]:
        lines.append(f"{'golden':<18}{_golden(record['golden'])}")
    if record["phases"]:
        names = ("import", "load", "first_inference")
        parts = [f"{name.replace('_', ' ')} {_ms(record['phases'].get(f'{name}_s'))}" for name in names]
        lines.append(f"{'phases':<18}{', '.join(parts)}")
    lines += _latency(record["latency"]) if record["latency"] else []
    lines += [_memory("memory", record["memory"])] if record["memory"] else []
    return lines


def _latency(latency: dict[str, Any]) -> list[str]:
    interval = f"95 % interval {_ms(latency['p50_ci95_low_s'])} to {_ms(latency['p50_ci95_high_s'])}"
    lines = [
        f"{'median':<18}{_ms(latency['p50_s'])} ({interval}, {latency['runs_count']} runs)",
        f"{'least / mean':<18}{_ms(latency['min_s'])} / {_ms(latency['mean_s'])}",
        f"{'CPU median':<18}{_ms(latency['cpu_p50_s'])}",
    ]
    for q in (90, 95, 99):
        value = _ms(latency[f"p{q}_s"])
        lines.append(f"{f'p{q}':<18}{value if latency[f'p{q}_s'] is not None else latency[f'p{q}_reason']}")
    return lines


def _compare(record: Record) -> list[str]:
    lines = []
    for whose in ("artifact", "baseline"):
        if record[whose]:
            lines.append(f"{whose:<18}{record[whose]['path']} ({record[whose]['size_bytes']} bytes)")
    result = record["comparison"]
    if result:
        low, high = (_ratio(result[f"cpu_p50_ci95_{end}_ratio"]) for end in ("low", "high"))
        lines += [
            f"{'verdict':<18}{result['verdict']} (tolerance {result['tolerance_ratio']:.3g})",
            f"{'CPU time ratio':<18}{_ratio(result['cpu_p50_ratio'])} (95 % interval {low} to {high}, "
            f"{result['rounds_count']} rounds)",
            "CPU median".ljust(18)
            + f"{_ms(result['artifact_cpu_p50_s'])} against {_ms(result['baseline_cpu_p50_s'])}",
        ]
    for whose in ("artifact", "baseline"):
        if record[f"{whose}_memory"]:
            lines.append(_memory(f"{whose} memory", record[f"{whose}_memory"]))
    return lines


def _memory(label: str, memory: dict[str, Any]) -> str:
    peak, over = _mib(memory["peak_bytes"]), _mib(memory["peak_over_baseline_bytes"])
    return f"{label:<18}peak {peak}, {over} above the empty process"


def _golden(golden: dict[str, Any]) -> str:
    if golden["status"] == "absent":
        return "absent"
    return f"{golden['status']}, largest error {golden['max_abs_error']:.4g} (allowed {golden['atol']:.4g})"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.4g} ms"


def _mib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / _MIB:.1f} MiB"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
