"""What a reader of the record should hold against it, as sentences. A result that states no doubt is not
thereby proven; these are the causes that this version looks for.
"""

from collections.abc import Mapping
from typing import Any

from .spec import Spec

OFF_CPU_RATIO = 1.1
BUSY_LOAD_RATIO = 0.5
SHORT_RUN_S = 20e-6


def of_environment(environment: Mapping[str, Any], threads_count: int) -> list[str]:
    """Doubts that hold before anything ran."""
    found = []
    load, cpus = environment["loadavg_1min_cpu_count"], environment["cpu_logical_count"]
    if isinstance(load, float) and isinstance(cpus, int) and load > BUSY_LOAD_RATIO * cpus:
        found.append(f"The 1-minute load average was {load:.2f} on {cpus} CPUs: other work ran beside this.")
    if environment["hypervisor"] == "present":
        found.append(
            "This is a virtual machine: wall time can hold time of other guests; trust CPU time first."
        )
    if environment["emulated"] == "yes":
        found.append("The CPU is emulated: times say nothing about a device.")
    if environment["governor"] not in ("unknown", "performance"):
        found.append(f"The CPU frequency governor is {environment['governor']}: the clock may have moved.")
    if threads_count > 1:
        found.append(
            f"{threads_count} threads: on a shared machine wall time gives the sign of a difference only."
        )
    return found


def of_golden(spec_golden: str | None, whose: str, seed: int) -> list[str]:
    """The doubt that nothing proved the outputs."""
    if spec_golden is not None:
        return []
    return [f"The {whose} has no golden output: it ran on random input (seed {seed}), unproven."]


def of_latency(spec: Spec, latency: Mapping[str, Any]) -> list[str]:
    """Doubts about the timed window."""
    found = []
    ratio = latency["wall_cpu_ratio"]
    if spec.threads_count == 1 and ratio is not None and ratio > OFF_CPU_RATIO:
        found.append(
            f"Wall time was {ratio:.2f} times CPU time on one thread: something else held the CPU; "
            "take the CPU time and the minimum as lower bounds, not the median wall time."
        )
    if latency["p50_s"] < SHORT_RUN_S:
        found.append("A run takes hardly longer than reading the clock: compare such models with `compare`.")
    if latency["stopped_by"] == "max_duration_s":
        found.append(
            f"The time limit of {spec.max_duration_s} s ended it after {latency['runs_count']} runs."
        )
    return found


def of_memory(memory: Mapping[str, Any]) -> list[str]:
    """Doubts about the memory figures."""
    found = []
    if memory["peak_reset"] == "refused":
        found.append(
            "The system refused to reset the peak: a phase's peak includes that of the phases before it."
        )
    if memory["peak_bytes"] is None:
        found.append("Peak memory could not be read on this system.")
    return found


WARM_CACHE = "The artifact was read just before to hash it: load_s is with a warm page cache."
