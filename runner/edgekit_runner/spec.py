"""The spec: one closed, versioned JSON object that tells the runner what to run.

It is a union with the tag `kind`: `kinds/KIND.py` holds the `Spec` of that kind, a frozen dataclass whose fields are
the keys that the kind has. The fields that all kinds have are here, and only `artifact` has no default. A key that
another kind has is checked and then left out; an unknown key, a wrong type, a value out of range or another schema
version is a `UserError`: a spec is never half understood.
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, ClassVar

from edgekit_runner.errors import UserError
from edgekit_runner.value_rules import (
    OptionalCount,
    OptionalText,
    Options,
    Rule,
    Seconds,
    SomeSeconds,
    Text,
    Tolerance,
    Whole,
    check,
    held,
)

SCHEMA_VERSION = 2
DEFAULT_KIND = "bench"
THREADS_MOST_COUNT = 1024  # a runtime tries to start as many as it is told, or crashes


# no kind itself, so without the methods that cost a worker 0.3 ms each
@dataclass(frozen=True, kw_only=True, init=False, repr=False, eq=False)
class Spec:
    """What every kind of run is told. Times are in seconds.

    Attributes:
        kind: The tag of the union and the name of the file; not a field.
        stated: Keys beside those of `_ALWAYS_STATED` that a record of this kind states as its protocol.
        golden_atol: Tolerance in the unit of the model's own output; None for that of `stats.deviation.default_atol`.
        runtime: The module name of the backend; None for the first one that opens the format.
        affinity: CPUs as "0,2-3", "big" or "little"; None for where the system puts the process.
        batch_count: The batch to run; None for the artifact's own.
        state: Output -> the input that it feeds at the next step; then a run is a step of a stream.
        length_count: The length of every free axis behind the first; None for that of the golden input, else 1.
    """

    kind: ClassVar[str]
    stated: ClassVar[tuple[str, ...]] = ()

    artifact: Text
    format: OptionalText = None
    runtime: OptionalText = None
    golden: OptionalText = None
    golden_atol: Tolerance = None
    options: Options = field(default_factory=dict)
    threads_count: Annotated[int, Rule("count", 1, THREADS_MOST_COUNT)] = 1
    affinity: OptionalText = None
    batch_count: OptionalCount = None
    length_count: OptionalCount = None
    state: Options = field(default_factory=dict)
    seed: Whole = 0
    warmup_count: Whole = 3
    warmup_s: Seconds = 0.5
    timeout_s: SomeSeconds = 600.0

    def __post_init__(self) -> None:
        for name, rule in rules(type(self)).items():
            check(name, getattr(self, name), rule)

    @classmethod
    def complete(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Adds what the given keys imply.

        Args:
            given: Keys of this kind, not yet checked.

        Returns:
            The given keys and those that follow from them.

        Raises:
            UserError: A key without a default is not given.
        """
        if "artifact" not in given:
            raise UserError("the spec has no 'artifact': give the path of a model.")
        return dict(given)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object that `from_dict` reads back to an equal spec."""
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind, **vars(self)}

    def settings(self) -> dict[str, Any]:
        """The settings that bear on this measurement, as the record states them under `protocol`."""
        return {name: getattr(self, name) for name in (*_ALWAYS_STATED, *self.stated)}


_ALWAYS_STATED = (
    "threads_count", "affinity", "batch_count", "length_count", "state", "seed", "warmup_count", "warmup_s", "options", "golden_atol",
    "timeout_s",
)  # fmt: skip


@cache
def kinds() -> tuple[str, ...]:
    """The names of all kinds, which are those of the files in kinds/ that do not begin with an underscore."""
    package = importlib.import_module("edgekit_runner.kinds")
    names = (module.name for module in pkgutil.iter_modules(package.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_")))


def load_kind(kind: object) -> Any:
    """The module of a kind; the head of `kinds` says what it holds.

    Raises:
        UserError: There is no such kind.
    """
    if kind not in kinds():
        raise UserError(f"spec key 'kind' is {kind!r}; allowed: {', '.join(kinds())}.")
    return importlib.import_module(f"edgekit_runner.kinds.{kind}")


def rules(spec: type[Spec]) -> dict[str, Rule]:
    """The rule of each key of one kind."""
    return {each.name: each.type.__metadata__[0] for each in fields(spec)}  # type: ignore[union-attr]


def from_dict(data: object) -> Spec:
    """Reads a decoded JSON object.

    Returns:
        The `Spec` of the kind that the object names, `DEFAULT_KIND` where it names none.

    Raises:
        UserError: With the key, what was given and what is allowed.
    """
    if not isinstance(data, dict):
        raise UserError(f"a spec is a JSON object, not {type(data).__name__}.")
    version = data.get("schema_version")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UserError(
            f"spec schema_version is {version!r}; this runner reads {SCHEMA_VERSION}; update the older."
        )
    spec: type[Spec] = load_kind(data.get("kind", DEFAULT_KIND)).Spec
    given = {name: value for name, value in data.items() if name not in ("schema_version", "kind")}
    foreign = [name for name in given if name not in rules(spec)]
    if foreign:
        _check_foreign({name: given.pop(name) for name in foreign})
    frozen = {name: held(value, rules(spec)[name]) for name, value in given.items()}
    return spec(**spec.complete(frozen))


def read(text: str) -> Spec:
    """Reads a spec from JSON text.

    Raises:
        UserError: The text is not JSON, or not a spec.
    """
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the spec is not JSON: {error}.") from None
    return from_dict(data)


def _check_foreign(given: Mapping[str, Any]) -> None:
    """Checks the keys that the kind of a spec lacks: another kind has to have them."""
    known: dict[str, Rule] = {}
    for kind in kinds():
        known |= rules(load_kind(kind).Spec)
    unknown = sorted(str(name) for name in given if name not in known)
    if unknown:
        allowed = ", ".join(("schema_version", "kind", *known))
        raise UserError(f"unknown spec key {unknown[0]!r}; allowed: {allowed}.")
    for name, value in given.items():
        rule = known[name]
        check(name, held(value, rule), rule)
        if rule.refusal and value:
            raise UserError(rule.refusal)
