"""What a program calls: a spec in, a record out. Each call runs in fresh processes of its own.

    record = bench({"artifact": "model.onnx", "golden": "golden.npz", "golden_atol": 0.1})

`schema_version` and `kind` may be left out of the dict. A spec that is malformed raises `UserError`; what
happens after that is in the record (`status`, `reason`, `error_kind`), and `record.exit_code` maps it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from edgekit_runner import record as records
from edgekit_runner import spawn
from edgekit_runner.errors import UserError
from edgekit_runner.kinds import bench as bench_kind
from edgekit_runner.kinds import compare as compare_kind
from edgekit_runner.spec import KINDS, SCHEMA_VERSION, Spec, from_dict

Listener = Callable[[str], None]


def quiet(text: str) -> None:
    """The listener that says nothing."""


def bench(spec: Mapping[str, Any], listener: Listener = quiet) -> records.Record:
    """Proves, times and weighs one artifact, in several processes one after the other. With `profile` another
    process follows, whose times per operator are in `profile` and whose nodes in `runtime.placement`.
    """
    read = _spec(spec, "bench")
    record = bench_kind.run(read, listener)
    if read.profile and record["status"] == "ok":
        listener("profile")
        _add_profile(record, spawn.run(replace(read, kind="check")))
    return record


def check(spec: Mapping[str, Any]) -> records.Record:
    """Proves and weighs one artifact without timing it (about `warmup_s` seconds)."""
    return spawn.run(_spec(spec, "check"))


def compare(spec: Mapping[str, Any], listener: Listener = quiet) -> records.Record:
    """Proves and weighs both artifacts, each in its own process, then times them in turns in several more.

    When either does not pass, nothing is timed.
    """
    return compare_kind.run(_spec(spec, "compare"), listener)


def sustain(spec: Mapping[str, Any]) -> records.Record:
    """Proves one artifact and watches its latency over `duration_s`, in one process."""
    return spawn.run(_spec(spec, "sustain"))


def throughput(spec: Mapping[str, Any], listener: Listener = quiet) -> records.Record:
    """Inferences a second of each of `instances_count` processes that run for `duration_s` together."""
    from edgekit_runner.kinds import throughput as several

    return several.run(_spec(spec, "throughput"), listener)


def loadgen(spec: Mapping[str, Any]) -> records.Record:
    """One `scenario` of MLPerf for `duration_s`, by the optional package mlcommons-loadgen."""
    return spawn.run(_spec(spec, "loadgen"))


def turns(spec: Mapping[str, Any]) -> records.Record:
    """CPU seconds of the artifact and of each of `others`, in turns, in one process; none is proven or weighed."""
    return spawn.run(_spec(spec, "turns"))


def run(spec: Mapping[str, Any], listener: Listener = quiet) -> records.Record:
    """Whatever the `kind` of the spec asks for ("bench" where it says nothing)."""
    kind = spec.get("kind", "bench")
    calls: dict[object, Callable[[], records.Record]] = {
        "bench": lambda: bench(spec, listener),
        "check": lambda: check(spec),
        "compare": lambda: compare(spec, listener),
        "sustain": lambda: sustain(spec),
        "throughput": lambda: throughput(spec, listener),
        "loadgen": lambda: loadgen(spec),
        "turns": lambda: turns(spec),
    }
    if kind not in calls:
        raise UserError(f"spec key 'kind' is {kind!r}; allowed: {', '.join(KINDS)}.")
    return calls[kind]()


def _add_profile(record: records.Record, found: records.Record) -> None:
    """The latency stays as it is, whatever becomes of the profile."""
    if found["status"] != "ok":
        record["doubts"].append(f"There is no profile: {found['reason']}")
        return
    record["profile"] = found["profile"]
    record["runtime"]["placement"] = found["runtime"]["placement"]


def _spec(data: Mapping[str, Any], kind: str) -> Spec:
    if data.get("kind", kind) != kind:
        raise UserError(f"this call runs kind {kind!r}, the spec says {data['kind']!r}; leave the key out.")
    return from_dict({"schema_version": SCHEMA_VERSION, **data, "kind": kind})
