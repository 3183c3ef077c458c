"""Stages in child processes: what crosses, and what a parent says of each way to die.

A child's log lies in the scratch folder of a run, which is gone when the user reads the error. So the sentence
itself carries what the process said last.
"""

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from child_functions import Answer, Order
from waiting import eventually

from edgekit import errors
from edgekit.engine import answer, child, process
from edgekit.engine.catalogue import Stage
from edgekit.engine.job import Job
from edgekit.errors import ChildCrash, DiskFull, EdgekitError, TaskError, VerificationError
from edgekit.records import StageTime


def run(name: str, folder: Path, **order: object) -> tuple[Answer, StageTime]:
    stage = Stage(name="the stage", function=f"child_functions:{name}", spec=Order, result=Answer)
    return process.run(stage, Order(**order), folder)  # type: ignore[arg-type]


def crash(name: str, folder: Path, **order: object) -> str:
    with pytest.raises(ChildCrash) as caught:
        run(name, folder, **order)
    assert "\n" not in str(caught.value)
    said, _, how = str(caught.value).partition("; to debug it: ")
    assert how == f"python -m edgekit.engine.replay {folder} (--keep-work keeps the folder)"
    return said


def test_a_record_goes_and_another_comes_back(tmp_path: Path) -> None:
    began_s = time.monotonic()
    found, took = run("echo", tmp_path / "made" / "for it", text="çà\n", number=0.1)
    assert (found.text, found.number) == ("çà\n", 0.1)
    assert found.figures[0].value == 0.1
    assert found.process != os.getpid()
    assert took.stage == "the stage"
    assert 0 < took.wall_s < time.monotonic() - began_s + 0.001  # it is rounded


def test_what_it_says_is_in_its_log(tmp_path: Path) -> None:
    run("echo", tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "said on stdout" in log and "said on stderr" in log


@pytest.mark.parametrize("number", [math.inf, -math.inf])
def test_infinities_cross_in_both_directions(tmp_path: Path, number: float) -> None:
    """An error of infinity is a finding; as JSON null it would be a crash of the parent."""
    found, _ = run("echo", tmp_path, number=number)
    assert found.number == number
    assert found.figures[0].value == number


def test_threads_wait_without_spinning(tmp_path: Path) -> None:
    found, _ = run("echo", tmp_path)
    assert found.variables["OMP_WAIT_POLICY"] == "PASSIVE"


def test_peak_memory_is_the_childs_own(tmp_path: Path) -> None:
    """Neither this process's gigabytes nor what the child gave back."""
    small, large = (run("allocate", tmp_path / str(n), number=n)[1].peak_memory_bytes for n in (1, 150e6))
    if small is None or large is None:
        pytest.skip("no VmHWM on this system")
    assert 0 <= small < 100e6
    assert 140e6 < large - small < 180e6


# ---------------------------------------------------------------------------------------------- errors on purpose


@pytest.mark.parametrize(
    "kind",
    ["UserError", "TaskError", "TargetError", "BudgetError", "VerificationError", "ConversionError", "MissingRuntime"],
)  # fmt: skip
def test_our_errors_cross_as_what_they_are(tmp_path: Path, kind: str) -> None:
    with pytest.raises(EdgekitError) as caught:
        run("raise_ours", tmp_path, text=f"{kind}:one sentence: pip install x")
    assert type(caught.value) is getattr(errors, kind)
    assert str(caught.value) == "one sentence: pip install x"


@pytest.mark.parametrize(
    "error", [RuntimeError("Protobuf serialization failed"), VerificationError("it answers nothing")]
)
def test_what_a_native_writer_says_of_a_full_disk_is_called_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    with pytest.raises(type(error)), child.full_disk_named(tmp_path):
        raise error
    monkeypatch.setattr(child, "NO_ROOM_BYTES", 1 << 62)
    with (
        pytest.raises(DiskFull, match=r"the disk is full \(\w+Error: .*\)\. Free some space"),
        child.full_disk_named(tmp_path),
    ):
        raise error
    with pytest.raises(TaskError), child.full_disk_named(tmp_path):
        raise TaskError("the user's")


def test_a_full_disk_in_the_child(tmp_path: Path) -> None:
    with pytest.raises(errors.UserError) as caught:
        run("disk_full", tmp_path)
    assert str(caught.value) == (
        "the disk is full: [Errno 28] No space left on device: 'weights.bin'. Free some space and run again"
    )


# ---------------------------------------------------------------------------------------------- everything else


def test_a_bug_names_its_stage_type_text_and_line(tmp_path: Path) -> None:
    found = crash("raise_bug", tmp_path, text="two\n   lines")
    start, _, place = found.rpartition(" (")
    assert start == "the stage: ZeroDivisionError: two lines"
    assert place.startswith("child_functions.py, line ")
    assert "Traceback" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        ("SIGSEGV", "the process crashed (segmentation fault; a framework imported before torch and torchvision does this)"),
        ("SIGKILL", "the process was killed (most likely out of memory)"),
        ("SIGABRT", "the process died of SIGABRT"),
    ],
)  # fmt: skip
def test_a_signal_is_a_sentence_with_its_last_words(tmp_path: Path, signal: str, expected: str) -> None:
    found = crash("die", tmp_path, text=signal)
    shutil.rmtree(tmp_path)
    assert found == f"the stage: {expected}; its log ends: loading | about to die"


def test_the_environment_is_no_last_word_however_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, *(str(tmp_path / f"folder{n}") for n in range(200))])
    assert crash("vanish", tmp_path, number=3).endswith("its log is empty")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"error": 3}', '{"error": {"kind": []}}', '{"result": 3, "files": {}}', "[" * 100_000, '{"result": null}'],
)  # fmt: skip
def test_what_is_no_result_is_a_sentence(tmp_path: Path, text: str) -> None:
    """The task's code can write there, and a disk of many machines can lose what was written."""
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ChildCrash, match=r"^it: what it left is no result "):
        answer.collect("it", 0, tmp_path, Answer, 1.0)
    assert answer.reuse("it", Answer, tmp_path) is None


@pytest.mark.parametrize("code", [0, 3])
def test_sys_exit_in_the_users_code_is_named(tmp_path: Path, code: int) -> None:
    with pytest.raises(errors.TaskError, match=rf"called sys.exit\({code}\) while edgekit ran it"):
        run("leave", tmp_path, number=code)


def test_a_function_that_does_not_exist(tmp_path: Path) -> None:
    assert crash("no_such_function", tmp_path).startswith(
        "the stage: AttributeError: module 'child_functions'"
    )


def test_last_words_are_short(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_bytes(b"x" * 100_000 + b"\n" + b"\xff\xfe y\n" * 9)
    assert len(answer.last_words(tmp_path / "log.txt")) < 500
    assert answer.last_words(tmp_path / "gone.txt") == "it had not begun"
    (tmp_path / "cut.txt").write_text("loading\nTraceback (most recent call las")  # by ulimit -f
    assert answer.last_words(tmp_path / "cut.txt") == "its log ends: loading"


def test_the_limit_of_a_stage_begins_with_it_and_not_with_what_its_server_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "LOADING_S", 0.6)
    job = Job(folder=str(tmp_path), spec="", label="it", family="", alone=False, limit_s=0.2)
    for log, least_s in ((tmp_path, 0.2), (tmp_path / "not-yet", 0.8)):
        started = time.monotonic()
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        assert process._wait(child, job, None, log) is None
        assert least_s <= time.monotonic() - started < least_s + 20
        assert child.poll() is not None


PARENT = """
import sys
from pathlib import Path
from child_functions import Answer, Order
from edgekit.engine import child, process
from edgekit.engine.catalogue import Stage
folder = Path(sys.argv[1])
stage = Stage(name="s", function="child_functions:sleep", spec=Order, result=Answer)
process.run(stage, Order(folder=str(folder)), folder)
"""


def ended(process: Path) -> bool:
    try:
        return "Z (zombie)" in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_child_dies_with_its_killed_parent(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path)]
    path = os.pathsep.join(entry for entry in sys.path if entry)
    parent = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path})
    assert eventually((tmp_path / "process").exists)
    child = Path("/proc") / (tmp_path / "process").read_text()
    assert child.is_dir()
    parent.kill()
    parent.wait()
    assert eventually(lambda: ended(child))


def test_a_result_of_an_earlier_run_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    run("echo", tmp_path, text="first")
    assert "segmentation fault" in crash("die", tmp_path, text="SIGSEGV")
