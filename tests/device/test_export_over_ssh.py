"""A whole export whose gate is decided by a device behind a real sshd; the device vanishes in the middle, and is asked again."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from device_servers import SSH_PORT, start_sshd
from device_world import USER, World, wait_for

from edgekit.api import deploy
from edgekit.engine.events import Event
from edgekit.records import Report

TASK = Path(__file__).parents[1] / "task_files" / "small.py"
DEVICE = f"ssh:{USER}@127.0.0.1:{SSH_PORT}"
RUNNING = "run - --held"


@pytest.fixture
def served(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    start_sshd(world)
    monkeypatch.setenv("PATH", f"{world.base / 'bin'}{os.pathsep}{os.environ['PATH']}")
    yield world


def export(out: Path, **more: object) -> Report:
    return deploy(f"{TASK}:task", ["x86-server"], out, recipes=["float32"], devices=[DEVICE], **more)  # type: ignore[arg-type]


def cut(world: World) -> None:
    """Ends the runner on the device and whatever of sshd serves it, as soon as it runs."""
    wait_for("the runner on the device", lambda: any(RUNNING in line for line in world.processes()), 120.0)
    for path in Path("/proc").iterdir():
        line = _line(path)
        if (f"{USER}" in line and "sshd-session" in line) or (RUNNING in line and "opt/python" in line):
            os.kill(int(path.name), signal.SIGKILL)


def _line(path: Path) -> str:
    try:
        return (path / "cmdline").read_bytes().replace(b"\0", b" ").decode() if path.name.isdigit() else ""
    except OSError:
        return ""


@pytest.mark.slow
def test_the_gate_asks_the_device_and_asks_again(served: World, tmp_path: Path) -> None:
    seen: list[Event] = []

    def watch(event: Event) -> None:
        seen.append(event)
        if event.stage == "measure" and event.state == "started":
            threading.Thread(target=cut, args=(served,), daemon=True).start()

    first = export(tmp_path / "out", on_event=watch).targets[0]
    assert first.accepted and first.chosen is not None and first.chosen.measurement is not None
    assert not first.chosen.measurement.on_target
    assert f"{DEVICE} vanished" in first.chosen.decision.not_measured[0]
    assert any(f"{DEVICE} vanished" in event.message for event in seen)

    time.sleep(1)
    second = export(tmp_path / "out", resume=True).targets[0]
    assert second.chosen is not None and second.chosen.measurement is not None
    assert second.chosen.measurement.on_target
    assert second.chosen.measurement.measured_on.endswith("(ssh)")
    assert not second.chosen.decision.not_measured
    ratio = second.chosen.measurement.cpu_ratio
    assert ratio is not None and 0.5 < ratio < 2  # the float file beside itself: one sample each
