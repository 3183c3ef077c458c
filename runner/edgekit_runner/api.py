"""What a program calls: a spec in, a record out. Each call runs in fresh processes of its own.

    record = bench({"artifact": "model.onnx", "golden": "golden.npz", "golden_atol": 0.1})

`schema_version` and `kind` may be left out of the dict; its other keys are the fields of `Spec` in kinds/KIND.py, and
those of the record are the keys of `Record` there. A spec that is malformed raises `UserError`; what happens after that
is in the record (`status`, `reason`, `error_kind`), and `record.exit_code` maps it.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from edgekit_runner import spec as specs
from edgekit_runner.errors import UserError
from edgekit_runner.record import Listener, quiet

if TYPE_CHECKING:  # a caller of one kind loads no other
    from edgekit_runner.kinds.bench import Record as BenchRecord
    from edgekit_runner.kinds.check import Record as CheckRecord
    from edgekit_runner.kinds.compare import Record as CompareRecord
    from edgekit_runner.kinds.instructions import Record as InstructionsRecord
    from edgekit_runner.kinds.loadgen import Record as LoadgenRecord
    from edgekit_runner.kinds.sustain import Record as SustainRecord
    from edgekit_runner.kinds.throughput import Record as ThroughputRecord
    from edgekit_runner.kinds.turns import Record as TurnsRecord

    KindRecord: TypeAlias = (
        BenchRecord
        | CheckRecord
        | CompareRecord
        | InstructionsRecord
        | LoadgenRecord
        | SustainRecord
        | ThroughputRecord
        | TurnsRecord
    )


def bench(spec: Mapping[str, Any], listener: Listener = quiet) -> "BenchRecord":
    """Proves, times and weighs one artifact, in several processes one after the other.

    Args:
        spec: Keys of kind bench.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    record: BenchRecord = _run("bench", spec, listener)
    return record


def check(spec: Mapping[str, Any]) -> "CheckRecord":
    """Proves and weighs one artifact without timing it (about `warmup_s` seconds).

    Raises:
        UserError: The spec is malformed.
    """
    record: CheckRecord = _run("check", spec)
    return record


def compare(spec: Mapping[str, Any], listener: Listener = quiet) -> "CompareRecord":
    """Proves and weighs both artifacts, each in its own process, then times them in turns in several more.

    When either does not pass, nothing is timed.

    Args:
        spec: Keys of kind compare.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    record: CompareRecord = _run("compare", spec, listener)
    return record


def sustain(spec: Mapping[str, Any]) -> "SustainRecord":
    """Proves one artifact and watches its latency over `duration_s`, in one process.

    Raises:
        UserError: The spec is malformed.
    """
    record: SustainRecord = _run("sustain", spec)
    return record


def throughput(spec: Mapping[str, Any], listener: Listener = quiet) -> "ThroughputRecord":
    """Counts the inferences a second of each of `instances_count` processes that run for `duration_s` at once.

    Args:
        spec: Keys of kind throughput.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    record: ThroughputRecord = _run("throughput", spec, listener)
    return record


def loadgen(spec: Mapping[str, Any]) -> "LoadgenRecord":
    """Runs one `scenario` of MLPerf for `duration_s`, by the optional package mlcommons-loadgen.

    Raises:
        UserError: The spec is malformed.
    """
    record: LoadgenRecord = _run("loadgen", spec)
    return record


def instructions(spec: Mapping[str, Any]) -> "InstructionsRecord":
    """Proves one artifact and counts the instructions of each of `runs_count` inferences, on an emulated CPU.

    Raises:
        UserError: The spec is malformed.
    """
    record: InstructionsRecord = _run("instructions", spec)
    return record


def turns(spec: Mapping[str, Any]) -> "TurnsRecord":
    """CPU seconds of the artifact and of each of `others`, in turns, in one process; none is proven or weighed.

    Raises:
        UserError: The spec is malformed.
    """
    record: TurnsRecord = _run("turns", spec)
    return record


def run(spec: Mapping[str, Any], listener: Listener = quiet) -> "KindRecord":
    """Runs whatever the `kind` of the spec asks for ("bench" where it says nothing).

    Args:
        spec: Keys of that kind.
        listener: Called with a text whenever there is progress.

    Raises:
        UserError: The spec is malformed.
    """
    record: KindRecord = _run(spec.get("kind", specs.DEFAULT_KIND), spec, listener)
    return record


def _run(kind: Any, data: Mapping[str, Any], listener: Listener = quiet) -> Any:
    if data.get("kind", kind) != kind:
        raise UserError(f"this call runs kind {kind!r}, the spec says {data['kind']!r}; leave the key out.")
    spec = specs.from_dict({"schema_version": specs.SCHEMA_VERSION, **data, "kind": kind})
    several = getattr(specs.load_kind(kind), "run", None)
    if several:
        return several(spec, listener)
    from edgekit_runner import spawn

    return spawn.run(spec)
