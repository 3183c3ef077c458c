"""The presets of `protocol`, and the keys that several kinds share: how many processes, how many runs, how long.

MLPerf mobile asks for 1024 runs and 60 s, pyperf for 20 processes; the default is what a person waits for. Six
processes are the fewest whose medians enclose the true median with 95 % (see `stats.quantiles`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from edgekit_runner import spec as specs
from edgekit_runner.errors import UserError
from edgekit_runner.spec import rules
from edgekit_runner.value_rules import LONGEST_S, Count, Rule, Seconds, SomeSeconds

PROTOCOLS: dict[str, dict[str, float]] = {
    "quick": {
        "processes_min_count": 2, "processes_max_count": 2, "min_runs_count": 50, "min_duration_s": 1.0,
        "max_duration_s": 20.0, "rounds_count": 16,
    },
    "default": {
        "processes_min_count": 6, "processes_max_count": 15, "min_runs_count": 100, "min_duration_s": 3.0,
        "max_duration_s": 60.0, "rounds_count": 48,
    },
    "strict": {
        "processes_min_count": 10, "processes_max_count": 40, "min_runs_count": 1024, "min_duration_s": 60.0,
        "max_duration_s": 600.0, "rounds_count": 200,
    },
}  # fmt: skip
_PAIRS = (("min_duration_s", "max_duration_s"), ("processes_min_count", "processes_max_count"))


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Preset(specs.Spec):
    """A kind whose counts and seconds come from `protocol` where they are not given."""

    protocol: Annotated[str, Rule("text", choices=tuple(sorted(PROTOCOLS)))] = "default"

    def __post_init__(self) -> None:
        super().__post_init__()
        for less, more in _PAIRS:
            if less in rules(type(self)) and getattr(self, more) < getattr(self, less):
                raise UserError(f"{more} {getattr(self, more)} is under {less} {getattr(self, less)}.")

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Adds the preset. A least that was given alone lifts its most: `--seconds 120` means 120 s.

        Raises:
            UserError: A key without a default is not given.
        """
        name = given.get("protocol", "default")
        every = PROTOCOLS.get(name, {}) if isinstance(name, str) else {}
        preset = {key: value for key, value in every.items() if key in rules(cls)}
        for least, most in _PAIRS:
            value = given.get(least)
            if most in preset and isinstance(value, int | float) and value > preset[most]:
                preset[most] = value
        return preset | super().complete(given)


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Timed(Preset):
    """A kind that measures for at least and at most so many seconds, in all processes together."""

    min_duration_s: Seconds = 3.0
    max_duration_s: Seconds = 60.0


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Repeated(Timed):
    """A kind that measures in several fresh processes, one after the other."""

    processes_min_count: Count = 6
    processes_max_count: Count = 15


@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Lasting(specs.Spec):
    """A kind that runs for a stated time."""

    duration_s: SomeSeconds = 60.0

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Adds a `timeout_s` that leaves room for a long duration.

        Raises:
            UserError: A key without a default is not given.
        """
        whole, seconds = super().complete(given), given.get("duration_s")
        if "timeout_s" not in given and isinstance(seconds, int | float):
            whole["timeout_s"] = min(LONGEST_S, max(specs.Spec.timeout_s, 2 * seconds + 120))
        return whole
