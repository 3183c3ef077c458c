"""The runner's record of what an app said of itself: one process of the test APK, in the words of `edgekit_runner`.

Samples, phases and memory are the app's own; medians, intervals and verdicts are made by the runner's code. What a phone's app cannot
see (the clock, other programs, steal) is unknown in the record, and the verdict says so.
"""

import json
from typing import Any

from edgekit_runner import artifact
from edgekit_runner import record as records
from edgekit_runner.host import isa
from edgekit_runner.host.memory import Memory
from edgekit_runner.kinds import _timing, bench
from edgekit_runner.record import Table
from edgekit_runner.stats import doubts, quantiles

from edgekit.device.phone import Phone, energy_j
from edgekit.records import Artifact

UNKNOWN = "unknown"
PHASES = ("import", "load", "first_inference", "warmup")
_WINDOW_S = ("steal", "cpu_pressure", "run_queue_wait", "throttled", "other_busy")
_WINDOW_COUNT = ("involuntary_switches", "major_faults", "throttled")
_EMULATORS = ("sdk_gphone", "emulator", "generic")  # in the fingerprint of Android's own


class Malformed(Exception):
    """An answer that is not what the app says."""


def read(text: str) -> dict[str, Any]:
    """Reads the app's answer. Raises Malformed where it is another."""
    try:
        found = json.loads(text)
        if "error" not in found:
            sizes = {len(found["wall_ns"]), len(found["cpu_ns"])}
            if len(sizes) != 1 or 0 in sizes or min(found["wall_ns"]) <= 0:
                raise ValueError("its samples are none, or not above zero: did the clock jump?")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error
    return dict(found)


def of_process(
    answer: dict[str, Any], spec: bench.Spec, file: Artifact, cpuinfo: str, before: Phone, after: Phone
) -> Any:
    """Makes the record of one process.

    Args:
        answer: What `read` returned.
        spec: What was asked for.
        file: The artifact.
        cpuinfo: The phone's /proc/cpuinfo.
        before: The phone before the process.
        after: The phone after it.

    Raises:
        Malformed: The answer lacks something.
    """
    record = records.blank("bench")
    try:
        if "error" in answer:
            return records.fail(record, f"the app says: {answer['error']}", "runtime")
        _fill(record, answer, spec, file, cpuinfo, before, after)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from error
    return records.succeed(record)


def _fill(
    record: Any,
    answer: dict[str, Any],
    spec: bench.Spec,
    file: Artifact,
    cpuinfo: str,
    before: Phone,
    after: Phone,
) -> None:
    record["environment"] = _environment(answer["environment"], cpuinfo, before)
    record["protocol"] = spec.settings()
    record["artifact"] = artifact.describe(file.path, file.format).section()
    if answer["sha256"] != file.sha256:
        raise ValueError("the app holds another model")
    record["runtime"] = {"name": "ONNX Runtime", "version": str(answer["runtime_version"]), "placement": None}
    record["inputs"], record["outputs"] = (
        [_tensor(spec) for spec in side] for side in (file.inputs, file.outputs)
    )
    worst = max(range(len(file.outputs)), key=lambda i: answer["max_abs_errors"][i])
    record["golden"] = {
        "status": "passed", "output": file.outputs[worst].name, "max_abs_error": float(answer["max_abs_errors"][worst]),
        "atol": spec.golden_atol, "atol_source": "given", "samples_count": 1, "float_snr_db": None, "equal_ratio": None,
        "top1_ratio": None,
    }  # fmt: skip
    phases = answer["phases"]
    record["phases"] = {
        f"{n}{k}_s": phases[n][f"{w}_ns"] / 1e9 for n in PHASES for k, w in (("", "wall"), ("_cpu", "cpu"))
    }
    record["phases"]["warmup_runs_count"] = answer["warmup_runs_count"]
    record["memory"] = _memory(phases)
    _add_samples(record, answer, spec)
    _, why = energy_j(before, after)
    window_s = answer["duration_ns"] / 1e9
    record["energy"] = {
        "status": "unavailable", "source": None, "energy_j": None, "wall_s": window_s,
        "reason": f"{why or 'the battery counted more than the timed runs'}.",
    }  # fmt: skip
    record["doubts"] += [*doubts.of_environment(record["environment"], spec.threads_count), doubts.WARM_CACHE]
    record["doubts"] += [
        f"The phone was throttled: thermal status {phone.thermal}."
        for phone in (before, after)
        if phone.thermal not in (None, "none")
    ]


def _environment(said: dict[str, Any], cpuinfo: str, phone: Phone) -> Table:
    table: dict[str, str] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            table.setdefault(key.strip().lower(), value.strip())
    machine = str(said["machine"])
    flags = isa.isa_flags(table, machine) if table else None
    fingerprint = str(said.get("fingerprint", ""))
    plugged = {True: "plugged in", False: "on battery", None: UNKNOWN}[phone.plugged]
    return {
        "machine": machine,
        "cpu_model": str(said.get("model") or UNKNOWN),
        "cpu_logical_count": int(said["cpus"]),
        "cpu_usable_count": int(said["cpus"]),
        "isa": isa.isa_class(flags, machine),
        "isa_flags": list(flags) if flags is not None else UNKNOWN,
        "emulated": "yes" if any(word in fingerprint for word in _EMULATORS) else "no",
        "hypervisor": UNKNOWN,
        "os": str(said["os"]),
        "kernel": UNKNOWN,
        "python": "none: an app, in Java",
        "governor": UNKNOWN,
        "frequency_hz": UNKNOWN,
        "power_state": plugged,
        "battery_percent": UNKNOWN if phone.battery_percent is None else phone.battery_percent,
        "cgroup_quota_cpu_count": UNKNOWN,
        **{f"loadavg_{minutes}min_cpu_count": UNKNOWN for minutes in (1, 5, 15)},
        "allocator_env": {},
    }


def _tensor(spec: Any) -> Table:
    return {
        "name": spec.name,
        "shape": list(spec.shape),
        "dtype": spec.dtype,
        "scale": spec.scale,
        "zero_point": spec.zero_point,
    }


def _memory(phases: dict[str, Any]) -> Table:
    """Peaks are since the process began: an app cannot reset them."""

    def sample(name: str) -> Memory:
        rss, peak = (None if (n := int(phases[name][k])) < 0 else n for k in ("rss_bytes", "peak_bytes"))
        return Memory(rss_bytes=rss, uss_bytes=None, anonymous_bytes=None, file_bytes=None, peak_bytes=peak)

    samples = {name: sample(name) for name in ("baseline", *PHASES)}
    base = samples["baseline"]
    peaks = [each.peak_bytes for each in samples.values() if each.peak_bytes is not None]
    peak = max(peaks, default=None)
    return {
        "peak_bytes": peak,
        "peak_over_baseline_bytes": None if peak is None or base.rss_bytes is None else peak - base.rss_bytes,
        "peak_reset": "refused",
        "phases": {name: vars(each) for name, each in samples.items()},
        "over_baseline": {name: samples[name].minus(base) for name in PHASES},
    }


def _add_samples(record: Any, answer: dict[str, Any], spec: bench.Spec) -> None:
    wall, cpu = (tuple(map(int, answer[key])) for key in ("wall_ns", "cpu_ns"))
    window: Table = {f"{name}_s": None for name in _WINDOW_S} | {
        f"{name}_count": None for name in _WINDOW_COUNT
    }
    window |= {f"frequency_{when}_hz": None for when in ("start", "end")}
    window |= {f"temperature_{when}_celsius": None for when in ("start", "end")}
    window |= {"wall_s": answer["duration_ns"] / 1e9, "cpu_s": sum(cpu) / 1e9, "usable_cpu_count": None}
    samples = _timing.Samples(
        wall_ns=wall,
        cpu_ns=cpu,
        duration_s=answer["duration_ns"] / 1e9,
        stopped_by="min_runs_count and min_duration_s" if answer["reached"] else "max_duration_s",
        window=window,
        energy={},
    )
    record["samples"] = {"wall_ns": list(wall), "cpu_ns": list(cpu)}
    record["latency"] = {
        **quantiles.summary_s(samples.wall_s),
        "duration_s": samples.duration_s,
        "stopped_by": samples.stopped_by,
        **{
            f"{side}_copy_p50_s": quantiles.median(answer[f"{side}_copy_ns"]) / 1e9
            for side in ("input", "output")
        },
    }
    record["processes"] = [_timing.summary(samples, spec.threads_count, record["memory"])]
