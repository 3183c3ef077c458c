"""The one table of techniques: equal to the files of the folder, and fit for what parser, planner and builder ask of it."""

import re
from pathlib import Path

import pytest

import edgekit
from edgekit import technique
from edgekit.errors import UserError
from edgekit.ladder.recipe_parser import parse
from edgekit.profile.reading import load_target, target_names
from edgekit.records import Step

FOLDER = Path(edgekit.__file__).with_name("techniques")
ASKS = re.compile(r"\b(metric_of|score)\(task")


def test_the_table_is_equal_to_the_files_of_the_folder() -> None:
    files = {path.stem for path in FOLDER.glob("*.py") if not path.stem.startswith("_")}
    assert set(technique.TECHNIQUES) == files


def test_every_recipe_of_the_profiles_is_a_chain_that_fits() -> None:
    for name in target_names():
        for rung in load_target(name).ladder:
            technique.check_chain([step.technique for step in rung.steps])


@pytest.mark.parametrize("name", sorted(technique.TECHNIQUES))
def test_a_row_makes_sense(name: str) -> None:
    row = technique.of(name)
    assert row.takes
    assert not (row.shared and row.gives != "float program"), "what targets share is a float program"
    assert not row.at_export or row.gives == "file"
    assert row.precision == "float32" or row.gives != "float program"


@pytest.mark.parametrize("name", ["lottery", "binarize", "distill", "pretrain", "qat"])
def test_what_trains_needs_training_data(name: str) -> None:
    assert "training" in parse(name).needs


def test_only_a_scope_of_time_asks_for_timed_widths() -> None:
    assert technique.times_widths(Step(technique="prune", options={"scope": "latency"}))
    assert not technique.times_widths(Step(technique="prune", options={"scope": "global"}))
    assert not technique.times_widths(Step(technique="ptq", options={}))


def test_float_steps_may_follow_each_other_in_any_order() -> None:
    technique.check_chain(["distill", "prune", "sparsify", "prune", "ptq"])
    with pytest.raises(UserError, match="prune needs a float program; put it before qat"):
        technique.check_chain(["qat", "prune"])


@pytest.mark.parametrize("name", sorted(technique.TECHNIQUES))
def test_what_asks_the_metric_says_so(name: str) -> None:
    helpers = [path.stem for path in FOLDER.glob("_*.py") if ASKS.search(path.read_text())]
    text = (FOLDER / f"{name}.py").read_text()
    asks = bool(ASKS.search(text)) or any(f"techniques.{helper} import" in text for helper in helpers)
    assert technique.of(name).scores >= asks
