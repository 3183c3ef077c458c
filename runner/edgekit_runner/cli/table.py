"""A record as a short table for a person; the doubts stand under it as sentences."""

from collections.abc import Callable, Sequence
from typing import Any

from edgekit_runner.record import AnyRecord
from edgekit_runner.stats.quantiles import median

_MIB = 1024 * 1024
_SPARKS = "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"
_SPARKS_MOST_COUNT = 60
_OPS_MOST_COUNT = 10


def render(record: AnyRecord) -> str:
    """The lines of one record of any kind and status."""
    lines = [] if record["status"] == "ok" else [f"{record['status'].upper()}: {record['reason']}"]
    lines += _compare(record) if record["kind"] == "compare" else _one(record)
    if record.get("validity"):
        lines.append(_validity(record["validity"]))
    if record["environment"]:
        env = record["environment"]
        lines.append(f"{'machine':<18}{env['machine']}, {env['cpu_model']}, isa {env['isa']}")
    lines += [f"doubt: {doubt}" for doubt in record["doubts"]]
    return "\n".join(lines)


def _one(record: AnyRecord) -> list[str]:
    lines = []
    if record["artifact"]:
        art = record["artifact"]
        label, digest = "artifact", art["sha256"][:12]
        lines.append(f"{label:<18}{art['path']} ({art['size_bytes']} bytes, sha256 {digest})")
    if record["runtime"]:
        run = record["runtime"]
        threads = record["protocol"]["threads_count"]
        lines.append(f"{'runtime':<18}{run['name']} {run['version']}, {threads} thread(s)")
    if record.get("golden"):
        lines.append(f"{'golden':<18}{_golden(record['golden'])}")
    if record.get("phases"):
        names = ("import", "load", "first_inference")
        parts = [f"{name.replace('_', ' ')} {ms(record['phases'].get(f'{name}_s'))}" for name in names]
        lines.append(f"{'phases':<18}{', '.join(parts)}")
    for name, section in _SECTIONS.items():
        lines += section(record[name]) if record.get(name) else []
    return lines


def _latency(latency: dict[str, Any]) -> list[str]:
    """The median only where it is valid; a disturbed run shows lower bounds."""
    counts = f"{latency['runs_count']} runs in {latency['processes_count']} processes"
    cpu = f"{ms(latency['cpu_p50_s'])} ({_range(latency, 'cpu_p50')})"
    if not latency["p50_valid"]:
        return [
            f"{'median':<18}not valid: disturbed ({counts})",
            f"{'lower bounds':<18}least {ms(latency['min_s'])}, CPU median {ms(latency['cpu_p50_s'])}, "
            f"least CPU {ms(latency['cpu_min_s'])}",
        ]
    lines = [
        f"{'median':<18}{ms(latency['p50_s'])} ({_range(latency, 'p50')}, {counts})",
        f"{'least / mean':<18}{ms(latency['min_s'])} / {ms(latency['mean_s'])}",
        f"{'CPU median':<18}{cpu}",
    ]
    for q in (90, 95, 99):
        value = latency[f"p{q}_s"]
        shown = latency[f"p{q}_reason"] if value is None else f"{ms(value)} ({_range(latency, f'p{q}')})"
        lines.append(f"{f'p{q}':<18}{shown}")
    return lines


def _sustained(found: dict[str, Any]) -> list[str]:
    medians = [bucket["wall_p50_s"] for bucket in found["buckets"]]
    low, high = ms(min(medians)), ms(max(medians))
    return [
        f"{'first / last':<18}median {ms(found['first_p50_s'])} / {ms(found['last_p50_s'])} "
        f"({_ratio(found['slowdown_ratio'])}), CPU {ms(found['first_cpu_p50_s'])} / "
        f"{ms(found['last_cpu_p50_s'])}, {found['runs_count']} runs in {found['duration_s']:.4g} s",
        f"{'over time':<18}{sparkline(medians)} ({low} to {high}, one mark for "
        f"{found['duration_s'] / min(_SPARKS_MOST_COUNT, len(medians)):.3g} s)",
        f"{'throttling':<18}{found['throttle_reason']}",
    ]


def sparkline(values: Sequence[float]) -> str:
    """One mark for each value, or for the medians of neighbours where there are more than 60."""
    count = min(_SPARKS_MOST_COUNT, len(values))
    groups = [values[len(values) * i // count : len(values) * (i + 1) // count] for i in range(count)]
    heights = [median(group) for group in groups]
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    return "".join(_SPARKS[round((height - low) / span * (len(_SPARKS) - 1))] for height in heights)


def _throughput(found: dict[str, Any]) -> list[str]:
    return [_row(row) for row in found.get("rows", ())]


def _row(row: dict[str, Any]) -> str:
    scaling = row["scaling_ratio"]
    times = "" if scaling is None else f" ({scaling:.2f} x of 1)"
    counts = f"{row['instances_count']} instance(s)"
    return (
        f"{counts:<18}{row['inferences_per_second_hz']:.4g} inferences/s{times}, median {ms(row['p50_s'])}, "
        f"CPU {ms(row['cpu_per_inference_s'])}, peak in sum {mib(row['peak_sum_bytes'])} "
        f"(USS {mib(row['uss_sum_bytes'])}), {row['verdict']}"
    )


def _loadgen(found: dict[str, Any]) -> list[str]:
    verdict = "valid" if found["result_valid"] else "not valid"
    lines = [
        f"{'LoadGen':<18}{found['scenario']}: {verdict} (version {found['version']})",
        f"{'rate':<18}{found['samples_per_second_hz']:.4g} samples/s, {found['samples_count']} samples",
    ]
    if found["p50_s"] is not None:
        tails = [f", p{q} {ms(found[f'p{q}_s'])}" for q in (90, 95, 99) if found[f"p{q}_s"] is not None]
        lines.append(f"{'query latency':<18}median {ms(found['p50_s'])}{''.join(tails)}")
    if found["early_stopping_p90_s"] is not None:
        lines.append(f"{'early stopping':<18}p90 at most {ms(found['early_stopping_p90_s'])}")
    return lines


def _range(latency: dict[str, Any], name: str) -> str:
    low, high = latency[f"{name}_ci95_low_s"], latency[f"{name}_ci95_high_s"]
    return "no interval" if low is None else f"95 % interval {ms(low)} to {ms(high)}"


def _validity(validity: dict[str, Any]) -> str:
    width = {True: ", converged", False: ", not converged", None: ""}[validity.get("converged")]
    return f"{'validity':<18}{validity['verdict']}{width}"


def _energy(energy: dict[str, Any]) -> list[str]:
    if energy["status"] != "measured":
        return [f"{'energy':<18}unavailable: {energy['reason']}"]
    return [f"{'energy':<18}{energy['per_run_j'] * 1e3:.4g} mJ a run ({energy['source']}, whole machine)"]


def _profile(found: dict[str, Any]) -> list[str]:
    """The operators that took most of the time, and where the runtime says they ran."""
    if found["source"] == "unavailable":
        return [f"{'profile':<18}unavailable: {found['reason']}"]
    ops = found["ops"]
    shown = f"{min(_OPS_MOST_COUNT, len(ops))} of {len(ops)} operators"
    lines = [f"{'profile':<18}{shown}, share of {ms(found['total_s'])} in {found['runs_count']} runs"]
    for op in ops[:_OPS_MOST_COUNT]:
        share = "-" if op["share_ratio"] is None else f"{op['share_ratio']:.1%}"
        lines.append(f"{'':<18}{share:>6}  {op['op']}  {op['name']}  on {op['where']}")
    return lines


def _compare(record: AnyRecord) -> list[str]:
    lines = []
    for whose in ("artifact", "baseline"):
        if record[whose]:
            lines.append(f"{whose:<18}{record[whose]['path']} ({record[whose]['size_bytes']} bytes)")
    if record["comparison"]:
        lines += _ratios(record["comparison"])
    for whose in ("artifact", "baseline"):
        if record[f"{whose}_memory"]:
            lines.append(_memory(f"{whose} memory", record[f"{whose}_memory"]))
    return lines


def _ratios(result: dict[str, Any]) -> list[str]:
    clock = result["decided_by"]
    low, high = (_ratio(result[f"{clock}_p50_ci95_{end}_ratio"]) for end in ("low", "high"))
    name = {"cpu": "CPU", "wall": "wall"}[clock]
    counts = f"{result['rounds_count']} rounds in {result['processes_count']} processes"
    return [
        f"{'verdict':<18}{result['verdict']} (tolerance {result['tolerance_ratio']:.3g})",
        f"{f'{name} time ratio':<18}{_ratio(result[f'{clock}_p50_ratio'])} "
        f"(95 % interval {low} to {high}, {counts})",
        f"{f'{name} median':<18}{ms(result[f'artifact_{clock}_p50_s'])} against "
        f"{ms(result[f'baseline_{clock}_p50_s'])}",
    ]


def _memory(label: str, memory: dict[str, Any]) -> str:
    peak, over = mib(memory["peak_bytes"]), mib(memory["peak_over_baseline_bytes"])
    low, high = (memory.get(f"peak_{end}_bytes") for end in ("low", "high"))
    spread = "" if low is None else f" ({mib(low)} to {mib(high)} over the processes)"
    return f"{label:<18}peak {peak}{spread}, {over} above the empty process"


def _instructions(found: dict[str, Any]) -> list[str]:
    counts = found["per_run_count"]
    spread = f"{min(counts)} to {max(counts)} in {len(counts)} inferences"
    return [f"{'instructions':<18}{found['p50_count']:.0f} an inference ({spread}), which is no time"]


def _golden(golden: dict[str, Any]) -> str:
    if golden["status"] == "absent":
        return "absent"
    return f"{golden['status']}, largest error {golden['max_abs_error']:.4g} (allowed {golden['atol']:.4g})"


def ms(seconds: float | None) -> str:
    """Seconds as milliseconds."""
    return "-" if seconds is None else f"{seconds * 1e3:.4g} ms"


def mib(size: float | None) -> str:
    """Bytes as MiB."""
    return "unknown" if size is None else f"{size / _MIB:.1f} MiB"


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


# in this order; a section without a row here is in the JSON only
_SECTIONS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "latency": _latency,
    "sustained": _sustained,
    "throughput": _throughput,
    "loadgen": _loadgen,
    "instructions": _instructions,
    "memory": lambda found: [_memory("memory", found)],
    "energy": _energy,
    "profile": _profile,
}
