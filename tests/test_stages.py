"""The machine is shared by children and never while something is timed; equal work is done once; events are told."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from child_functions import Answer, Order

from edgekit.errors import UserError
from edgekit.records import Recipe
from edgekit.stages import Event, EventLog, Machine, Stages

WAIT_S = 10  # a limit for what must happen; reached only by a failure
BRIEF_S = 0.05  # how long something that must not happen is waited for


def start(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread


def join(*threads: threading.Thread) -> None:
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive(), "a stage waits for ever"


class Gate:
    """A body of work that says when it is in, and stays until it may go."""

    def __init__(self, room: Callable[[], object]) -> None:
        self.inside, self.may_go = threading.Event(), threading.Event()
        self._room = room
        self.thread = start(self._work)

    def _work(self) -> None:
        with self._room():  # type: ignore[attr-defined]
            self.inside.set()
            self.may_go.wait(WAIT_S)

    def finish(self) -> None:
        self.may_go.set()
        join(self.thread)


def test_as_many_children_as_jobs_and_no_more() -> None:
    machine = Machine(2)
    first, second = Gate(machine.shared), Gate(machine.shared)
    assert first.inside.wait(WAIT_S) and second.inside.wait(WAIT_S)
    third = Gate(machine.shared)
    assert not third.inside.wait(BRIEF_S)
    first.finish()
    assert third.inside.wait(WAIT_S)
    second.finish()
    third.finish()


def test_a_measurement_waits_for_every_child_and_keeps_new_ones_out() -> None:
    machine = Machine(2)
    child = Gate(machine.shared)
    assert child.inside.wait(WAIT_S)
    measuring = Gate(machine.alone)
    assert not measuring.inside.wait(BRIEF_S), "one child still runs"
    late = Gate(machine.shared)
    assert not late.inside.wait(BRIEF_S), "there is room, but a measurement waits: it must not starve"
    child.finish()
    assert measuring.inside.wait(WAIT_S)
    assert not late.inside.wait(BRIEF_S), "nothing runs beside a measurement"
    measuring.finish()
    assert late.inside.wait(WAIT_S)
    late.finish()


def test_two_measurements_do_not_overlap() -> None:
    machine = Machine(2)
    first = Gate(machine.alone)
    assert first.inside.wait(WAIT_S)
    second = Gate(machine.alone)
    assert not second.inside.wait(BRIEF_S)
    first.finish()
    assert second.inside.wait(WAIT_S)
    second.finish()


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_under_load_nothing_ever_overlaps_a_measurement(jobs: int) -> None:
    machine, lock = Machine(jobs), threading.Lock()
    running = {"children": 0, "measurements": 0}
    wrong: list[str] = []

    def work(kind: str, room: Callable[[], object]) -> None:
        for _ in range(15):
            with room():  # type: ignore[attr-defined]
                with lock:
                    running[kind] += 1
                    if running["measurements"] > 1 or (running["measurements"] and running["children"]):
                        wrong.append(str(running))
                    if running["children"] > jobs:
                        wrong.append(f"{running} for {jobs} jobs")
                time.sleep(0.0005)
                with lock:
                    running[kind] -= 1

    threads = [start(lambda: work("children", machine.shared)) for _ in range(4)]
    threads += [start(lambda: work("measurements", machine.alone)) for _ in range(3)]
    join(*threads)
    assert not wrong


def test_what_fails_inside_gives_its_room_back() -> None:
    machine = Machine(1)
    for room in (machine.shared, machine.alone) * 2:
        with pytest.raises(RuntimeError), room():
            raise RuntimeError
    last = Gate(machine.alone)
    assert last.inside.wait(WAIT_S)
    last.finish()


# ------------------------------------------------------------------------------------------------------ stages


def make(tmp_path: Path, jobs: int = 2) -> tuple[Stages, list[Event]]:
    events: list[Event] = []
    return Stages(tmp_path, jobs, events.append), events


def told(events: list[Event]) -> list[tuple[str, str, str]]:
    return [(e.target, e.stage, e.state) for e in events]


def test_folders_are_fresh_and_tell_their_owner(tmp_path: Path) -> None:
    stages, _ = make(tmp_path)
    places = [stages.folder("x86", "ptq"), stages.folder("x86", "ptq"), stages.folder("", "trace")]
    assert [str(p.relative_to(tmp_path)) for p in places] == ["x86/01-ptq", "x86/02-ptq", "shared/03-trace"]
    assert all(p.is_dir() for p in places)


def test_a_child_and_its_events(tmp_path: Path) -> None:
    stages, events = make(tmp_path)
    found, time_ = stages.child("x86", "ptq", "child_functions:echo", Order(text="a"), Answer, tmp_path / "f")
    assert (found.text, time_.stage) == ("a", "ptq")
    assert told(events) == [("x86", "ptq", "started"), ("x86", "ptq", "done")]
    assert events[1].wall_s is not None and events[1].wall_s > 0


def test_a_failed_child_tells_its_sentence_and_frees_the_machine(tmp_path: Path) -> None:
    stages, events = make(tmp_path, jobs=1)
    with pytest.raises(UserError):
        stages.child(
            "t", "s", "child_functions:raise_ours", Order(text="UserError:no"), Answer, tmp_path / "f"
        )
    assert told(events)[-1] == ("t", "s", "failed")
    assert events[-1].message == "no"
    assert stages.alone("t", "measure", lambda: RECIPE)[0] is RECIPE


RECIPE = Recipe(name="r", precision="int8", steps=())


def test_a_measurement_is_timed(tmp_path: Path) -> None:
    stages, events = make(tmp_path)

    def measure() -> Recipe:
        time.sleep(0.02)
        return RECIPE

    value, time_ = stages.alone("t", "measure", measure)
    assert value is RECIPE
    assert 0.02 <= time_.wall_s < 5 and time_.stage == "measure"
    assert told(events) == [("t", "measure", "started"), ("t", "measure", "done")]


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
