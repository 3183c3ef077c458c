"""Names of options are those of the class, without importing it."""

import importlib

import pytest

from edgekit.errors import UserError
from edgekit.ladder.option_names import check_names, names_of
from edgekit.records import Step
from edgekit.technique import TECHNIQUES


@pytest.mark.parametrize("technique", sorted(TECHNIQUES))
def test_the_text_tells_the_options_of_the_class(technique: str) -> None:
    options = importlib.import_module(f"edgekit.techniques.{technique}").Options
    assert names_of(technique) == options.__struct_fields__


def test_a_mistyped_option_is_named_with_the_one_that_was_meant() -> None:
    with pytest.raises(UserError, match=r"^prune has no option 'mcs'; did you mean 'macs'"):
        check_names(Step(technique="prune", options={"mcs": 0.5}))
    check_names(Step(technique="prune", options={"macs": 0.5}))
    check_names(Step(technique="a_plug_in", options={"any": 1}))
