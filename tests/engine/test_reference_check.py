"""A mistyped reference is answered from the text of the file, in the words that running it would end with."""

import sys
from pathlib import Path

import pytest

from edgekit.engine.reference_check import check_reference
from edgekit.engine.task_reference import load_task
from edgekit.errors import TaskError

FILE = """
import edgekit as ek
from os import path as place
if place:
    other = ek.Task
try:
    import torch as framework
except ImportError:
    framework = None
def make(bits: int = 8, fast: bool = False, name: str = place.sep) -> "ek.Task":
    raise SystemExit("never run")
def open_ended(**more): ...
def _hidden(): ...
ready = ek.Task(name="t", model=print, example_inputs=(), calibration=[], metric=print) if False else None
"""


def refusal(place: Path, name: str, **settings: str) -> str:
    with pytest.raises(TaskError) as caught:
        check_reference(f"{place}:{name}", settings)
    return str(caught.value)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(FILE)
    return tmp_path / "nets.py"


@pytest.mark.parametrize("name", ["make", "other", "framework", "ready", "_hidden", "place"])
def test_name_that_the_text_binds_passes(place: Path, name: str) -> None:
    check_reference(f"{place}:{name}", {})


def test_mistyped_name_is_told_with_those_there_are(place: Path) -> None:
    said = refusal(place, "maek")
    assert said.startswith(f"{place} has no attribute 'maek'; it has: ") and "make" in said
    assert "_hidden" not in said


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"bit": "4"}, "takes no setting 'bit'; allowed: bits, fast, name"),
        ({"bits": "four"}, "setting bits='four'"),
        ({"fast": "perhaps"}, "expected true or false"),
    ],
)
def test_settings_are_checked_against_the_function(
    place: Path, settings: dict[str, str], expected: str
) -> None:
    assert expected in refusal(place, "make", **settings)


def test_settings_that_fit_pass(place: Path) -> None:
    check_reference(f"{place}:make", {"bits": "4", "fast": "yes", "name": "x"})


@pytest.mark.parametrize(
    "line", ["from os.path import *", "globals()['late'] = 1", "def __getattr__(name): ...", "(late := 1)"]
)
def test_name_that_may_come_from_elsewhere_is_left_to_the_run(place: Path, line: str) -> None:
    place.write_text(FILE + line + "\n")
    check_reference(f"{place}:late", {})


@pytest.mark.parametrize("text", ["x = " + "-" * 200_000 + "1", "x = " + "+".join("1" * 20_000)])
def test_a_file_that_is_nested_too_deeply_is_left_to_the_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.py").write_text(text)
    check_reference(f"{tmp_path / 'deep.py'}:task", {})


@pytest.mark.skipif(sys.platform != "linux", reason="names are text elsewhere")
def test_a_path_that_is_no_text_is_refused_before_the_work(tmp_path: Path) -> None:
    folder = tmp_path / "\udcff"
    folder.mkdir()
    (folder / "task.py").write_text("task = 1")
    with pytest.raises(TaskError, match="is not UTF-8, and torch cannot read it"):
        check_reference(f"{folder / 'task.py'}:task", {})


def test_file_with_a_mistake_is_left_to_the_run(place: Path) -> None:
    place.write_text("def task(:\n")
    check_reference(f"{place}:task", {})


@pytest.mark.parametrize(
    "reference", ["nothing.py:task", "no_such_module_at_all:task", "task", "nets.py:", ":task"]
)
def test_same_words_as_loading_it(reference: str) -> None:
    with pytest.raises(TaskError) as early:
        check_reference(reference, {})
    with pytest.raises(TaskError) as late:
        load_task(reference)
    assert str(early.value) == str(late.value)
