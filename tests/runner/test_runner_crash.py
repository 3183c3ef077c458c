"""A runtime that crashes, hangs or lies, and a command line that is killed: a record, no orphan, no file left."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from edgekit_runner import artifact, record
from runner_models import cli, last_record

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(sys.platform != "linux", reason="signals, and PR_SET_PDEATHSIG"),
]

QUICKLY = ("--protocol", "quick", "--runs", "5", "--seconds", "0.01", "--json")
PATIENCE_S = 30.0
# a backend is one file, and this one goes wrong when it is told to; only the timed loop runs without gc
SABOTAGE = """
import ctypes, gc, os, signal, time
from pathlib import Path
import numpy as np
from edgekit_runner.backends import Session, TensorInfo

FORMAT, SUFFIX, RUNTIME, DISTRIBUTION = "sabotage", ".sabotage", "Sabotage", "sabotage"
OPTIONS = ("do", "when", "marker")

def load_runtime():
    return "1.0"

def choices():
    return {"do": ("nothing", "segfault")}

def open(path, threads, options):
    made = Sabotaged(options)
    made.act("load")
    return made

class Sabotaged(Session):
    inputs = (TensorInfo(name="x", shape=(1, 4), dtype="float32"),)
    outputs = (TensorInfo(name="y", shape=(1, 4), dtype="float32"),)
    runtime_version = "1.0"

    def __init__(self, options):
        self.options = {"do": "nothing", "when": "timing", **options}
        self.runs = 0

    def act(self, phase):
        do = self.options["do"]
        if phase != self.options["when"] or do == "nothing":
            return
        if "marker" in self.options:
            Path(self.options["marker"], str(os.getpid())).touch()
        if do == "segfault":
            ctypes.string_at(0)
        elif do == "hang":
            time.sleep(600)
        elif do == "exit":
            os._exit(0)
        elif do == "memory":
            raise MemoryError
        elif do == "bug":
            raise ZeroDivisionError("in the runtime")
        else:
            os.kill(os.getpid(), getattr(signal, do))

    def feed(self, feeds):
        pass

    def invoke(self):
        self.runs += 1
        time.sleep(0.002)
        self.act("first" if self.runs == 1 else "warmup" if gc.isenabled() else "timing")

    def fetch(self):
        return {"y": np.full((1, 4), np.nan if self.options["do"] == "nan" else 1.0, np.float32)}

    def placement(self):
        print("a runtime that writes to stdout")
        return {"source": "sabotage"}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose edgekit_runner has the backend `sabotage` too."""
    place = tmp_path_factory.mktemp("site")
    shutil.copytree(
        Path(artifact.__file__).parent, place / "edgekit_runner", ignore=shutil.ignore_patterns("__pycache__")
    )
    (place / "edgekit_runner" / "backends" / "sabotage.py").write_text(SABOTAGE)
    return place


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.sabotage"
    path.write_bytes(b"sabotage")
    return path


@pytest.fixture
def env(site: Path, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The sabotaged package, and a folder of temporary files that has to be empty in the end."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    yield {"PYTHONPATH": str(site), "TMPDIR": str(folder)}
    assert list(folder.iterdir()) == []


def workers_of(model: Path) -> list[psutil.Process]:
    """Processes that were started below the folder of this test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("TMPDIR") == str(model.parent / "tmp"):
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("when", ["load", "first", "warmup", "timing"])
@pytest.mark.parametrize(("do", "said"), [("segfault", "SIGSEGV"), ("SIGKILL", "SIGKILL")])
def test_a_crash_in_any_phase_ends_in_a_record(
    model: Path, env: dict[str, str], do: str, said: str, when: str
) -> None:
    done = cli("bench", model, *QUICKLY, "--option", f"do={do}", "--option", f"when={when}", **env)
    found = last_record(done)
    assert (done.returncode, found["status"], found["error_kind"]) == (1, "failed", "crash")
    assert said in found["reason"] and found["latency"] is None and found["reason"] in done.stderr
    assert record.read(done.stdout.splitlines()[-1]) == found and workers_of(model) == []


@pytest.mark.parametrize(
    ("do", "status", "kind", "said"),
    [
        ("SIGABRT", "failed", "crash", "SIGABRT"), ("SIGTERM", "failed", "crash", "SIGTERM"),
        ("exit", "failed", "crash", "no record"), ("memory", "failed", "runtime", "does not fit into memory"),
        ("bug", "failed", "internal", "ZeroDivisionError"), ("nan", "refused", "verification", "NaN"),
        ("nothing", "ok", None, ""),
    ],
)  # fmt: skip
def test_what_a_runtime_may_do_ends_in_a_record(
    model: Path, env: dict[str, str], do: str, status: str, kind: str | None, said: str
) -> None:
    done = cli("bench", model, *QUICKLY, "--option", f"do={do}", **env)
    found = last_record(done)
    assert (found["status"], found["error_kind"]) == (status, kind) and said in (found["reason"] or "")
    assert done.returncode == (0 if kind is None else 1) and workers_of(model) == []


def test_a_crash_of_one_instance_ends_the_others(model: Path, env: dict[str, str]) -> None:
    options = ("--option", "do=segfault", "--instances", "2", "--seconds", "20", "--json")
    done = cli("throughput", model, *options, **env)
    found = last_record(done)
    assert (done.returncode, found["error_kind"]) == (1, "crash") and "of 2: " in found["reason"]
    assert workers_of(model) == []


def test_a_combination_that_crashes_keeps_its_row_and_the_others_go_on(
    model: Path, env: dict[str, str]
) -> None:
    done = cli("bench", model, *QUICKLY[:-1], "--sweep", "do", **env)
    lines = done.stdout.splitlines()
    assert done.returncode == 1 and lines[1].startswith("do ") and "median" in lines[1]
    assert lines[2].startswith("nothing ") and " ms" in lines[2]
    assert lines[3].startswith("segfault") and "failed: " in lines[3] and "SIGSEGV" in lines[3]
    assert done.stderr.startswith("error: do segfault: ")


def test_a_model_larger_than_the_memory_is_refused_before_it_is_opened(
    site: Path, model: Path, env: dict[str, str], tmp_path: Path
) -> None:
    shutil.copytree(site, tmp_path / "small")
    capacity = tmp_path / "small" / "edgekit_runner" / "host" / "capacity.py"
    capacity.write_text(capacity.read_text() + "\n\ndef available_bytes(root=None):\n    return 4\n")
    small = env | {"PYTHONPATH": str(tmp_path / "small")}
    done = cli("bench", model, *QUICKLY, "--option", "do=segfault", "--option", "when=load", **small)
    found = last_record(done)
    assert (done.returncode, found["status"], found["error_kind"]) == (1, "failed", "runtime")
    assert "memory are available" in found["reason"]


def started(arguments: tuple[Any, ...], env: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edgekit_runner", *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **env})


def wait_for(folder: Path, count: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while len(list(folder.iterdir())) < count:
        assert time.monotonic() < end, "the workers did not get as far as the timing"
        time.sleep(0.02)


VERBS = {"bench": (1, ("--protocol", "quick")), "throughput": (2, ("--instances", "2"))}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT], ids=lambda n: n.name)
def test_a_killed_command_leaves_no_process_and_no_file(
    model: Path, env: dict[str, str], tmp_path: Path, number: signal.Signals, verb: str
) -> None:
    (tmp_path / "marks").mkdir()
    count, more = VERBS[verb]
    options = ("--option", "do=hang", "--option", f"marker={tmp_path / 'marks'}", *more)
    command = started((verb, model, *options), env)
    try:
        wait_for(tmp_path / "marks", count)
        children = psutil.Process(command.pid).children(recursive=True)
        assert len(children) == count
        command.send_signal(number)
        stdout, stderr = command.communicate(timeout=PATIENCE_S)
        _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
        assert alive == [] and workers_of(model) == []
    finally:
        command.kill()
        command.communicate()
    assert command.returncode == (-number if number == signal.SIGKILL else 130)
    assert stdout == "" and "Traceback" not in stderr
    assert stderr == ("" if number == signal.SIGKILL else "error: interrupted.\n")


def test_a_worker_whose_parent_is_gone_does_not_begin(model: Path, env: dict[str, str]) -> None:
    """Killed between the start of the worker and its first line: nobody is left to take it along."""
    code = (
        "import sys, subprocess; from edgekit_runner import spawn;"
        "subprocess.run([sys.executable, '-I', '-c', spawn.BOOTSTRAP, '1', spawn.paths(), '-'], input=b'{}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.stdout == "" and "Traceback" not in done.stderr and workers_of(model) == []
