"""Stages that are forked from a server: isolated, ended with the run, and the same as in a fresh interpreter."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from child_functions import Answer, Order
from waiting import WAIT_S, eventually

from edgekit.engine import families, process, warm
from edgekit.engine.catalogue import STAGES, Stage
from edgekit.errors import ChildCrash, StageTimeout, Stopped

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="servers fork; other systems start interpreters"),
]


def stage(name: str, alone: bool = False) -> Stage[Order, Answer]:
    return Stage(name="the stage", function=f"child_functions:{name}", spec=Order, result=Answer, alone=alone)


@pytest.fixture(autouse=True)
def served() -> Iterator[None]:
    with warm.servers():
        yield


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def gone(pid: int) -> bool:
    """Whether a process ends, however long a busy machine takes for it."""

    def ended() -> bool:
        try:
            return "zombie" in Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    return eventually(ended)


def written(place: Path) -> int:
    assert eventually(lambda: place.is_file() and place.read_text() != ""), f"{place} never appeared"
    return int(place.read_text())


def test_forked_stage_shares_the_frameworks_and_says_so(tmp_path: Path) -> None:
    found, time_ = process.run(stage("echo"), Order(text="x"), tmp_path)
    assert found.process != os.getpid()
    assert found.variables["OMP_WAIT_POLICY"] == "PASSIVE"
    assert time_.shared_memory_bytes > 50e6  # torch
    assert time_.peak_memory_bytes is not None and time_.peak_memory_bytes < 100e6
    assert "said on stdout" in (tmp_path / "log.txt").read_text()


def test_stage_that_measures_is_a_fresh_interpreter(tmp_path: Path) -> None:
    _, time_ = process.run(stage("echo", alone=True), Order(), tmp_path)
    assert time_.shared_memory_bytes == 0


def test_other_variables_mean_a_fresh_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    _, time_ = process.run(stage("echo"), Order(), tmp_path)
    assert time_.shared_memory_bytes == 0


def test_crash_of_a_forked_stage_is_a_sentence_and_the_server_goes_on(tmp_path: Path) -> None:
    with pytest.raises(ChildCrash, match="segmentation fault"):
        process.run(stage("die"), Order(text="SIGSEGV"), tmp_path / "a")
    found, time_ = process.run(stage("echo"), Order(text="after"), tmp_path / "b")
    assert found.text == "after" and time_.shared_memory_bytes > 0


def test_limit_and_stop_end_a_forked_stage(tmp_path: Path) -> None:
    with pytest.raises(StageTimeout):
        process.run(stage("sleep"), Order(folder=str(tmp_path)), tmp_path, limit_s=3.0)
    assert gone(written(tmp_path / "process"))
    stop = threading.Event()
    other = tmp_path / "other"
    other.mkdir()
    threading.Thread(target=lambda: (written(other / "process"), stop.set())).start()
    with pytest.raises(Stopped):
        process.run(stage("sleep"), Order(folder=str(other)), other, stop=stop)
    assert gone(written(other / "process"))


def test_stopping_does_not_wait_for_a_server_that_does_not_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that imports its framework ends the stage after that; who has pressed Ctrl-C does not wait for it."""
    monkeypatch.setattr(process, "ENDING_S", 0.2)
    stop, silent = threading.Event(), []

    def silence() -> None:
        silent.append(parent_of(written(tmp_path / "process")))
        os.kill(silent[0], signal.SIGSTOP)
        stop.set()

    threading.Thread(target=silence).start()
    try:
        with pytest.raises(Stopped):
            process.run(stage("sleep"), Order(folder=str(tmp_path)), tmp_path, stop=stop)
    finally:
        os.kill(silent[0], signal.SIGCONT)
    assert gone(written(tmp_path / "process"))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("how", ["", "in a session of its own"])
def test_what_a_stage_left_running_ends_with_it(tmp_path: Path, alone: bool, how: str) -> None:
    process.run(stage("leave_running", alone), Order(folder=str(tmp_path), text=how), tmp_path)
    assert gone(written(tmp_path / "left"))


def test_what_a_stage_puts_aside_goes_with_it(tmp_path: Path) -> None:
    found, _ = process.run(stage("put_aside"), Order(), tmp_path)
    assert Path(found.text).is_relative_to(tmp_path)
    assert not Path(found.text).exists()


HOST = """
import sys
from pathlib import Path
from child_functions import Answer, Order
from edgekit.engine import process, warm
from edgekit.engine.catalogue import Stage
with warm.servers():
    stage = Stage(name="s", function="child_functions:sleep", spec=Order, result=Answer)
    process.run(stage, Order(folder=sys.argv[1]), Path(sys.argv[1]))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_servers_and_stages_die_with_the_host(tmp_path: Path, how: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    host = subprocess.Popen([sys.executable, "-c", HOST, str(tmp_path)], env=environment)
    running = written(tmp_path / "process")
    family = parent_of(running)
    root = parent_of(family)
    assert parent_of(root) == host.pid
    host.send_signal(how)
    host.wait(WAIT_S)
    assert all(gone(pid) for pid in (running, family, root))


def test_every_stage_names_a_family() -> None:
    for each in STAGES:
        assert each.alone or callable(each.family)
    assert families.known("a format of a plug-in") == families.TORCH
    assert families.chain("coreml") == ("torch", "coreml")


def test_servers_have_no_threads_of_their_own(tmp_path: Path) -> None:
    """OpenBLAS mends its threads after a fork; any other thread would be lost in the child, with the locks it holds."""
    code = (
        "import os, sys\nfrom edgekit.engine import families\nimport numpy, scipy.linalg\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "[families.load(name) for name in families.chain(sys.argv[1])]\n"
        "print('onnxruntime' in sys.modules, len(os.listdir('/proc/self/task')) - before)"
    )
    for name in ("onnx", "tflite", "coreml"):
        done = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == "False 0", (name, done.stdout, done.stderr[-500:])
