"""A file on emulated ARM CPUs: its answers against this machine's, and the instructions of an inference beside float's.

A stage of its own, so that it can be ended with its run, and what it found be kept.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgekit.arm import guest, userland
from edgekit.arm.cpus import Cpu, cpu_of
from edgekit.arm.userland import Userland
from edgekit.engine.verify_specs import EmulateSpec
from edgekit.records import Artifact
from edgekit.records.emulated import EmulatedRun, EmulatedRuns
from edgekit.records.instructions import InstructionCount, middle
from edgekit.requirements import runtime_version

ISA = "aarch64"


def _note(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def emulate(spec: EmulateSpec, note: Callable[[str], None] = _note) -> EmulatedRuns:
    """Runs a file, and its float file, on each CPU that is asked for.

    Args:
        spec: What is run.
        note: Is told what takes time.

    Raises:
        MissingRuntime: The emulator or a package for it cannot be had.
        DeviceError: The runner does not come to an end there.
    """
    here = userland.prepare(note)
    site = guest.wheels(spec.runtime)
    return EmulatedRuns(runs=tuple(_on(cpu_of(name), here, site, spec) for name in spec.cpus))


def _on(cpu: Cpu, here: Userland, site: Path, spec: EmulateSpec) -> EmulatedRun:
    asked = {"golden": spec.golden, "golden_atol": spec.golden_atol, "warmup_count": 0}
    record = _record(cpu, here, site, spec, spec.artifact, asked)
    run = EmulatedRun(cpu=cpu.name, level=cpu.level, emulator=here.emulator(), passed=False)
    if record["status"] != "ok":
        return msgspec.structs.replace(run, reason=str(record["reason"]))
    golden = record["golden"]
    return msgspec.structs.replace(
        run,
        passed=True,
        samples=golden["samples_count"],
        **{name: golden[name] for name in ("max_abs_error", "atol", "equal_ratio", "top1_ratio")},
        count=_count(cpu, here, site, spec, tuple(record["instructions"]["per_run_count"])),
    )


def _count(
    cpu: Cpu, here: Userland, site: Path, spec: EmulateSpec, runs: tuple[int, ...]
) -> InstructionCount:
    floats: tuple[int, ...] = ()
    if spec.baseline is not None and spec.baseline.sha256 != spec.artifact.sha256:
        record = _record(cpu, here, site, spec, spec.baseline, {"warmup_count": 1})
        floats = tuple(record["instructions"]["per_run_count"]) if record["status"] == "ok" else ()
    return InstructionCount(
        target=spec.target,
        artifact_sha256=spec.artifact.sha256,
        isa=ISA,
        cpu=cpu.name,
        runtime=spec.runtime,
        runtime_version=runtime_version(spec.runtime),
        runs=runs,
        instructions_per_inference=middle(runs),
        float_runs=floats,
        float_instructions_per_inference=middle(floats) if floats else None,
    )


def _record(
    cpu: Cpu, here: Userland, site: Path, spec: EmulateSpec, artifact: Artifact, more: dict[str, Any]
) -> dict[str, Any]:
    """The runner's record. The input is the same in each process, so that counts can be compared."""
    asked = {
        "kind": "instructions", "artifact": artifact.path, "format": artifact.format, "runtime": spec.runtime,
        "runs_count": spec.runs, "warmup_s": 0.0, "timeout_s": guest.TIMEOUT_S,
    }  # fmt: skip
    return guest.run(here, cpu, site, {**asked, **more})
