"""Finished stages outlive their run: found by what went in, wherever the folders lie, and trusted no more than a work folder."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from child_functions import Answer, Order
from commands import edgekit

from edgekit.engine import identity, kept_texts
from edgekit.engine.catalogue import COMPRESS, EXPORT, PROVE, Stage
from edgekit.engine.child import RESULT
from edgekit.engine.events import Event
from edgekit.engine.identity import Places, of_stage
from edgekit.engine.parts import CALIBRATION, CODE, GRAPH, METRIC, QUESTIONS, RANDOM, TRAINING, WEIGHTS
from edgekit.engine.specs import CompressSpec, Context, ExportSpec
from edgekit.engine.stage_cache import STAGES, StageCache
from edgekit.engine.stages import Stages
from edgekit.engine.task_source import TaskSource
from edgekit.engine.user_cache import cache_folder, private_folder
from edgekit.errors import UserError
from edgekit.ladder.build import FLOAT
from edgekit.profile.reading import load_target
from edgekit.records import Candidate, Step
from edgekit.target import without_ladder

PARTS = {GRAPH: "g", WEIGHTS: "w", QUESTIONS: "q", METRIC: "m", CALIBRATION: "c", CODE: "t", TRAINING: "d"}
PLACES = Stage(name="place", function="child_functions:place", spec=Order, result=Answer)
Run = Callable[..., tuple[list[str], Answer]]


@pytest.fixture
def cache(tmp_path: Path) -> StageCache:
    return StageCache(tmp_path / "cache" / "stages")


@pytest.fixture
def run(tmp_path: Path, cache: StageCache) -> Run:
    """A run of two stages, the second of which reads the first one's file, in a work folder of its own."""

    def run(work: str, text: str = "a", parts: dict[str, str] = PARTS) -> tuple[list[str], Answer]:
        events: list[Event] = []
        stages = Stages(tmp_path / work, 2, events.append)
        stages.use(cache, parts)
        first, _ = stages.run(PLACES, lambda folder: Order(text=text, folder=str(folder)), label="first")
        second, _ = stages.run(PLACES, lambda folder: Order(text=first.text, folder=str(folder)), target="x")
        return [event.state for event in events if event.state != "started"], second

    return run


def test_another_run_in_another_folder_takes_them_over(run: Run, tmp_path: Path) -> None:
    states, made = run("one")
    again, taken = run("two")
    assert (states, again) == (["done", "done"], ["reused", "reused"])
    assert Path(taken.text).is_relative_to(tmp_path / "two") and Path(taken.text).read_text() == "a!!"
    assert taken.process == made.process, "nothing was run"


def test_a_time_is_taken_over_if_nothing_disturbed_it_and_the_machine_was_not_started_anew(
    tmp_path: Path, cache: StageCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states(work: str, lasts: bool = True, calm: bool = True) -> list[str]:
        events: list[Event] = []
        stages = Stages(tmp_path / work, 2, events.append)
        stages.use(cache, PARTS)
        stage = replace(PLACES, alone=True, lasts=lambda _: lasts, worth_keeping=lambda _: calm)
        stages.run(stage, lambda folder: Order(text="a", folder=str(folder)))
        return [event.state for event in events if event.state != "started"]

    assert [states("never", lasts=False), states("never again", lasts=False)] == [["done"]] * 2
    assert [states("disturbed", calm=False), states("calm"), states("later")] == [
        ["done"],
        ["done"],
        ["reused"],
    ]
    monkeypatch.setattr(identity, "boot", lambda: "another start")
    assert states("started anew") == ["done"]
    monkeypatch.setattr(identity, "boot", lambda: "")
    assert [states("unknown"), states("unknown again")] == [["done"]] * 2


def test_what_differs_is_run(run: Run) -> None:
    run("one")
    assert run("two", text="b")[0] == ["done", "done"]
    assert run("three", parts={**PARTS, WEIGHTS: "others"})[0] == ["done", "done"]


def test_data_that_is_not_the_same_twice_is_no_content(run: Run, cache: StageCache) -> None:
    unstable = {**PARTS, TRAINING: RANDOM}
    assert [run(work, parts=unstable)[0] for work in ("one", "two")] == [["done", "done"]] * 2
    assert cache.entries() == []


@pytest.mark.parametrize("damage", [b"", b"other", None])
def test_a_damaged_entry_is_made_again(run: Run, cache: StageCache, damage: bytes | None) -> None:
    run("one")
    for file in cache.root.rglob("said.txt"):
        file.unlink() if damage is None else file.write_bytes(damage)
    states, made = run("two")
    assert states == ["done", "done"] and Path(made.text).read_text() == "a!!"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"files": {"../../thesis.txt": ""}, "result": {"text": "@none/x"}}']
)
def test_a_damaged_result_is_made_again(run: Run, cache: StageCache, text: str) -> None:
    run("one")
    for entry in cache.entries():
        (entry.path / RESULT).write_text(text)
    assert run("two")[0] == ["done", "done"]


def test_a_changed_output_changes_no_entry(run: Run) -> None:
    Path(run("one")[1].text).write_text("edited by the user")
    assert Path(run("two")[1].text).read_text() == "a!!"


def test_the_least_recently_used_go_first(run: Run, cache: StageCache, tmp_path: Path) -> None:
    run("one")
    first, second = cache.entries()
    os.utime(second.path, (1, 1))
    kept_bytes = StageCache(cache.root, first.size_bytes + 10)
    assert [entry.path for entry in kept_bytes.shrink(kept_bytes.limit_bytes)] == [second.path]
    assert run("two")[0] == ["reused", "done"]


def test_a_stage_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = StageCache(tmp_path / "small", 1)
    stages = Stages(tmp_path / "work", 2, lambda _: None)
    stages.use(cache, PARTS)
    stages.run(PLACES, lambda folder: Order(text="long", folder=str(folder)))
    assert list(cache.root.iterdir()) == []


def test_a_linked_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "stages").symlink_to(tmp_path / "thesis")
    with pytest.raises(UserError, match="is a link"):
        StageCache(tmp_path / "stages")


def test_only_its_user_reads_it(cache: StageCache) -> None:
    assert cache.root.stat().st_mode & 0o777 == 0o700


# --------------------------------------------------------------------------------------------- what counts


def export_spec(program: str = "/w/shared/trace/program.pt2") -> ExportSpec:
    candidate = Candidate(program=program, recipe=FLOAT)
    return ExportSpec(candidate=candidate, target=without_ladder(load_target("arm-mobile")), folder="FOLDER")


def compress_spec(technique: str) -> CompressSpec:
    return CompressSpec(
        candidate=export_spec().candidate,
        step=Step(technique=technique),
        source=TaskSource(name="t", reference="t.py:task"),
        context=Context(work="FOLDER"),
    )


SPECS = {
    "export": (EXPORT, export_spec()),
    "ptq": (COMPRESS, compress_spec("ptq")),
    "qat": (COMPRESS, compress_spec("qat")),
}


def depends(name: str) -> set[str]:
    """The parts of the fingerprint without which the identity is another one."""
    stage, spec = SPECS[name]
    places = Places(Path("/w"))
    places.know(Path("/w/shared/trace"), "@trace")
    whole = of_stage(stage, spec, PARTS, places, {})
    return {part for part in PARTS if of_stage(stage, spec, {**PARTS, part: "new"}, places, {}) != whole}


def test_another_metric_leaves_files_and_ranges_as_they_are() -> None:
    assert depends("export") == {GRAPH, WEIGHTS}
    assert depends("ptq") == {GRAPH, WEIGHTS, QUESTIONS, CALIBRATION}
    assert depends("qat") == set(PARTS)
    assert PROVE.ignores(None) == ()  # type: ignore[arg-type]


def test_a_program_of_an_unknown_stage_has_no_identity() -> None:
    assert of_stage(EXPORT, export_spec("/w/x86/ptq-1/program.pt2"), PARTS, Places(Path("/w")), {}) is None


# --------------------------------------------------------------------------------------------- the command line


def test_list_and_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    stages = Stages(tmp_path / "work", 2, lambda _: None)
    stages.use(StageCache(cache_folder(STAGES)), PARTS)
    stages.run(PLACES, lambda folder: Order(text="a", folder=str(folder)), label="export int8 onnx")
    assert re.search(r"0\.0 MB  export int8 onnx\n1 stages, ", edgekit("cache", "list").stdout)
    listed = json.loads(edgekit("cache", "list", "--json").stdout)
    assert [entry["stage"] for entry in listed["entries"]] == ["export int8 onnx"]
    assert edgekit("cache", "clear").stdout.startswith("removed 1 stages, ")
    assert edgekit("cache", "list").stdout.startswith("0 stages, ")


def test_what_else_is_kept_is_listed_and_what_runs_left_is_cleared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = kept_texts.keep("x" * 1000)
    fetched = private_folder("beside") / "onnxruntime" / "file"
    fetched.parent.mkdir()
    fetched.write_bytes(bytes(2000))
    listed = json.loads(edgekit("cache", "list", "--json").stdout)["others"]
    assert listed == [
        {"name": "beside", "size_bytes": 2000, "is_cleared": False},
        {"name": kept_texts.OUTPUTS, "size_bytes": 1000, "is_cleared": True},
    ]
    assert "MB in " + str(fetched.parents[1]) + "; clear leaves it\n" in edgekit("cache", "list").stdout
    assert json.loads(edgekit("cache", "clear", "--json").stdout)["freed_bytes"] == 1000
    assert fetched.exists() and not kept.parent.exists()
