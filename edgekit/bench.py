"""Drives the runner: the interleaved A/B of an artifact against its float twin, in fresh processes, and what a user
asks to measure, here or on devices.

The runner decides how to measure; this file decides what a figure means for the target.
"""

import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgekit_runner import api
from edgekit_runner import record as records
from edgekit_runner.environment import local_isa
from edgekit_runner.isa import int8_saturates

from edgekit import bench_input
from edgekit.device import check_form, open_device, run, zipapp
from edgekit.errors import EdgekitError, UserError, VerificationError
from edgekit.golden import Golden
from edgekit.records import Artifact, Measurement
from edgekit.target import Target

ROUNDS = 40
# more processes make the interval honest, each costs 2 s; the runner doubts an interval of fewer than 3
PROCESSES = 4
Listener = Callable[[str], None]


def quiet(text: str) -> None:
    """The listener that says nothing."""


def machine_name() -> str:
    return f"{platform.machine()} {local_isa()}"


def measure(
    artifact: Artifact, golden: Golden, baseline: Artifact, reference: Golden, target: Target, isa: str
) -> Measurement:
    """CPU time and peak memory of `artifact` against `baseline`, one thread, here.

    A format that has no runtime on this machine gives a Measurement without figures and the reason. Raises
    VerificationError if the runner refuses one of the two: a wrong golden output, NaN, a crash.
    """
    if target.runtime == "coreml" and platform.system() != "Darwin":
        return unmeasured("not measured on the target: Core ML runs on Apple devices only")
    record = api.compare(
        {
            "artifact": artifact.path,
            "format": artifact.format,
            "golden": golden.path,
            "golden_atol": golden.atol,
            "baseline": baseline.path,
            "baseline_format": baseline.format,
            "baseline_golden": reference.path,
            "baseline_golden_atol": reference.atol,
            "rounds_count": ROUNDS,
            "processes_min_count": PROCESSES,
        }
    )
    if record["error_kind"] == "missing_runtime":
        return unmeasured(f"not measured: {record['reason']}")
    if record["status"] != "ok":
        raise VerificationError(f"the runner does not time it: {record['reason']}")
    return _measurement(record, artifact, target, isa)


def unmeasured(reason: str) -> Measurement:
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
        decides=False,
        reason=reason,
    )


def _measurement(record: dict[str, Any], artifact: Artifact, target: Target, isa: str) -> Measurement:
    figures, host = record["comparison"], record["environment"]
    arch, level = str(host["machine"]), str(host["isa"])
    decides = target.admits(arch, level) and host["emulated"] == "no"
    here = f"{arch} {level}"
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
        decides=decides,
        stronger=stronger,
        reason=f"measured on {here}"
        if decides
        else f"not measured on the target: {here} is not one of its machines",
        doubts=tuple(doubts),
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one device said about one artifact: a record, or the sentence why there is none."""

    device: str
    record: dict[str, Any] | None
    error: str | None
    exit_code: int


def bench_on(
    devices: Sequence[str],
    place: Path,
    thread_counts: Sequence[int],
    protocol: str = "default",
    python: str | None = None,
    timeout_s: float = run.TIMEOUT_S,
    listener: Listener = quiet,
) -> list[Outcome]:
    """Every artifact of `place` with every thread count on every device, the devices side by side.

    A device that fails gives one Outcome with its sentence in the place of those still due, and does not
    disturb the others. Raises UserError or VerificationError for a `place` or a device that is none.
    """
    twice = [name for name in devices if list(devices).count(name) > 1]
    if twice:
        raise UserError(f"device {twice[0]!r} is given twice: two runs on it would disturb each other")
    for name in devices:
        check_form(name)
    specs = [
        {**spec, "kind": "bench", "protocol": protocol, "threads_count": count}
        for spec in bench_input.read_all(place)
        for count in thread_counts
    ]
    with TemporaryDirectory() as folder, ThreadPoolExecutor(len(devices)) as pool:
        runner = zipapp.build(Path(folder))
        found = pool.map(lambda name: _on_one(name, specs, runner, python, timeout_s, listener), devices)
        return [outcome for outcomes in found for outcome in outcomes]


def compare_on(
    device: str,
    a: Path,
    b: Path,
    settings: Mapping[str, Any],
    python: str | None = None,
    timeout_s: float = run.TIMEOUT_S,
) -> dict[str, Any]:
    """The record of A against B, measured in turns. `settings` are more keys of the runner's spec.

    Raises UserError, VerificationError, MissingRuntime or DeviceError.
    """
    spec = {**bench_input.pair(a, b), "kind": "compare", **settings}
    with TemporaryDirectory() as folder, closing(open_device(device, python)) as opened:
        return run.run(opened, spec, zipapp.build(Path(folder)), timeout_s)


def _on_one(
    name: str,
    specs: Sequence[dict[str, Any]],
    runner: Path,
    python: str | None,
    timeout_s: float,
    tell: Listener,
) -> list[Outcome]:
    done: list[Outcome] = []
    try:
        with closing(open_device(name, python)) as device:
            for spec in specs:
                tell(f"{name}  {spec['artifact']}, threads: {spec['threads_count']}")
                record = run.run(device, spec, runner, timeout_s)
                code = records.exit_code(record)
                done.append(Outcome(device=name, record=record, error=record["reason"], exit_code=code))
    except EdgekitError as error:
        done.append(Outcome(device=name, record=None, error=str(error), exit_code=error.exit_code))
    return done


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """0 if all were measured, the code of those that were not where they agree, else 1."""
    codes = {outcome.exit_code for outcome in outcomes} - {0}
    return codes.pop() if len(codes) == 1 else int(bool(codes))
