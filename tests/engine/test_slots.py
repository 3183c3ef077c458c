"""The machine is shared by children and never while something is timed; what is urgent comes first."""

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from waiting import WAIT_S, join, start

from edgekit.engine.slots import Slots

BRIEF_S = 0.05  # how long something that must not happen is waited for


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
    machine = Slots(2)
    first, second = Gate(machine.shared), Gate(machine.shared)
    assert first.inside.wait(WAIT_S) and second.inside.wait(WAIT_S)
    third = Gate(machine.shared)
    assert not third.inside.wait(BRIEF_S)
    first.finish()
    assert third.inside.wait(WAIT_S)
    second.finish()
    third.finish()


def test_a_measurement_waits_for_every_child_and_keeps_new_ones_out() -> None:
    machine = Slots(2)
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
    machine = Slots(2)
    first = Gate(machine.alone)
    assert first.inside.wait(WAIT_S)
    second = Gate(machine.alone)
    assert not second.inside.wait(BRIEF_S)
    first.finish()
    assert second.inside.wait(WAIT_S)
    second.finish()


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_under_load_nothing_ever_overlaps_a_measurement(jobs: int) -> None:
    machine, lock = Slots(jobs), threading.Lock()
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
    machine = Slots(1)
    for room in (machine.shared, machine.alone) * 2:
        with pytest.raises(RuntimeError), room():
            raise RuntimeError
    last = Gate(machine.alone)
    assert last.inside.wait(WAIT_S)
    last.finish()


def test_the_most_urgent_comes_first_and_a_measurement_waits_for_its_turn() -> None:
    machine, order, lock = Slots(1), [], threading.Lock()

    def work(name: str, room: Callable[[], object]) -> None:
        with room(), lock:  # type: ignore[attr-defined]
            order.append(name)

    running = Gate(machine.shared)
    assert running.inside.wait(WAIT_S)
    rooms = {
        "short": partial(machine.shared, 1.0), "measured": partial(machine.alone, 5.0), "long": partial(machine.shared, 9.0),
        "as long": partial(machine.shared, 9.0),
    }  # fmt: skip
    threads = []
    for count, (name, room) in enumerate(rooms.items(), 1):
        threads.append(start(partial(work, name, room)))
        while len(machine._queue) < count:
            time.sleep(0.001)
    running.finish()
    join(*threads)
    assert order == ["long", "as long", "measured", "short"]
