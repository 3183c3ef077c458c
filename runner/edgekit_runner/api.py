"""What a program calls: a spec in, a record out. Each call runs in fresh processes of its own.

    record = bench({"artifact": "model.onnx", "golden": "golden.npz", "golden_atol": 0.1})

`schema_version` and `kind` may be left out of the dict; its other keys are the fields of `Spec` in kinds/KIND.py, and
those of the record are the keys of `Record` there. A spec that is malformed raises `UserError`; what happens after that
is in the record (`status`, `reason`, `error_kind`), and `record.exit_code` maps it.
"""

from collections.abc import Mapping
from typing import Any

from edgekit_runner import spec as specs
from edgekit_runner.errors import UserError
from edgekit_runner.record import AnyRecord, Listener, quiet


def bench(spec: Mapping[str, Any], listener: Listener = quiet) -> AnyRecord:
    """Proves, times and weighs one artifact, in several processes one after the other.

    Args:
        spec: Keys of kind bench.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    return _run("bench", spec, listener)


def check(spec: Mapping[str, Any]) -> AnyRecord:
    """Proves and weighs one artifact without timing it (about `warmup_s` seconds).

    Raises:
        UserError: The spec is malformed.
    """
    return _run("check", spec)


def compare(spec: Mapping[str, Any], listener: Listener = quiet) -> AnyRecord:
    """Proves and weighs both artifacts, each in its own process, then times them in turns in several more.

    When either does not pass, nothing is timed.

    Args:
        spec: Keys of kind compare.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    return _run("compare", spec, listener)


def sustain(spec: Mapping[str, Any]) -> AnyRecord:
    """Proves one artifact and watches its latency over `duration_s`, in one process.

    Raises:
        UserError: The spec is malformed.
    """
    return _run("sustain", spec)


def throughput(spec: Mapping[str, Any], listener: Listener = quiet) -> AnyRecord:
    """Counts the inferences a second of each of `instances_count` processes that run for `duration_s` at once.

    Args:
        spec: Keys of kind throughput.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    return _run("throughput", spec, listener)


def loadgen(spec: Mapping[str, Any]) -> AnyRecord:
    """Runs one `scenario` of MLPerf for `duration_s`, by the optional package mlcommons-loadgen.

    Raises:
        UserError: The spec is malformed.
    """
    return _run("loadgen", spec)


def turns(spec: Mapping[str, Any]) -> AnyRecord:
    """CPU seconds of the artifact and of each of `others`, in turns, in one process; none is proven or weighed.

    Raises:
        UserError: The spec is malformed.
    """
    return _run("turns", spec)


def run(spec: Mapping[str, Any], listener: Listener = quiet) -> AnyRecord:
    """Runs whatever the `kind` of the spec asks for ("bench" where it says nothing).

    Args:
        spec: Keys of that kind.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    return _run(spec.get("kind", specs.DEFAULT_KIND), spec, listener)


def _run(kind: Any, data: Mapping[str, Any], listener: Listener = quiet) -> AnyRecord:
    if data.get("kind", kind) != kind:
        raise UserError(f"this call runs kind {kind!r}, the spec says {data['kind']!r}; leave the key out.")
    spec = specs.from_dict({"schema_version": specs.SCHEMA_VERSION, **data, "kind": kind})
    record: AnyRecord = specs.load_kind(kind).run(spec, listener)
    return record
