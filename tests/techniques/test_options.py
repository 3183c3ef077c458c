"""Options of every technique: declared once, checked however they are made, and listed in words."""

import importlib
import math
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pytest
from msgspec import Meta

from edgekit import techniques
from edgekit.distill import modes
from edgekit.errors import UserError
from edgekit.prune import criteria
from edgekit.quant import estimators
from edgekit.records._options import Option, Settings, options_of, read
from edgekit.techniques import prune, ptq
from edgekit.train import settings

NAMES = sorted(p.stem for p in Path(techniques.__file__).parent.glob("[!_]*.py"))
KINDS = [importlib.import_module(f"edgekit.techniques.{name}").Options for name in NAMES] + [settings.Options]


class Some(Settings):
    owner = "some"

    share: Annotated[float, Meta(gt=0, le=1, description="what to keep")] = 0.5
    norm: Annotated[float, Meta(ge=0)] | None = None
    bits: Literal[2, 4] = 2
    way: Annotated[Literal["up", "down"], Meta(description="where to")] = "up"
    count: Annotated[int, Meta(ge=1)] = 1
    on: bool = False
    name: str = ""


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 1.4}, "some: share is 1.4; allowed: above 0, at most 1 (what to keep)"),
        ({"share": 0}, "some: share is 0; allowed: above 0, at most 1 (what to keep)"),
        ({"share": math.nan}, "some: share is nan; allowed: above 0, at most 1 (what to keep)"),
        ({"share": "half"}, "some: share is 'half'; allowed: above 0, at most 1 (what to keep)"),
        ({"share": True}, "some: share is True; allowed: above 0, at most 1 (what to keep)"),
        ({"norm": -1}, "some: norm is -1; allowed: at least 0, or none"),
        ({"norm": math.inf}, "some: norm is inf; allowed: at least 0, or none"),
        ({"bits": 3}, "some: bits is 3; allowed: 2, 4"),
        ({"way": "left"}, "some: way is 'left'; allowed: down, up (where to)"),
        ({"count": 1.5}, "some: count is 1.5; allowed: a whole number, at least 1"),
        ({"on": 1}, "some: on is 1; allowed: true or false"),
        ({"name": 3}, "some: name is 3; allowed: text"),
    ],
)
def test_a_value_that_is_not_allowed(given: dict[str, Any], message: str) -> None:
    for make in (lambda: Some(**given), lambda: read(Some, given)):
        with pytest.raises(UserError) as caught:
            make()
        assert str(caught.value) == message
    with pytest.raises((UserError, msgspec.ValidationError)):
        msgspec.convert(given, Some)


def test_an_option_that_there_is_not() -> None:
    message = r"some has no option 'shore'; did you mean 'share'\? allowed options: share, norm, bits"
    with pytest.raises(UserError, match=message):
        read(Some, {"shore": 1})


def test_values_have_the_declared_type() -> None:
    made = Some(share=1, norm=np.float64(2.0))
    assert (made.share, made.norm) == (1.0, 2.0)
    assert type(made.share) is type(made.norm) is float
    assert msgspec.json.encode(made).startswith(b'{"share":1.0,"norm":2.0,')
    assert read(Some, {"share": 1, "norm": 2}) == made == msgspec.convert({"share": 1, "norm": 2}, Some)


def test_text_is_read_where_it_is_asked_for() -> None:
    text = {"share": "0.25", "norm": "3", "bits": "4", "count": "7", "on": "true", "name": "5"}
    wanted = Some(share=0.25, norm=3.0, bits=4, count=7, on=True, name="5")
    assert read(Some, text, strict=False) == wanted
    with pytest.raises(UserError, match="count is 'seven'; allowed: a whole number, at least 1"):
        read(Some, {"count": "seven"}, strict=False)


def test_options_are_listed_in_words() -> None:
    found = {option.name: option for option in options_of(Some)}
    assert list(found) == list(Some.__struct_fields__)
    assert found["share"] == Option(
        name="share", type="float", default=0.5, allowed="above 0, at most 1", description="what to keep"
    )
    assert found["norm"].default is None
    assert (found["bits"].type, found["bits"].allowed) == ("int", "2, 4")


@pytest.mark.parametrize("kind", KINDS, ids=[*NAMES, "training"])
def test_every_option_says_what_it_does(kind: type[Settings]) -> None:
    assert issubclass(kind, Settings)
    assert all(option.description for option in options_of(kind))
    defaults = msgspec.to_builtins(kind())
    assert read(kind, defaults) == kind() == msgspec.convert(defaults, kind)


def test_choices_are_the_files_there_are() -> None:
    """A new criterion, mode or estimator is a file, and its name in the type of the option."""
    for kind, name, there in (
        (prune.Options, "criterion", criteria.names()),
        (importlib.import_module("edgekit.techniques.distill").Options, "mode", modes.names()),
        (ptq.Options, "estimator", estimators.names()),
    ):
        (option,) = (option for option in options_of(kind) if option.name == name)
        assert option.allowed.split(", ") == sorted(there)
