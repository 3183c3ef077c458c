"""What the value of a key of a spec may be; a rule stands in the annotation of the key's field."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

from edgekit_runner.errors import UserError

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


def held(value: Any, rule: Rule) -> Any:
    """A list as the tuple that a record holds."""
    return tuple(value) if isinstance(value, list) and rule.type in ("counts", "texts") else value


def check(name: str, value: Any, rule: Rule) -> None:
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
