"""What a reader of the record should hold against it, as sentences.

A result without a doubt is not proven by that; these are the causes that this version looks for.
"""

from collections.abc import Mapping
from typing import Any

SHORT_RUN_S = 20e-6
WARM_CACHE = "The artifact was read just before to hash it: load_s is with a warm page cache."


def of_environment(environment: Mapping[str, Any], threads_count: int) -> list[str]:
    """Doubts that hold before anything ran."""
    found = []
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
    """The doubt that nothing proved the outputs.

    Args:
        spec_golden: The golden file of the spec; with one there is no doubt.
        whose: "artifact" or "baseline".
        seed: Of the random input.
    """
    if spec_golden is not None:
        return []
    return [f"The {whose} has no golden output: it ran on random input (seed {seed}), unproven."]


def of_latency(latency: Mapping[str, Any]) -> list[str]:
    """Doubts about the samples of one process."""
    if latency["p50_s"] < SHORT_RUN_S:
        return ["A run takes hardly longer than reading the clock: compare such models with `compare`."]
    return []


def of_validity(validity: Mapping[str, Any]) -> list[str]:
    """What a verdict means for the reader."""
    if validity["verdict"] == "disturbed":
        return [
            "Disturbed: take the CPU time and the minimum as lower bounds, not the median wall time. "
            + " ".join(validity["causes"])
        ]
    if validity["verdict"] == "unknown":
        unreadable = ", ".join(validity["unreadable"])
        return [f"Whether other work disturbed this is unknown: this system does not show {unreadable}."]
    return []


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
