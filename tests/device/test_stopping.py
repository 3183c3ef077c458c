"""`edgekit bench` told to stop, or killed: no runner goes on, here or on a device, and no folder stays."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import Fakes
from waiting import WAIT_S, eventually

from edgekit.device import scratch
from edgekit.device.exchange import TooMuch, exchange
from edgekit.device.scratch import PREFIX, Scratch

pytestmark = pytest.mark.long

BENCH = """
import sys
from edgekit.cli import main as cli
from edgekit.device import run
real = run.run
run.run = lambda device, spec, *more: real(device, {**spec, "processes_min_count": 1, "warmup_s": 300.0}, *more)
cli.main(["bench", *sys.argv[1:]])
"""


def measuring(mark: str) -> list[int]:
    """The processes whose environment has the mark, and the runner in their command line."""
    found = []
    for process in psutil.process_iter(["pid"]):
        try:
            words = " ".join(process.cmdline())
            runs = "import edgekit_runner" in words or ("runner-" in words and "--held" in words)
            if runs and "python" in process.name() and process.environ().get("STOP_MARK") == mark:
                found.append(process.pid)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def temporary(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "t").mkdir()
    yield tmp_path / "t"
    for pid in measuring(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("kind", ["local", "ssh", "adb", "two"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_no_runner_goes_on_and_no_folder_stays(
    kind: str, how: signal.Signals, fakes: Fakes, model: Path, temporary: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    names = {"local": ["local"], "ssh": ["ssh:board"], "adb": ["adb:1"], "two": ["local", "ssh:board"]}[kind]
    devices = [word for name in names for word in ("--device", name)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    variables = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(temporary), "STOP_MARK": str(tmp_path)}
    started = subprocess.Popen(
        [sys.executable, "-c", BENCH, str(model), *devices], env=variables, stderr=subprocess.PIPE
    )
    workers = len(names) * 2  # a runner and its worker each
    assert eventually(lambda: len(measuring(str(tmp_path))) >= workers), started.poll()
    started.send_signal(how)
    said = started.communicate(timeout=WAIT_S)[1].decode()
    assert eventually(lambda: not measuring(str(tmp_path))), measuring(str(tmp_path))
    if how != signal.SIGKILL:
        assert started.returncode == 130
        assert said.splitlines()[-1] == "edgekit: stopped"
        assert "Traceback" not in said
        assert list(temporary.iterdir()) == []
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(temporary))
    with Scratch() as mine:
        assert list(temporary.iterdir()) == [mine]
    for place in ("ssh", "adb"):
        assert eventually(lambda place=place: not list(fakes.cache(place).glob("run-*"))), place


def test_the_folder_of_a_process_that_lives_is_left_alone(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch.tempfile, "tempdir", str(temporary))
    (temporary / (PREFIX + "file")).write_text("no folder")
    with Scratch() as one, Scratch() as two:
        assert one.is_dir() and two.is_dir()
    assert [p.name for p in temporary.iterdir()] == [PREFIX + "file"]


def test_what_says_far_too_much_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.device.exchange.MOST_BYTES", 1 << 20)
    with pytest.raises(TooMuch, match="more than 1 MiB"):
        exchange(["yes"], b"", 30.0)


def test_a_held_program_reads_the_line_and_then_waits() -> None:
    program = "import sys; print(sys.stdin.readline()); print(sys.stdin.closed)"
    done = exchange([sys.executable, "-c", program], b"line\n", 30.0, held=True)
    assert done.stdout == b"line\n\nFalse\n"
    assert json.loads(exchange(["cat"], b"[1]", 30.0).stdout) == [1]
