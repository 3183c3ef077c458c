"""What a program calls: a spec in, a record out. Each call runs in fresh processes of its own.

    record = bench({"artifact": "model.onnx", "golden": "golden.npz", "golden_atol": 0.1})

`schema_version` and `kind` may be left out of the dict. A spec that is malformed raises `UserError`; what
happens after that is in the record (`status`, `reason`, `error_kind`), and `record.exit_code` maps it.
"""

from collections.abc import Mapping
from typing import Any

from . import record as records
from . import spawn
from .errors import UserError
from .spec import SCHEMA_VERSION, Spec, from_dict


def bench(spec: Mapping[str, Any]) -> records.Record:
    """Proves, then times and weighs one artifact."""
    return spawn.run(_spec(spec, "bench"))


def check(spec: Mapping[str, Any]) -> records.Record:
    """Proves and weighs one artifact without timing it (about `warmup_s` seconds)."""
    return spawn.run(_spec(spec, "check"))


def compare(spec: Mapping[str, Any]) -> records.Record:
    """Proves and weighs both artifacts, each in its own process, then times them in turns in a third.

    When either does not pass, nothing is timed.
    """
    pair = _spec(spec, "compare")
    weights: dict[str, Any] = {}
    for whose, single in (("artifact", pair.artifact_alone()), ("baseline", pair.baseline_alone())):
        checked = spawn.run(single)
        if checked["status"] != "ok":
            return _refused(pair, whose, checked)
        weights[f"{whose}_memory"] = checked["memory"]
    return spawn.run(pair) | weights


def _refused(pair: Spec, whose: str, checked: records.Record) -> records.Record:
    record = records.blank("compare")
    record |= {key: checked[key] for key in ("environment", "protocol", "doubts")}
    record[whose] = checked["artifact"]
    record |= {f"{whose}_{key}": checked[key] for key in ("runtime", "golden", "memory")}
    return records.fail(record, f"{whose}: {checked['reason']}", checked["error_kind"], checked["status"])


def _spec(data: Mapping[str, Any], kind: str) -> Spec:
    if data.get("kind", kind) != kind:
        raise UserError(f"this call runs kind {kind!r}, the spec says {data['kind']!r}; leave the key out.")
    return from_dict({"schema_version": SCHEMA_VERSION, "kind": kind, **data})
