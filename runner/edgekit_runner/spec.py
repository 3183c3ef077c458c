"""The spec: one closed, versioned JSON object that tells a worker what to run.

Only `artifact` has no default (`compare` also needs `baseline`). An unknown key, a wrong type, a value
out of range or another schema version is a `UserError`: a spec is never half understood.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from .errors import UserError

SCHEMA_VERSION = 1
KINDS = ("bench", "check", "compare")
TEXT, TEXT_OR_NONE, NUMBER, NUMBER_OR_NONE, COUNT, COUNT_OR_NONE, TABLE = range(7)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One request. `bench` times, `check` verifies and weighs without timing, `compare` interleaves two.

    Times are in seconds, tolerances `*_atol` in the unit of the model's own output (None: the default
    of `golden.default_atol`), and `runs_per_leg_count` None lets the worker choose.
    """

    artifact: str
    kind: str = "bench"
    format: str | None = None
    golden: str | None = None
    golden_atol: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    baseline: str | None = None
    baseline_format: str | None = None
    baseline_golden: str | None = None
    baseline_golden_atol: float | None = None
    baseline_options: Mapping[str, Any] = field(default_factory=dict)
    threads_count: int = 1
    seed: int = 0
    warmup_count: int = 3
    warmup_s: float = 0.5
    min_runs_count: int = 100
    min_duration_s: float = 2.0
    max_duration_s: float = 60.0
    rounds_count: int = 40
    runs_per_leg_count: int | None = None
    tolerance_ratio: float = 0.05
    timeout_s: float = 600.0

    def __post_init__(self) -> None:
        for name, (kind, least) in _RULES.items():
            _check(name, getattr(self, name), kind, least)
        if self.kind not in KINDS:
            raise UserError(f"spec key 'kind' is {self.kind!r}; allowed: {', '.join(KINDS)}.")
        if (self.kind == "compare") != (self.baseline is not None):
            raise UserError("kind 'compare' needs the spec key 'baseline', and no other kind takes it.")
        if self.max_duration_s < self.min_duration_s:
            raise UserError(
                f"max_duration_s {self.max_duration_s} is under min_duration_s {self.min_duration_s}."
            )

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` reads back to an equal spec."""
        return {"schema_version": SCHEMA_VERSION, **{f.name: getattr(self, f.name) for f in fields(self)}}

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
    "artifact": (TEXT, 0), "kind": (TEXT, 0), "format": (TEXT_OR_NONE, 0), "golden": (TEXT_OR_NONE, 0),
    "golden_atol": (NUMBER_OR_NONE, 0), "options": (TABLE, 0), "baseline": (TEXT_OR_NONE, 0),
    "baseline_format": (TEXT_OR_NONE, 0), "baseline_golden": (TEXT_OR_NONE, 0),
    "baseline_golden_atol": (NUMBER_OR_NONE, 0), "baseline_options": (TABLE, 0), "threads_count": (COUNT, 1),
    "seed": (COUNT, 0), "warmup_count": (COUNT, 0), "warmup_s": (NUMBER, 0), "min_runs_count": (COUNT, 1),
    "min_duration_s": (NUMBER, 0), "max_duration_s": (NUMBER, 0), "rounds_count": (COUNT, 1),
    "runs_per_leg_count": (COUNT_OR_NONE, 1), "tolerance_ratio": (NUMBER, 0), "timeout_s": (NUMBER, 0.001),
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
    return Spec(**{key: value for key, value in data.items() if key != "schema_version"})


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
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if kind in (TEXT, TEXT_OR_NONE):
        fine, wanted = isinstance(value, str) and value != "" and "\0" not in value, "a non-empty string"
    elif kind in (NUMBER, NUMBER_OR_NONE):
        fine, wanted = number and value >= least, f"a finite number, at least {least}"  # type: ignore[operator]
    elif kind in (COUNT, COUNT_OR_NONE):
        fine = number and isinstance(value, int) and value >= least
        wanted = f"a whole number, at least {int(least)}"
    else:
        fine, wanted = isinstance(value, dict), "an object"
    if not fine:
        raise UserError(f"spec key {name!r} is {value!r}; allowed: {wanted}.")
