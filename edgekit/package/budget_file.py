"""budget.toml: the limits that a pipeline holds an export or a bundle to. Closed: an unknown key lists the allowed ones."""

from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from edgekit.errors import UserError
from edgekit.records import Record, convert
from edgekit.records.foreign import read_toml

Limit = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, lt=1)]


class TargetLimits(Record):
    """What one target's artifact must keep.

    Attributes:
        max_size_bytes: Of the artifact on disk.
        max_download_bytes: Of the smaller of its gzip and zstd forms.
        min_metric: The task's metric of the artifact.
        max_drop: How far the metric may be below float's.
        max_cpu_ratio: CPU time / float's, measured on one of the target's machines.
        max_peak_memory_bytes: Of a process that runs it, measured there too.
        record: A record of `edgekit-runner bench` of this artifact, relative to the budget file.
        baseline: The record that it is compared with.
        max_slowdown: The share by which a figure of the record may be worse; 0.05 where it is not given.
        instructions: The counts of `edgekit verify --arm --counts` of this artifact, relative to the budget file.
        instructions_baseline: The counts that they are compared with.
        max_more_instructions: The share by which they may be more; 0.03 where it is not given.
        max_instruction_ratio: Instructions / the float file's, on the same CPU.
    """

    max_size_bytes: Limit | None = None
    max_download_bytes: Limit | None = None
    min_metric: float | None = None
    max_drop: Annotated[float, Meta(ge=0)] | None = None
    max_cpu_ratio: Limit | None = None
    max_peak_memory_bytes: Limit | None = None
    record: str | None = None
    baseline: str | None = None
    max_slowdown: Share | None = None
    instructions: str | None = None
    instructions_baseline: str | None = None
    max_more_instructions: Share | None = None
    max_instruction_ratio: Limit | None = None

    def __post_init__(self) -> None:
        if self.instructions_baseline is not None and self.instructions is None:
            raise ValueError("instructions_baseline goes with instructions")
        if (self.record is None) != (self.baseline is None):
            raise ValueError("record and baseline go together")


class AbiLimits(Record):
    """What all models together may take that an app carries for one ABI."""

    max_size_bytes: Limit


class BudgetFile(Record):
    """The whole file.

    Attributes:
        every: The limits of each target that has no own value for them.
        targets: Target -> its limits; each of them must be there.
        abi: ABI, such as "arm64-v8a" -> its limits.
        unmeasured: "refuse": a limit that no measurement decides is broken; "allow": it is told and passes.
    """

    every: TargetLimits = TargetLimits()
    targets: dict[str, TargetLimits] = {}
    abi: dict[str, AbiLimits] = {}
    unmeasured: str = "refuse"

    def __post_init__(self) -> None:
        if self.unmeasured not in ("refuse", "allow"):
            raise ValueError(f"unmeasured is {self.unmeasured!r}; allowed: refuse, allow")
        if self.every.record is not None or self.every.instructions is not None:
            raise ValueError("record, instructions and their baselines belong to a table [targets.NAME]")

    def of(self, target: str) -> TargetLimits:
        """Returns the limits of a target: its own, and for those it lacks those of every target."""
        own = msgspec.structs.asdict(self.targets.get(target, TargetLimits()))
        common = msgspec.structs.asdict(self.every)
        return TargetLimits(**{name: common[name] if own[name] is None else own[name] for name in own})


def read(path: Path) -> BudgetFile:
    """Reads a budget file.

    Raises:
        UserError: It cannot be read, is no TOML, or holds an unknown key or a value out of range.
    """
    try:
        data = read_toml(path)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; give a TOML file of limits") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a TOML file: {error}") from error
    tables: dict[str, tuple[object, type[msgspec.Struct]]] = {
        "": (data, BudgetFile),
        "every": (data.get("every", {}), TargetLimits),
        **{f"targets.{name}": (table, TargetLimits) for name, table in _tables(data, "targets")},
        **{f"abi.{name}": (table, AbiLimits) for name, table in _tables(data, "abi")},
    }
    for place, (table, kind) in tables.items():
        _check_keys(path, place, table, kind)
    try:
        return convert(data, BudgetFile)
    except (msgspec.ValidationError, ValueError) as error:
        raise UserError(f"{path}: {error}") from error


def _tables(data: dict[str, object], name: str) -> list[tuple[str, object]]:
    found = data.get(name)
    return list(found.items()) if isinstance(found, dict) else []


def _check_keys(path: Path, place: str, table: object, kind: type[msgspec.Struct]) -> None:
    for key in table if isinstance(table, dict) else ():
        if key not in kind.__struct_fields__:
            allowed = ", ".join(kind.__struct_fields__)
            raise UserError(
                f"{path}: unknown key {key!r}{f' in [{place}]' if place else ''}; allowed: {allowed}"
            )
