"""Stages run in children, equal work is done once, events are told."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from child_functions import Answer, Order
from waiting import WAIT_S, join, start

from edgekit.engine.catalogue import Stage
from edgekit.engine.events import Event, EventLog
from edgekit.engine.stages import Stages
from edgekit.errors import Stopped, UserError
from edgekit.records import Recipe, StageTime

# ------------------------------------------------------------------------------------------------------ stages


def make(tmp_path: Path, jobs: int = 2) -> tuple[Stages, list[Event]]:
    events: list[Event] = []
    return Stages(tmp_path, jobs, events.append), events


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(e.target, e.stage, e.state) for e in events]


RAISES = Stage(name="s", function="child_functions:raise_ours", spec=Order, result=Answer)
SLEEPS = Stage(name="s", function="child_functions:sleep", spec=Order, result=Answer)
ECHOES = Stage(name="trace", function="child_functions:echo", spec=Order, result=Answer)


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stage is a light one here."""
    monkeypatch.setattr("edgekit.engine.stages.TRACE", ECHOES)


def echo(stages: Stages, target: str = "x86", alone: bool = False, **order: Any) -> tuple[Answer, StageTime]:
    """One stage whose spec names its folder, as real ones do."""

    def spec(folder: Path) -> Order:
        return Order(**{"folder": str(folder), **order})

    stage = Stage(name="write", function="child_functions:write", spec=Order, result=Answer, alone=alone)
    return stages.run(stage, spec, target=target, label="the stage")


def test_a_child_and_its_events(tmp_path: Path) -> None:
    stages, events = make(tmp_path)
    found, time_ = echo(stages, text="a")
    assert (found.text, time_.stage, time_.reused) == ("a", "the stage", False)
    assert told(events) == [("x86", "the stage", "started"), ("x86", "the stage", "done")]
    assert events[1].wall_s is not None and events[1].wall_s > 0


def test_a_failed_child_tells_its_sentence_and_frees_the_machine(tmp_path: Path) -> None:
    stages, events = make(tmp_path, jobs=1)
    with pytest.raises(UserError):
        stages.run(RAISES, lambda _: Order(text="UserError:no"), target="t")
    assert told(events)[-1] == ("t", "s", "failed")
    assert events[-1].message == "no"
    assert echo(stages, alone=True)[0].text == ""


def test_a_measurement_has_the_environment_of_the_caller(tmp_path: Path) -> None:
    """What makes torch fast would change what is measured."""
    stages, _ = make(tmp_path)
    plain, _ = echo(stages, alone=True)
    tuned, _ = echo(stages)
    assert plain.variables["OMP_WAIT_POLICY"] == os.environ.get("OMP_WAIT_POLICY", "")
    assert tuned.variables["OMP_WAIT_POLICY"] == "PASSIVE"


RECIPE = Recipe(name="r", precision="int8", steps=())


# ------------------------------------------------------------------------------------------------------ reuse


def test_equal_work_is_done_once_in_this_run_and_in_the_next(tmp_path: Path) -> None:
    stages, events = make(tmp_path)
    first, time_ = echo(stages, text="a")
    again, reused = echo(stages, text="a")
    assert again == first, "the process number is the first one's"
    assert reused.reused and reused.peak_memory_bytes == time_.peak_memory_bytes
    assert told(events)[-1] == ("x86", "the stage", "reused")
    later, _ = echo(make(tmp_path)[0], text="a")
    assert later == first


@pytest.mark.parametrize("change", [{"text": "b"}, {"number": 1.0}, {"target": "arm"}])
def test_other_work_is_not_reused(tmp_path: Path, change: dict[str, Any]) -> None:
    stages, _ = make(tmp_path)
    first, _ = echo(stages, text="a")
    assert echo(stages, **{"text": "a", **change})[1].reused is False
    assert echo(stages, text="a")[0] == first


def file_of(work: Path, name: str) -> Path:
    (found,) = work.glob(f"x86/*/{name}")
    return found


@pytest.mark.parametrize("name", ["result.json", "written.bin"])
@pytest.mark.parametrize("harm", [Path.unlink, lambda p: p.write_bytes(p.read_bytes()[:-1])])
def test_a_damaged_stage_is_done_again(tmp_path: Path, name: str, harm: Callable[[Path], object]) -> None:
    first, _ = echo(make(tmp_path)[0], text="a")
    harm(file_of(tmp_path, name))
    again, time_ = echo(make(tmp_path)[0], text="a")
    assert time_.reused is False and again.process != first.process
    assert file_of(tmp_path, "written.bin").read_text() == "a"


def test_what_an_unfinished_stage_left_is_not_met_by_the_next(tmp_path: Path) -> None:
    echo(make(tmp_path)[0], text="a")
    file_of(tmp_path, "result.json").unlink()
    left = file_of(tmp_path, "written.bin").with_name("half.onnx")
    left.write_text("half")
    kept = left.with_name("checkpoint")
    kept.mkdir()
    echo(make(tmp_path)[0], text="a")
    assert not left.exists() and kept.exists(), "a training goes on from its checkpoints"


def test_a_failure_is_not_kept(tmp_path: Path) -> None:
    for _ in range(2):
        stages, events = make(tmp_path)
        with pytest.raises(UserError):
            stages.run(RAISES, lambda _: Order(text="UserError:no"), target="t")
        assert told(events) == [("t", "s", "started"), ("t", "s", "failed")]


@pytest.mark.usefixtures("traces")
def test_the_trace_is_always_run(tmp_path: Path) -> None:
    processes = set()
    for _ in range(2):
        found, time_ = make(tmp_path)[0].trace(lambda _: Order(text="a"))  # type: ignore[arg-type, return-value]
        assert time_.reused is False
        processes.add(found.process)
    assert len(processes) == 2


@pytest.mark.usefixtures("traces")
def test_logs_are_numbered_in_the_order_of_use(tmp_path: Path) -> None:
    stages, _ = make(tmp_path)
    stages.trace(lambda _: Order())  # type: ignore[arg-type, return-value]
    echo(stages, "x86")
    echo(stages, "arm")
    echo(stages, "x86")
    found = stages.logs("x86")
    assert [name for name, _ in found] == ["01-trace.txt", "02-write.txt"]
    assert all("said on stdout" in log.read_text() for _, log in found)


# ------------------------------------------------------------------------------------------------------ stopping


def test_stopping_ends_the_child_and_starts_no_other(tmp_path: Path) -> None:
    stages, _ = make(tmp_path)
    ended: list[BaseException] = []

    def sleep() -> None:
        try:
            stages.run(SLEEPS, lambda f: Order(folder=str(f)), target="t")
        except Stopped as error:
            ended.append(error)

    running = start(sleep)
    wait_for(lambda: list(tmp_path.glob("t/*/process")))
    process = int(next(tmp_path.glob("t/*/process")).read_text())
    stages.stop()
    join(running)
    assert [str(error) for error in ended] == ["s was stopped"]
    assert not Path(f"/proc/{process}").exists()
    with pytest.raises(Stopped):
        echo(stages)


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


# ------------------------------------------------------------------------------------------------------ once


def test_once_makes_one_value_however_many_ask(tmp_path: Path) -> None:
    stages, _ = make(tmp_path)
    calls: list[int] = []
    values: list[Recipe] = []

    def slow() -> Recipe:
        calls.append(1)
        time.sleep(0.02)
        return Recipe(name=str(len(calls)), precision="int8", steps=())

    join(*[start(lambda: values.append(stages.once("key", slow))) for _ in range(6)])
    assert len(calls) == 1
    assert len(values) == 6 and all(value is values[0] for value in values)
    assert stages.once("other", slow).name == "2"


def test_a_failure_is_everyones_and_is_not_tried_again(tmp_path: Path) -> None:
    stages, _ = make(tmp_path)
    calls: list[int] = []

    def fail() -> Recipe:
        calls.append(1)
        raise UserError("no converter")

    for _ in range(3):
        with pytest.raises(UserError, match="no converter"):
            stages.once("key", fail)
    assert len(calls) == 1


def test_different_keys_do_not_wait_for_each_other(tmp_path: Path) -> None:
    stages, _ = make(tmp_path)
    go, done = threading.Event(), threading.Event()

    def blocked() -> Recipe:
        go.wait(WAIT_S)
        return RECIPE

    first = start(lambda: stages.once("slow", blocked))
    second = start(lambda: (stages.once("quick", lambda: RECIPE), done.set()))
    assert done.wait(WAIT_S)
    go.set()
    join(first, second)


# ------------------------------------------------------------------------------------------------------ the log


def test_the_log_of_a_target_holds_its_own_and_the_shared_events(tmp_path: Path) -> None:
    forwarded: list[Event] = []
    log = EventLog(forwarded.append)
    for target in ("", "x86", "arm"):
        log(Event(target=target, stage="s", state="note", message=f"for {target or 'all'}: ü"))
    log.write("x86", tmp_path / "log.jsonl")
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["message"] for row in rows] == ["for all: ü", "for x86: ü"]
    assert all(abs(row["unix_time_s"] - time.time()) < 60 for row in rows)
    assert len(forwarded) == 3


def test_a_log_without_a_listener(tmp_path: Path) -> None:
    log = EventLog(None)
    log.write("x86", tmp_path / "log.jsonl")
    assert (tmp_path / "log.jsonl").read_text() == ""
