"""Which settings of a spec belong to a measurement, as the record states them."""

from typing import Any

from edgekit_runner.spec import Spec

_ALWAYS = (
    "threads_count", "affinity", "batch_count", "seed", "warmup_count", "warmup_s", "options", "golden_atol",
    "timeout_s",
)  # fmt: skip
_PROCESSES = ("protocol", "processes_min_count", "processes_max_count", "max_duration_s")
_OF_KIND: dict[str, tuple[str, ...]] = {
    "check": (),
    "bench": (*_PROCESSES, "ci_half_width_ratio", "min_runs_count", "min_duration_s"),
    "compare": (
        *_PROCESSES, "baseline_golden_atol", "baseline_options", "rounds_count", "runs_per_leg_count",
        "tolerance_ratio",
    ),
    "sustain": ("duration_s",),
    "throughput": ("duration_s", "instances_count"),
    "turns": ("protocol", "rounds_count", "max_duration_s"),
    "loadgen": ("scenario", "duration_s", "min_runs_count"),
}  # fmt: skip


def describe(spec: Spec) -> dict[str, Any]:
    """The settings that bore on this kind of measurement."""
    settings = spec.to_dict()
    return {name: settings[name] for name in (*_ALWAYS, *_OF_KIND[spec.kind])}
