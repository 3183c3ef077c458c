"""The record: what the runner hands back, one JSON object on one line; `schema/` describes it.

Every key is always there; what was not reached is null. Each kind has a TypedDict over `Head`: its own keys are the
sections. Numbers carry their unit in the key: `_s`, `_ns`, `_bytes`, `_ratio`, `_count`, `_hz`, `_celsius`, `_j`. The
exceptions are in the unit of the tensor itself: `atol`, `max_abs_error`, `scale`, `zero_point`, and `seed`,
`schema_version` and `shape` that have none.
"""

import json
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypedDict, TypeVar

from edgekit_runner import __version__
from edgekit_runner.artifact import ArtifactSection
from edgekit_runner.errors import EXIT_CODES, RunnerError, UserError
from edgekit_runner.spec import kinds, load_kind
from edgekit_runner.stats.validity import ValiditySection

SCHEMA_VERSION = 2
STATUSES = ("ok", "refused", "failed")
READY = "ready"  # the line before the record of a worker that has to begin together with others
VERDICT_EXIT_CODES = {"faster": 0, "slower": 1, "inconclusive": 4}

Table = dict[str, Any]  # figures by name; the JSON Schema lists the names
AnyRecord = Mapping[
    str, Any
]  # of any kind, to read: a `Record` of kinds/KIND.py, or the same as decoded JSON
Listener = Callable[[str], None]


class Head(TypedDict):
    """What every record begins with."""

    schema_version: int
    kind: str
    runner_version: str
    started_utc: str
    status: str
    reason: str | None
    error_kind: str | None
    doubts: list[str]
    environment: Table | None
    protocol: Table | None


class RuntimeSection(TypedDict):
    """What ran the artifact, and where the work went by its own report."""

    name: str
    version: str
    placement: Table | None


class OneArtifact(Head):
    """What follows the head in every record about one artifact."""

    artifact: ArtifactSection | None
    runtime: RuntimeSection | None
    inputs: list[Table] | None
    outputs: list[Table] | None
    golden: Table | None
    phases: Table | None
    memory: Table | None
    validity: ValiditySection | None


R = TypeVar("R", bound=Head)


def quiet(text: str) -> None:
    """The listener that says nothing."""


def sections(kind: str) -> tuple[str, ...]:
    """The keys of a kind behind the head."""
    return tuple(key for key in load_kind(kind).Record.__annotations__ if key not in Head.__annotations__)


def blank(kind: str) -> Any:
    """A record with every key of its kind, still without a result (status "failed" until it is reached)."""
    head: Head = {
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
    return head | dict.fromkeys(sections(kind))  # type: ignore[operator]


def succeed(record: R) -> R:
    """Marks the record ok and returns it."""
    record["status"], record["reason"], record["error_kind"] = "ok", None, None
    return record


def fail(record: R, reason: str, error_kind: str, status: str = "failed") -> R:
    """Marks the record failed or refused and returns it.

    Args:
        record: The record, which is changed.
        reason: One sentence.
        error_kind: A key of `errors.EXIT_CODES`.
        status: One of `STATUSES`.
    """
    record["status"], record["reason"], record["error_kind"] = status, reason, error_kind
    return record


def fail_with(record: R, error: RunnerError) -> R:
    """Marks the record with an error of the tree and returns it."""
    return fail(record, str(error), error.kind, error.status)


def exit_code(record: Mapping[str, Any]) -> int:
    """The exit code that a record stands for.

    Returns:
        0 ok, 1 refused or failed, 2 user error, 3 missing runtime; for a comparison that came to an end 0 faster, 1
        slower, 4 inconclusive.
    """
    if record["kind"] == "compare" and record["status"] == "ok":
        return VERDICT_EXIT_CODES.get(str((record["comparison"] or {}).get("verdict")), 1)
    return EXIT_CODES.get(record["error_kind"], 1)


def to_line(record: Mapping[str, Any]) -> str:
    """One line of strict JSON in ASCII, for any pipe; a number that is not finite becomes null."""
    return json.dumps(_finite(record), allow_nan=False)


def read(text: str) -> dict[str, Any]:
    """Reads a record of any kind.

    Args:
        text: One JSON object.

    Returns:
        The object, which has every key of its kind; what is in the sections is not looked at.

    Raises:
        UserError: It is not JSON, incomplete, or of another schema version: it is never misread.
    """
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
    if not isinstance(kind, str) or kind not in kinds():
        raise UserError(f"record kind is {kind!r}; allowed: {', '.join(kinds())}.")
    wrong = _incomplete(data, sections(kind))
    if wrong:
        raise UserError(f"the record is incomplete: missing or wrong {', '.join(wrong)}.")
    return data


def _incomplete(data: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    missing = [key for key in (*Head.__annotations__, *names) if key not in data]
    if missing:
        return missing
    wrong = [key for key in names if not isinstance(data[key], dict | list | None)]
    wrong += [] if data["status"] in STATUSES else ["status"]
    return wrong + ([] if data["error_kind"] in list(EXIT_CODES) else ["error_kind"])


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
