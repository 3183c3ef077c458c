"""The spec: one closed, versioned JSON object that tells the runner what to run.

It is a union with the tag `kind`: `kinds/KIND.py` holds the `Spec` of that kind, a frozen dataclass whose fields are
the keys that the kind has. The fields that all kinds have are here, and only `artifact` has no default. A key that
another kind has is checked and then left out; an unknown key, a wrong type, a value out of range or another schema
version is a `UserError`: a spec is never half understood.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple

from edgekit_runner.errors import UserError

SCHEMA_VERSION = 2
DEFAULT_KIND = "bench"
THREADS_MOST_COUNT = 1024  # a runtime tries to start as many as it is told, or crashes
LARGEST = 2**53  # whole numbers up to here survive any reader of JSON
LONGEST_S = 365 * 86400


class Rule(NamedTuple):
    """What the value of a key may be; it stands in the annotation of the field.

    Attributes:
        type: A key of `TYPES`.
        least: The smallest number that is allowed, in a list too.
        most: The largest number that is allowed.
        optional: Whether null is allowed.
        choices: The texts that are allowed; empty for any.
        refusal: What to say when a spec of another kind sets this key; empty where it may.
    """

    type: str
    least: float = 0
    most: float | None = None
    optional: bool = False
    choices: tuple[str, ...] = ()
    refusal: str = ""


Text = Annotated[str, Rule("text")]
OptionalText = Annotated[str | None, Rule("text", optional=True)]
Flag = Annotated[bool, Rule("flag")]
Whole = Annotated[int, Rule("count")]
Count = Annotated[int, Rule("count", 1)]
OptionalCount = Annotated[int | None, Rule("count", 1, optional=True)]
Ratio = Annotated[float, Rule("number")]
Tolerance = Annotated[float | None, Rule("number", optional=True)]
Seconds = Annotated[float, Rule("number", 0, LONGEST_S)]
SomeSeconds = Annotated[float, Rule("number", 0.001, LONGEST_S)]
Options = Annotated[Mapping[str, Any], Rule("object")]


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
    seed: Whole = 0
    warmup_count: Whole = 3
    warmup_s: Seconds = 0.5
    timeout_s: SomeSeconds = 600.0

    def __post_init__(self) -> None:
        for name, rule in rules(type(self)).items():
            _check(name, getattr(self, name), rule)

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
    "threads_count", "affinity", "batch_count", "seed", "warmup_count", "warmup_s", "options", "golden_atol",
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
    frozen = {name: _frozen(value, rules(spec)[name]) for name, value in given.items()}
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


def _frozen(value: Any, rule: Rule) -> Any:
    return tuple(value) if isinstance(value, list) and rule.type in ("counts", "texts") else value


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
        _check(name, _frozen(value, rule), rule)
        if rule.refusal and value:
            raise UserError(rule.refusal)


def _check(name: str, value: Any, rule: Rule) -> None:
    """Raises `UserError` for a value that breaks the rule of its key."""
    if value is None and rule.optional:
        return
    fits, wanted = TYPES[rule.type]
    if not fits(value, rule):
        allowed = wanted.format(least=rule.least, most=rule.most)
        raise UserError(f"spec key {name!r} is {value!r}; allowed: {allowed}.")
    if rule.choices and value not in rule.choices:
        raise UserError(f"spec key {name!r} is {value!r}; allowed: {', '.join(rule.choices)}.")
    if rule.type in ("number", "count") and rule.most is not None and value > rule.most:
        year = ", a year" if name.endswith("_s") else ""
        raise UserError(f"{name} is {value}; allowed: at most {rule.most}{year}.")


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _is_number(value: Any, rule: Rule) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    return number and value >= rule.least


def _are_counts(value: Any, rule: Rule) -> bool:
    items = value if isinstance(value, list | tuple) else ()
    return bool(items) and all(type(n) is int and rule.least <= n <= (rule.most or LARGEST) for n in items)


# what a type takes, and what it is called
TYPES: dict[str, tuple[Callable[[Any, Rule], bool], str]] = {
    "text": (lambda value, rule: _is_text(value), "a non-empty string"),
    "number": (_is_number, "a number, {least} to 2**53"),
    "count": (
        lambda value, rule: isinstance(value, int) and _is_number(value, rule),
        "a whole number, {least} to 2**53",
    ),
    "counts": (_are_counts, "a list of whole numbers, {least} to {most}"),
    "texts": (
        lambda value, rule: isinstance(value, list | tuple) and all(map(_is_text, value)),
        "a list of non-empty strings",
    ),
    "flag": (lambda value, rule: isinstance(value, bool), "true, false"),
    "object": (lambda value, rule: isinstance(value, dict), "an object"),
}
