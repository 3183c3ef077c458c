"""Target profiles: what a class of devices runs, as closed TOML.

A profile is data only. `load_target("x86-server")` reads a built-in one, `load_target("my/board.toml")` the
user's own. Closed means: an unknown key is an error that lists the allowed ones.
"""

import difflib
from pathlib import Path
from typing import Any, get_args

import msgspec

from edgekit.errors import TargetError, UserError
from edgekit.formats import check_format, check_runtime
from edgekit.records import Budget, Kind, Precision, Quant, Record, Scalar
from edgekit.records.foreign import read_toml
from edgekit.rungs import drop_what_the_table_says, expand
from edgekit.technique import TECHNIQUES, Need, check_chain, needs_of


class Isa(Record):
    """The processors that serve this target.

    Attributes:
        arch: Machine names as the runner reports them.
        levels: Instruction-set level -> the fields of [quant] it overrides, weakest first; the first is the default.
        verify_exact: Whether the artifact is run unfused when the host's kernels are known to saturate where the target's
            are not.
    """

    arch: tuple[str, ...]
    levels: dict[str, dict[str, Scalar]]
    verify_exact: bool = False

    def __post_init__(self) -> None:
        if not self.levels:
            raise ValueError("[isa.levels] is empty; it needs at least one instruction-set level")
        allowed = Quant.__struct_fields__
        for level, fields in self.levels.items():
            for key in fields:
                if key not in allowed:
                    raise ValueError(
                        f"unknown key {key!r} in [isa.levels.{level}]; allowed: {', '.join(allowed)}"
                    )


class LadderStep(Record):
    """One step of a rung, and why it is taken."""

    technique: str
    reason: str
    options: dict[str, Scalar] = {}


class Rung(Record):
    """One entry of the ladder: a technique and its options, after the steps of `before`.

    Attributes:
        before: The steps that come first, as in prune, distill, qat.
        networks: The kinds of multiply-accumulates that it pays off for; empty is any.
        unfit: What becomes of other networks: the end of a sentence.
    """

    technique: str
    reason: str
    options: dict[str, Scalar] = {}
    before: tuple[LadderStep, ...] = ()
    networks: tuple[Kind, ...] = ()
    unfit: str = ""

    def __post_init__(self) -> None:
        if bool(self.networks) != bool(self.unfit):
            raise ValueError(
                f"{self.technique}: networks and unfit go together: which networks, and what becomes of the others"
            )

    @property
    def precision(self) -> Precision:
        """The precision that the recipe ends in."""
        return TECHNIQUES[self.technique].precision

    @property
    def needs(self) -> tuple[Need, ...]:
        """What the task must bring for all of its steps."""
        return needs_of([step.technique for step in self.steps])

    @property
    def steps(self) -> tuple[LadderStep, ...]:
        """All steps, in order."""
        last = LadderStep(technique=self.technique, reason=self.reason, options=self.options)
        return (*self.before, last)


class Deployment(Record):
    """The minimums an app build must respect."""

    abi: tuple[str, ...] = ()
    min_ios: int | None = None
    min_android_sdk: int | None = None
    min_runtime: str | None = None


class Target(Record):
    """A device class: runtime and format, arithmetic, instruction sets, the ladder of techniques, minimums.

    Attributes:
        precision_share: The part of the multiply-accumulates that must run in a precision for the file to be called by it.
        full_integer: Whether an int8 file with any operator that computes in float is refused.
        on_request: Whether "all" leaves this target out.
        free_batch: Whether the number of samples is chosen with every call, where the task does not say otherwise.
    """

    name: str
    summary: str
    runtime: str
    format: str
    precisions: tuple[Precision, ...]
    isa: Isa
    ladder: tuple[Rung, ...]
    quant: Quant | None = None
    channel_multiple: int = 1
    precision_share: float = 0.8
    full_integer: bool = False
    on_request: bool = False
    free_batch: bool = False
    budget: Budget = Budget()
    deployment: Deployment = Deployment()

    def __post_init__(self) -> None:
        check_format(self.format)
        check_runtime(self.runtime)
        if self.quant is None and "int8" in self.precisions:
            raise ValueError("precisions admit int8 but there is no [quant] table")
        if self.quant is None and any(self.isa.levels.values()):
            raise ValueError("[isa.levels] overrides fields of [quant], but there is no [quant] table")
        if not 0 < self.precision_share <= 1:
            raise ValueError(
                f"precision_share is {self.precision_share}; allowed is a share above 0, at most 1"
            )
        for level in self.isa.levels:
            self.quant_for(level)

    @property
    def default_isa(self) -> str:
        """The weakest level that the profile admits."""
        return next(iter(self.isa.levels))

    def quant_for(self, isa: str) -> Quant | None:
        """Returns the [quant] table with the overrides of one instruction-set level."""
        if isa not in self.isa.levels:
            allowed = ", ".join(self.isa.levels)
            raise TargetError(
                f"target {self.name} does not admit the instruction set {isa!r}; allowed: {allowed}"
            )
        if self.quant is None:
            return None
        return msgspec.convert({**msgspec.to_builtins(self.quant), **self.isa.levels[isa]}, Quant)

    def admits(self, arch: str, isa: str) -> bool:
        """Whether a machine of that architecture and instruction-set level is one of this target's machines."""
        return arch in self.isa.arch and isa in self.isa.levels


def without_ladder(target: Target) -> Target:
    """Returns what a stage must know of a target: another ladder or budget changes nothing of what is made for it."""
    return msgspec.structs.replace(target, ladder=(), budget=Budget())


RUNGS = "_rungs.toml"  # those that ladders share


def profile_dir() -> Path:
    """Returns the folder of built-in profiles, in a wheel and in a checkout alike."""
    packaged = Path(__file__).with_name("targets")
    return packaged if packaged.is_dir() else Path(__file__).parents[1] / "targets"


def target_names() -> list[str]:
    """Lists the built-in profiles; a file that begins with an underscore is not one."""
    return sorted(path.stem for path in profile_dir().glob("[!_]*.toml"))


def load_target(name_or_path: str) -> Target:
    """Reads a profile by its name, or by the path of a TOML file.

    Raises:
        TargetError: There is no such profile, it is not TOML, a key is unknown, or a value has a wrong type or is out of
            range.
    """
    path = _find(name_or_path)
    try:
        data = read_toml(path)
    except ValueError as error:
        raise TargetError(f"{path}: not a TOML file: {error}") from error
    except OSError as error:
        raise TargetError(f"{path}: cannot be read: {error.strerror}") from error
    if "name" in data:
        raise TargetError(f"{path}: unknown key 'name'; the file's stem is the target's name")
    expand(data, path, profile_dir() / RUNGS)
    drop_what_the_table_says(data, path)
    _check_keys(data, Target, "", path, hidden=frozenset({"name"}))
    try:
        target = msgspec.convert({"name": path.stem, **data}, Target)
    except msgspec.ValidationError as error:
        raise TargetError(f"{path}: {error}") from error
    _check_techniques(target, path)
    return target


def _check_techniques(target: Target, path: Path) -> None:
    for rung in target.ladder:
        names = [step.technique for step in rung.steps]
        for name in names:
            if name not in TECHNIQUES:
                raise TargetError(
                    f"{path}: unknown technique {name!r}; allowed: {', '.join(sorted(TECHNIQUES))}"
                )
        try:
            check_chain(names)
        except UserError as error:
            raise TargetError(f"{path}: {' > '.join(names)}: {error}") from error


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise TargetError(f"target file {name_or_path} does not exist")
        return path
    names = target_names()
    if name_or_path not in names:
        close = difflib.get_close_matches(name_or_path, names, n=1)
        hint = f" (did you mean {close[0]}?)" if close else ""
        raise TargetError(
            f"unknown target {name_or_path!r}{hint}; allowed: {', '.join(names)}, or the path of a .toml file"
        )
    return profile_dir() / f"{name_or_path}.toml"


def _check_keys(data: Any, kind: Any, where: str, path: Path, hidden: frozenset[str] = frozenset()) -> None:
    """Refuses a key that the record `kind` does not declare, at any depth, and lists the allowed ones."""
    record = _record_in(kind)
    if isinstance(data, list):
        for i, item in enumerate(data):
            _check_keys(item, kind, f"{where}[{i}]", path)
    elif isinstance(data, dict) and record is not None:
        fields = {f.encode_name: f.type for f in msgspec.structs.fields(record) if f.name not in hidden}
        for key, value in data.items():
            if key not in fields:
                table = f" in [{where}]" if where else ""
                raise TargetError(f"{path}: unknown key {key!r}{table}; allowed: {', '.join(fields)}")
            _check_keys(value, fields[key], f"{where}.{key}".lstrip("."), path)


def _record_in(kind: Any) -> type[Record] | None:
    """Returns the record type inside `kind`, `tuple[kind, ...]` or `kind | None`."""
    if isinstance(kind, type) and issubclass(kind, Record):
        return kind
    return next((found for found in map(_record_in, get_args(kind)) if found is not None), None)
