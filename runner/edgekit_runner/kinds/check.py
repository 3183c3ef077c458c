"""`check`: proves one artifact against its golden output and weighs it, without timing it."""

from dataclasses import dataclass
from typing import Any, ClassVar, TextIO

from edgekit_runner import spec as specs
from edgekit_runner.record import OneArtifact, Table
from edgekit_runner.value_rules import Flag


@dataclass(frozen=True, kw_only=True)
class Spec(specs.Spec):
    """`profile`: also times each operator, where the runtime tells."""

    kind: ClassVar[str] = "check"

    profile: Flag = False


class Record(OneArtifact):
    """The proof and the weight, and the time of each operator where it was asked for."""

    profile: Table | None


def of(spec: specs.Spec, profile: bool = False, **changes: Any) -> Spec:
    """The check of the artifact of another spec, under the same settings.

    Args:
        spec: A spec of any kind.
        profile: Whether to time each operator.
        **changes: Keys that all kinds have.
    """
    shared = {name: getattr(spec, name) for name in specs.rules(specs.Spec)}
    return Spec(profile=profile, **{**shared, **changes})


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        RunnerError: The artifact does not run, or is not what it should be.
    """
    from edgekit_runner.kinds import _operator_times, _phases

    with _phases.opened(spec, record) as (_, feeds):
        if spec.profile:
            _operator_times.add_profile(spec, feeds, record)
