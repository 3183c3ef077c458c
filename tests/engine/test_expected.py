"""What is left of each target's path, by the times that were kept of earlier runs."""

import json
from pathlib import Path

import pytest

from edgekit.engine.catalogue import EXPORT, MEASURE, PROVE
from edgekit.engine.expected import Ahead, Expected
from edgekit.engine.stage_times import FILE, MOST, StageTimes
from edgekit.errors import UserError
from edgekit.ladder.path import path_of
from edgekit.ladder.planner import plan
from edgekit.profile.reading import load_target
from edgekit.records import TaskFacts

FLOAT = Ahead(EXPORT, "", "export float32 onnx")


def path(target: str) -> list[Ahead]:
    return [FLOAT, Ahead(PROVE, target, "verify"), Ahead(MEASURE, target, "measure")]


def kept(folder: Path, times: dict[str, float], model: str = "m") -> StageTimes:
    found = StageTimes(folder)
    for name, wall_s in times.items():
        owner, _, label = name.partition("/")
        found.note(model, owner, label, wall_s)
    found.keep()
    return StageTimes(folder)


TIMES = {"/export float32 onnx": 10.0, "a/verify": 4.0, "a/measure": 8.0, "b/verify": 20.0, "b/measure": 8.0}


def test_the_longest_path_is_the_most_urgent_and_the_whole_is_no_shorter(tmp_path: Path) -> None:
    expected = Expected(2, kept(tmp_path / "times", TIMES), "m")
    for target in ("a", "b"):
        expected.path(target, path(target))
    assert (expected.left_s("a"), expected.left_s("b")) == (22.0, 38.0)
    assert expected.whole_left_s() == 38.0  # 34 s on two cores and 16 s alone would be less
    expected.ended("", FLOAT.label, 9.0)
    assert (expected.left_s("a"), expected.left_s("b")) == (12.0, 28.0)
    expected.ended("b", "verify", None)
    assert (expected.left_s("a"), expected.whole_left_s()) == (12.0, 18.0)
    expected.path("a", ())
    assert expected.whole_left_s() == 8.0


def test_another_model_says_what_is_urgent_but_not_when_it_ends(tmp_path: Path) -> None:
    expected = Expected(1, kept(tmp_path / "times", TIMES), "another")
    expected.path("a", path("a"))
    assert expected.left_s("a") == 22.0 and expected.whole_left_s() is None
    unknown = Expected(1, StageTimes(), "m")
    unknown.path("a", path("a"))
    assert unknown.left_s("a") == EXPORT.usual_s + PROVE.usual_s + MEASURE.usual_s


def test_the_latest_figures_are_kept_beside_those_of_other_runs(tmp_path: Path) -> None:
    folder = tmp_path / "times"
    late = StageTimes(folder)
    kept(folder, {"a/verify": 1.0, "a/measure": 2.0})
    late.note("m", "a", "verify", 3.0)
    late.keep()
    found = StageTimes(folder)
    assert (found.of("m", "a", "verify"), found.of("m", "a", "measure")) == (3.0, 2.0)
    kept(folder, {f"t/{number}": 1.0 for number in range(MOST)})
    assert len(json.loads((folder / FILE).read_text())) == MOST
    assert StageTimes(folder).of("m", "a", "verify") is None


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", '{"m/a/verify": -1, "m/a/measure": "x", "m/b/verify": true}']
)
def test_what_is_no_time_is_not_believed(tmp_path: Path, text: str) -> None:
    kept(tmp_path / "times", TIMES)
    (tmp_path / "times" / FILE).write_text(text)
    found = StageTimes(tmp_path / "times")
    assert all(found.of("m", owner, label) is None for owner in "ab" for label in ("verify", "measure"))


def test_a_link_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    kept(tmp_path / "times", TIMES)
    (tmp_path / "other").write_text("{}")
    (tmp_path / "times" / FILE).unlink()
    (tmp_path / "times" / FILE).symlink_to(tmp_path / "other")
    with pytest.raises(UserError, match="is a link"):
        StageTimes(tmp_path / "times")


def test_the_path_of_a_recipe_is_what_it_will_run() -> None:
    facts = TaskFacts(name="t", calibration=True, training=True)
    target = load_target("tflite-int8")
    recipes = {recipe.name: recipe for recipe in plan(facts, target).recipes}
    whole = [(ahead.owner, ahead.label) for ahead in path_of(recipes["prune(0.5) > distill > qat"], target)]
    assert whole == [
        ("", "export float32 tflite"), ("", "prune"), ("", "distill"), ("tflite-int8", "prune(0.5) > distill > qat"),
        ("tflite-int8", "export int8 tflite"), ("tflite-int8", "verify"), ("tflite-int8", "measure"),
    ]  # fmt: skip
    assert [ahead.label for ahead in path_of(recipes["float32"], target)] == [
        "export float32 tflite",
        "verify",
        "measure",
    ]
