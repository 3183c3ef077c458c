"""An artifact against its float counterpart: interleaved, in fresh processes, by the runner.

The runner decides how to measure; this file decides what a figure means for the target.
"""

import platform
from typing import Any

from edgekit_runner import api
from edgekit_runner.host.environment import local_isa
from edgekit_runner.host.isa import int8_saturates
from edgekit_runner.record import AnyRecord

from edgekit.device.run import run_on
from edgekit.errors import MissingRuntime, VerificationError
from edgekit.formats import RUNTIMES
from edgekit.golden import Golden
from edgekit.records import Artifact, Measurement
from edgekit.target import Target

ROUNDS = 40
# more processes make the interval honest, and each costs 2 s; the runner doubts an interval from fewer than 3
PROCESSES = 4
ASIDE_ROUNDS, ASIDE_PROCESSES = (
    24,
    3,
)  # where the machine is none of the target's, and the figure decides nothing


def machine_name() -> str:
    """The architecture and instruction set of this machine."""
    return f"{platform.machine()} {local_isa()}"


def compare(
    artifact: Artifact,
    golden: Golden,
    baseline: Artifact,
    reference: Golden,
    target: Target,
    isa: str,
    runtime: str,
    device: str = "",
) -> Measurement:
    """Measures CPU time and peak memory of `artifact` against `baseline`, on one thread of this machine or of a device.

    Args:
        artifact: The file to judge.
        golden: Its golden pair.
        baseline: The float file, for the target's own runtime.
        reference: The golden pair of the baseline.
        target: What the figures are for.
        isa: The level of the machine that will serve the file.
        runtime: What runs the artifact.
        device: As `edgekit bench` writes it; "" for this machine.

    Returns:
        The figures; without figures but with the reason, where the format has no runtime on this machine.

    Raises:
        VerificationError: The runner refuses one of the two: a wrong golden output, NaN, a crash.
        DeviceError: The device failed.
    """
    row = RUNTIMES[runtime]
    if not device and row.systems and platform.system() not in row.systems:
        return unmeasured(f"not measured on the target: {row.elsewhere}")
    decides = bool(device) or target.admits(platform.machine(), local_isa())
    rounds, processes = (ROUNDS, PROCESSES) if decides else (ASIDE_ROUNDS, ASIDE_PROCESSES)
    record = _ask(
        device,
        artifact,
        {
            "artifact": artifact.path,
            "format": artifact.format,
            "runtime": runtime,
            "golden": golden.path,
            "golden_atol": golden.atol,
            "baseline": baseline.path,
            "baseline_format": baseline.format,
            "baseline_runtime": target.runtime,
            "baseline_golden": reference.path,
            "baseline_golden_atol": reference.atol,
            "state": dict(artifact.state),
            "rounds_count": rounds,
            "processes_min_count": processes,
        },
    )
    if record["error_kind"] == "missing_runtime":
        return unmeasured(f"not measured: {record['reason']}")
    if record["status"] != "ok":
        where = f" on {device}" if device else ""
        raise VerificationError(f"the runner does not time it{where}: {record['reason']}")
    return of_record(record, artifact, target, isa, device.partition(":")[0])


def unmeasured(reason: str) -> Measurement:
    """A Measurement without figures, and the reason."""
    return Measurement(
        cpu_ratio=None,
        cpu_ratio_low=None,
        cpu_ratio_high=None,
        rounds=0,
        cpu_s=None,
        float_cpu_s=None,
        peak_memory_bytes=None,
        float_peak_memory_bytes=None,
        measured_on=machine_name(),
        on_target=False,
        reason=reason,
    )


def _ask(device: str, artifact: Artifact, spec: dict[str, Any]) -> AnyRecord:
    if not device:
        return api.compare(spec)
    try:
        return run_on(device, {**spec, **_one_sample(artifact), "kind": "compare"})
    except MissingRuntime as error:
        return {"error_kind": "missing_runtime", "reason": str(error)}


def _one_sample(artifact: Artifact) -> dict[str, int]:
    """A device proves a file by several samples; timed is one, also where the file takes several at once."""
    axes = {each.batch_axis for each in (*artifact.inputs, *artifact.outputs)}
    return {"batch_count": 1} if axes == {0} else {}


def of_record(record: AnyRecord, artifact: Artifact, target: Target, isa: str, way: str = "") -> Measurement:
    """What a record of both files means for a target.

    Args:
        record: The runner's record of a comparison that came to its end.
        artifact: The file to judge.
        target: What the figures are for.
        isa: The level of the machine that will serve the file.
        way: How it was reached: "ssh", "adb", "a record"; "" for this machine.
    """
    figures, host = record["comparison"], record["environment"]
    arch, level = str(host["machine"]), str(host["isa"])
    decides = target.admits(arch, level) and host["emulated"] == "no"
    here = f"{arch} {level}" + (f" ({way})" if way else "")
    doubts = list(record["doubts"])
    stronger = decides and artifact.precision == "int8" and int8_saturates(isa) and not int8_saturates(level)
    if decides and level != isa:
        doubts.insert(0, f"measured on {level}; the serving level {isa} was not measured")
    return Measurement(
        cpu_ratio=figures["cpu_p50_ratio"],
        cpu_ratio_low=figures["cpu_p50_ci95_low_ratio"],
        cpu_ratio_high=figures["cpu_p50_ci95_high_ratio"],
        rounds=figures["rounds_count"],
        cpu_s=figures["artifact_cpu_p50_s"],
        float_cpu_s=figures["baseline_cpu_p50_s"],
        peak_memory_bytes=record["artifact_memory"]["peak_bytes"],
        float_peak_memory_bytes=record["baseline_memory"]["peak_bytes"],
        model_memory_bytes=record["artifact_memory"]["peak_over_baseline_bytes"],
        float_model_memory_bytes=record["baseline_memory"]["peak_over_baseline_bytes"],
        measured_on=here,
        on_target=decides,
        faster_than_serving_isa=stronger,
        calm=(record["validity"] or {}).get("verdict") == "ok",
        reason=f"measured on {here}"
        if decides
        else f"not measured on the target: {here} is not one of its machines",
        doubts=tuple(doubts),
        rounds_wall_s=_rounds(figures, "artifact"),
        float_rounds_wall_s=_rounds(figures, "baseline"),
        memory_phases_bytes=_phases(record["artifact_memory"]),
        float_memory_phases_bytes=_phases(record["baseline_memory"]),
    )


def _rounds(figures: AnyRecord, whose: str) -> tuple[float, ...]:
    """Seconds of each round to four digits; none in a record of an older runner."""
    return tuple(float(f"{second:.4g}") for second in figures.get(f"{whose}_wall_rounds_s", ()))


def _phases(memory: AnyRecord) -> dict[str, int]:
    """The peak of each phase, and what the process held before them; a phase that the system does not tell is left out."""
    held = {
        name: sample["rss_bytes" if name == "baseline" else "peak_bytes"]
        for name, sample in memory["phases"].items()
    }
    return {name: count for name, count in held.items() if count is not None}
