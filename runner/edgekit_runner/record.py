"""The record: what the runner hands back, one JSON object on one line; `schema/` describes it.

Every key is always there; what was not reached is null. Numbers carry their unit in the key: `_s`, `_ns`,
`_bytes`, `_ratio`, `_count`, `_hz`, `_celsius`, `_j`. The exceptions are in the unit of the tensor itself:
`atol`, `max_abs_error`, `scale`, `zero_point`, and `seed`, `schema_version` and `shape` that have none.
"""

import json
import math
from datetime import UTC, datetime
from typing import Any

from edgekit_runner import __version__
from edgekit_runner.errors import EXIT_CODES, RunnerError, UserError

SCHEMA_VERSION = 2
STATUSES = ("ok", "refused", "failed")
READY = "ready"  # the line before the record of a worker that has to begin together with others
Record = dict[str, Any]
VERDICT_EXIT_CODES = {"faster": 0, "slower": 1, "inconclusive": 4}

_ONE = ("artifact", "runtime", "inputs", "outputs", "golden", "phases", "memory", "validity")
_SECTIONS: dict[str, tuple[str, ...]] = {
    "bench": (*_ONE, "latency", "processes", "energy", "profile", "samples"),
    "check": (*_ONE, "profile"),
    "sustain": (*_ONE, "sustained", "energy"),
    "throughput": (*_ONE, "throughput"),
    "loadgen": (*_ONE, "loadgen"),
    "turns": ("artifact", "runtime", "validity", "turns"),
    "compare": (
        "artifact", "baseline", "artifact_runtime", "baseline_runtime", "artifact_golden", "baseline_golden",
        "comparison", "processes", "validity", "artifact_memory", "baseline_memory",
    ),
}  # fmt: skip


def blank(kind: str) -> Record:
    """A record with every key of its kind, still without a result (status "failed" until it is reached)."""
    head: Record = {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "runner_version": __version__,
        "started_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "status": "failed",
        "reason": "nothing was run.",
        "error_kind": "internal",
        "doubts": [],
        "environment": None,
        "protocol": None,
    }
    return head | dict.fromkeys(_SECTIONS[kind])


def succeed(record: Record) -> Record:
    """Marks the record ok."""
    record.update(status="ok", reason=None, error_kind=None)
    return record


def fail(record: Record, reason: str, error_kind: str, status: str = "failed") -> Record:
    """Marks the record failed or refused, with one sentence and a kind of `errors.EXIT_CODES`."""
    record.update(status=status, reason=reason, error_kind=error_kind)
    return record


def fail_with(record: Record, error: RunnerError) -> Record:
    """Marks the record with an error of the tree."""
    return fail(record, str(error), error.kind, error.status)


def exit_code(record: Record) -> int:
    """0 ok, 1 refused or failed, 2 user error, 3 missing runtime; a comparison that came to an end gives
    0 faster, 1 slower, 4 inconclusive.
    """
    if record["kind"] == "compare" and record["status"] == "ok":
        return VERDICT_EXIT_CODES.get(str((record["comparison"] or {}).get("verdict")), 1)
    return EXIT_CODES.get(record["error_kind"], 1)


def to_line(record: Record) -> str:
    """One line of strict JSON in ASCII, for any pipe; a number that is not finite becomes null."""
    return json.dumps(_finite(record), allow_nan=False)


def read(text: str) -> Record:
    """Reads a record back. Raises `UserError` on another schema version: it is never misread."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the record is not JSON: {error}.") from None
    if not isinstance(data, dict):
        raise UserError(f"a record is a JSON object, not {type(data).__name__}.")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UserError(
            f"record schema_version is {version!r}; this one reads {SCHEMA_VERSION}; measure again."
        )
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in _SECTIONS:
        raise UserError(f"record kind is {kind!r}; allowed: {', '.join(sorted(_SECTIONS))}.")
    missing = [key for key in blank(kind) if key not in data]
    if not missing:
        missing = [key for key in _SECTIONS[kind] if not isinstance(data[key], dict | list | None)]
        missing += [] if data["status"] in STATUSES else ["status"]
        missing += [] if data["error_kind"] in list(EXIT_CODES) else ["error_kind"]
    if missing:
        raise UserError(f"the record is incomplete: missing or wrong {', '.join(missing)}.")
    return data


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
