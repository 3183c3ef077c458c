"""Options as data: the type, range, choices and description of an option are its annotation.

    class Options(Settings):
        macs: Annotated[float, Meta(gt=0, le=1, description="share of multiply-accumulates to keep")] = 0.5
        scope: Annotated[Literal["uniform", "global"], Meta(description="how channels are ranked")] = "uniform"

One declaration checks the value, words the error message and prints the list of `edgekit techniques NAME`. The check
runs however the record is made, by `Options(macs=1.4)` or by `msgspec.convert`; `read` is `convert` with error messages
of our own. What is left for the `__post_init__` of a subclass is what relates two options to each other.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, NamedTuple, TypeVar

import msgspec
from msgspec import inspect

from edgekit.errors import UserError
from edgekit.records._base import Record, convert
from edgekit.records.inputs import Scalar

_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "vartuple": "a list",
}


class Settings(Record):
    """Base of all records of options: each value is checked against its annotation, and then has the declared type.

    Raises:
        UserError: A value has another type, is out of range, is not among the choices, or is not finite.
    """

    #: what error messages call the options; by default the name of the module, which is that of the technique
    owner: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            given = getattr(self, name)
            value = _checked(type(self), name, given, strict=True)
            if type(value) is not type(given):
                msgspec.structs.force_setattr(self, name, value)


class Option(Record):
    """One option of a technique, as `edgekit techniques NAME` lists it.

    Attributes:
        name: The name of the field.
        type: "int", "float", "bool" or "str".
        default: The value that it has unless another is given.
        allowed: The range or the choices, in words.
        description: What it does.
    """

    name: str
    type: str
    default: Scalar | None
    allowed: str
    description: str


S = TypeVar("S", bound=Settings)


def read(kind: type[S], given: Mapping[str, Any], strict: bool = True) -> S:
    """Makes a record of options from names and values.

    Args:
        kind: The record to make.
        given: Values by name; options that are not named keep their defaults.
        strict: False also takes numbers and truth values that are written as text, as on a command line.

    Raises:
        UserError: `kind` has no option of that name, or does not allow the value.
    """
    for name in given:
        if name not in kind.__struct_fields__:
            raise UserError(unknown_option(_owner(kind), name, kind.__struct_fields__))
    return kind(**{name: _checked(kind, name, value, strict) for name, value in given.items()})


def options_of(kind: type[Settings]) -> tuple[Option, ...]:
    """Lists the options that `kind` declares, in order."""
    return tuple(
        Option(
            name=name,
            type=declared.kind,
            default=declared.default,
            allowed=", ".join(declared.allowed),
            description=declared.description,
        )
        for name, declared in _declared(kind).items()
    )


class _Declared(NamedTuple):
    """An annotation taken apart.

    Attributes:
        hint: The annotation itself.
    """

    hint: Any
    kind: str
    default: Any
    allowed: list[str]
    description: str


@cache
def _declared(kind: type[Settings]) -> dict[str, _Declared]:
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    hints = {field.name: field.type for field in msgspec.structs.fields(kind)}
    return {field.name: _taken_apart(hints[field.name], field) for field in described.fields}


def _taken_apart(hint: Any, field: inspect.Field) -> _Declared:
    inner, none, description = field.type, list[str](), ""
    if isinstance(inner, inspect.UnionType):
        (inner,) = (part for part in inner.types if not isinstance(part, inspect.NoneType))
        none = ["or none"]
    if isinstance(inner, inspect.Metadata):
        description = str((inner.extra_json_schema or {}).get("description", ""))
        inner = inner.type
    if isinstance(inner, inspect.LiteralType):
        choices = [str(value) for value in inner.values]
        return _Declared(hint, type(inner.values[0]).__name__, field.default, choices + none, description)
    kind = type(inner).__name__.removesuffix("Type").lower()
    bounds = [
        f"{word} {value}" for key, word in _BOUNDS.items() if (value := getattr(inner, key, None)) is not None
    ]
    words = [_WORDS[kind]] if kind == "int" or not bounds else []
    return _Declared(hint, kind, field.default, words + bounds + none, description)


def _checked(kind: type[Settings], name: str, given: Any, strict: bool) -> Any:
    """Returns the value in its declared type."""
    plain = (
        float(given) if isinstance(given, float) else given
    )  # numpy's float64 is a float too, but not to msgspec
    try:
        value = convert(plain, _declared(kind)[name].hint, strict=strict)
    except msgspec.ValidationError:
        raise UserError(_refusal(kind, name, given)) from None
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(_refusal(kind, name, given))
    return value


def _refusal(kind: type[Settings], name: str, given: Any) -> str:
    declared = _declared(kind)[name]
    about = f" ({declared.description})" if declared.description else ""
    return f"{_owner(kind)}: {name} is {given!r}; allowed: {', '.join(declared.allowed)}{about}"


def unknown_option(owner: str, name: str, known: Sequence[str]) -> str:
    """Returns the sentence for an option that there is not.

    Args:
        owner: What has the options.
        name: The option that was given.
        known: Those that there are.
    """
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{owner} has no option {name!r}; {hint}allowed options: {', '.join(known) or 'none'}"


def _owner(kind: type[Settings]) -> str:
    return kind.owner or kind.__module__.rpartition(".")[2]
