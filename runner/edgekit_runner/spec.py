"""The spec: one closed, versioned JSON object that tells the runner what to run.

Only `artifact` has no default (`compare` also needs `baseline`); the counts and seconds that are not given
come from `protocol`. An unknown key, a wrong type, a value out of range or another schema version is a
`UserError`: a spec is never half understood.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from edgekit_runner.errors import UserError

SCHEMA_VERSION = 2
KINDS = ("bench", "check", "compare", "sustain", "throughput", "loadgen", "turns")
SCENARIOS = ("SingleStream", "Offline")
INSTANCES_MOST_COUNT = 256
THREADS_MOST_COUNT = 1024  # a runtime tries to start as many as it is told, or crashes
LARGEST = 2**53  # whole numbers up to here survive any reader of JSON
TEXT, TEXT_OR_NONE, NUMBER, NUMBER_OR_NONE, COUNT, COUNT_OR_NONE, TABLE, FLAG, COUNTS, TEXTS = range(10)
LONGEST_S = 365 * 86400
# MLPerf mobile asks for 1024 runs and 60 s, pyperf for 20 processes; the default is what a person waits for.
# Six processes are the fewest whose medians enclose the true median with 95 % (see stats).
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


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One request. `bench` times, `check` verifies and weighs without timing, `compare` interleaves two,
    `sustain` watches latency over `duration_s`, `throughput` runs each of `instances_count` processes at once
    for `duration_s`, `loadgen` lets MLPerf's LoadGen ask at least `min_runs_count` samples for `duration_s`,
    `turns` times the artifact and the `others` one after the other for `rounds_count` rounds.

    Times are in seconds, tolerances `*_atol` in the unit of the model's own output (None: the default
    of `golden.default_atol`); `runs_per_leg_count` None lets the worker choose; `affinity` is "0,2-3",
    "big" or "little" (None: where the system puts it); `batch_count` None is the artifact's own batch. Counts
    and durations of runs are for all processes together. `ci_half_width_ratio` is the half-width of the
    interval of the median, over the median, at which measuring stops.
    """

    artifact: str
    kind: str = "bench"
    others: Sequence[str] = ()
    format: str | None = None
    golden: str | None = None
    golden_atol: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None
    baseline_format: str | None = None
    baseline_golden: str | None = None
    baseline_golden_atol: float | None = None
    baseline_options: Mapping[str, Any] = field(default_factory=dict)
    protocol: str = "default"
    threads_count: int = 1
    affinity: str | None = None
    batch_count: int | None = None
    profile: bool = False
    seed: int = 0
    warmup_count: int = 3
    warmup_s: float = 0.5
    processes_min_count: int = 6
    processes_max_count: int = 15
    ci_half_width_ratio: float = 0.02
    min_runs_count: int = 100
    min_duration_s: float = 3.0
    max_duration_s: float = 60.0
    rounds_count: int = 48
    runs_per_leg_count: int | None = None
    tolerance_ratio: float = 0.05
    duration_s: float = 60.0
    instances_count: Sequence[int] = (1, 2)
    scenario: str = "SingleStream"
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name, (kind, least) in _RULES.items():
            _check(name, getattr(self, name), kind, least)
            if name.endswith("_s") and getattr(self, name) > LONGEST_S:
                raise UserError(f"{name} is {getattr(self, name)}; allowed: at most {LONGEST_S}, a year.")
        if self.threads_count > THREADS_MOST_COUNT:
            raise UserError(f"threads_count is {self.threads_count}; allowed: at most {THREADS_MOST_COUNT}.")
        if self.kind not in KINDS:
            raise UserError(f"spec key 'kind' is {self.kind!r}; allowed: {', '.join(KINDS)}.")
        if (self.kind == "compare") != (self.baseline is not None):
            raise UserError("kind 'compare' needs the spec key 'baseline', and no other kind takes it.")
        if self.others and self.kind != "turns":
            raise UserError("the spec key 'others' is for kind 'turns' alone.")
        if self.protocol not in PROTOCOLS:
            raise UserError(
                f"spec key 'protocol' is {self.protocol!r}; allowed: {', '.join(sorted(PROTOCOLS))}."
            )
        if self.scenario not in SCENARIOS:
            raise UserError(f"spec key 'scenario' is {self.scenario!r}; allowed: {', '.join(SCENARIOS)}.")
        for less, more in (
            ("min_duration_s", "max_duration_s"), ("processes_min_count", "processes_max_count"),
        ):  # fmt: skip
            if getattr(self, more) < getattr(self, less):
                raise UserError(f"{more} {getattr(self, more)} is under {less} {getattr(self, less)}.")

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` reads back to an equal spec."""
        return {"schema_version": SCHEMA_VERSION, **{f.name: getattr(self, f.name) for f in fields(self)}}

    def swapped(self) -> "Spec":
        """The comparison with the two artifacts in each other's place."""
        return replace(
            self, artifact=self.baseline or "", format=self.baseline_format, golden=self.baseline_golden,
            golden_atol=self.baseline_golden_atol, options=self.baseline_options, baseline=self.artifact,
            baseline_format=self.format, baseline_golden=self.golden, baseline_golden_atol=self.golden_atol,
            baseline_options=self.options,
        )  # fmt: skip

    def artifact_alone(self) -> "Spec":
        """The first artifact of a comparison, as a `check`."""
        return replace(
            self, kind="check", baseline=None, baseline_format=None, baseline_golden=None,
            baseline_golden_atol=None, baseline_options={},
        )  # fmt: skip

    def baseline_alone(self) -> "Spec":
        """The second artifact of a comparison, as a `check`."""
        return replace(
            self.artifact_alone(), artifact=self.baseline or "", format=self.baseline_format,
            golden=self.baseline_golden, golden_atol=self.baseline_golden_atol, options=self.baseline_options,
        )  # fmt: skip


_RULES: dict[str, tuple[int, float]] = {
    "artifact": (TEXT, 0), "kind": (TEXT, 0), "others": (TEXTS, 0), "format": (TEXT_OR_NONE, 0), "golden": (TEXT_OR_NONE, 0),
    "golden_atol": (NUMBER_OR_NONE, 0), "options": (TABLE, 0), "baseline": (TEXT_OR_NONE, 0),
    "baseline_format": (TEXT_OR_NONE, 0), "baseline_golden": (TEXT_OR_NONE, 0),
    "baseline_golden_atol": (NUMBER_OR_NONE, 0), "baseline_options": (TABLE, 0), "protocol": (TEXT, 0),
    "threads_count": (COUNT, 1), "affinity": (TEXT_OR_NONE, 0), "batch_count": (COUNT_OR_NONE, 1),
    "profile": (FLAG, 0), "seed": (COUNT, 0), "warmup_count": (COUNT, 0), "warmup_s": (NUMBER, 0),
    "processes_min_count": (COUNT, 1), "processes_max_count": (COUNT, 1), "ci_half_width_ratio": (NUMBER, 0),
    "min_runs_count": (COUNT, 1), "min_duration_s": (NUMBER, 0), "max_duration_s": (NUMBER, 0),
    "rounds_count": (COUNT, 1),
    "runs_per_leg_count": (COUNT_OR_NONE, 1), "tolerance_ratio": (NUMBER, 0), "duration_s": (NUMBER, 0.001),
    "instances_count": (COUNTS, 1), "scenario": (TEXT, 0), "timeout_s": (NUMBER, 0.001),
}  # fmt: skip


def from_dict(data: object) -> Spec:
    """Reads a decoded JSON object. Raises `UserError` with the key, what was given and what is allowed."""
    if not isinstance(data, dict):
        raise UserError(f"a spec is a JSON object, not {type(data).__name__}.")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UserError(
            f"spec schema_version is {version!r}; this runner reads {SCHEMA_VERSION}; update the older."
        )
    allowed = [f.name for f in fields(Spec)]
    unknown = sorted(str(key) for key in data if key not in allowed and key != "schema_version")
    if unknown:
        raise UserError(f"unknown spec key {unknown[0]!r}; allowed: schema_version, {', '.join(allowed)}.")
    if "artifact" not in data:
        raise UserError("the spec has no 'artifact': give the path of a model.")
    given = {key: value for key, value in data.items() if key != "schema_version"}
    protocol = data.get("protocol", "default")
    preset: Mapping[str, Any] = PROTOCOLS.get(protocol, {}) if isinstance(protocol, str) else {}
    for name in ("instances_count", "others"):
        if isinstance(given.get(name), list):
            given[name] = tuple(given[name])
    return Spec(**{**preset, **_stretched(given, preset)})


def _stretched(given: dict[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    """A least that was given alone lifts a preset's most: `--seconds 120` means 120 s."""
    lifted = dict(given)
    seconds = given.get("duration_s")
    if "timeout_s" not in given and isinstance(seconds, int | float):
        lifted["timeout_s"] = min(LONGEST_S, max(Spec.timeout_s, 2 * seconds + 120))
    for least, most in (
        ("min_duration_s", "max_duration_s"), ("processes_min_count", "processes_max_count"),
    ):  # fmt: skip
        value = given.get(least)
        if most not in given and most in preset and isinstance(value, int | float) and value > preset[most]:
            lifted[most] = value
    return lifted


def read(text: str) -> Spec:
    """Reads a spec from JSON text. Raises `UserError`."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the spec is not JSON: {error}.") from None
    return from_dict(data)


def _check(name: str, value: object, kind: int, least: float) -> None:
    if value is None and kind in (TEXT_OR_NONE, NUMBER_OR_NONE, COUNT_OR_NONE):
        return
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    if kind in (TEXT, TEXT_OR_NONE):
        fine, wanted = _is_text(value), "a non-empty string"
    elif kind in (NUMBER, NUMBER_OR_NONE):
        fine, wanted = number and value >= least, f"a number, {least} to 2**53"  # type: ignore[operator]
    elif kind in (COUNT, COUNT_OR_NONE):
        fine = number and isinstance(value, int) and value >= least
        wanted = f"a whole number, {int(least)} to 2**53"
    elif kind == COUNTS:
        items = value if isinstance(value, list | tuple) else ()
        fine = bool(items) and all(type(n) is int and least <= n <= INSTANCES_MOST_COUNT for n in items)
        wanted = f"a list of whole numbers, {int(least)} to {INSTANCES_MOST_COUNT}"
    elif kind == TEXTS:
        items = value if isinstance(value, list | tuple) else (None,)
        fine, wanted = all(_is_text(item) for item in items), "a list of non-empty strings"
    elif kind == FLAG:
        fine, wanted = isinstance(value, bool), "true, false"
    else:
        fine, wanted = isinstance(value, dict), "an object"
    if not fine:
        raise UserError(f"spec key {name!r} is {value!r}; allowed: {wanted}.")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value
