"""Stages on the workers of a Dask cluster: the same files as on one machine, one lost on the way, stopped with the run.

Two worker processes on this machine stand for two machines.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from child_functions import Answer, Order
from commands import SMALL

from edgekit.api import deploy
from edgekit.engine.catalogue import Stage
from edgekit.engine.events import Event
from edgekit.engine.stages import Stages
from edgekit.errors import ChildCrash, Stopped, UserError

pytestmark = pytest.mark.long

distributed = pytest.importorskip("distributed")
WAIT_S = 60

WRITES = Stage(name="write", function="child_functions:write", spec=Order, result=Answer)
MEASURES = Stage(name="measure", function="child_functions:write", spec=Order, result=Answer, alone=True)
SLEEPS = Stage(name="sleep", function="child_functions:sleep", spec=Order, result=Answer)
DIES = Stage(name="die", function="child_functions:die", spec=Order, result=Answer)


# in a process of its own: a nanny changes the environment of the process that it starts workers from
PAIR = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=sys.argv[1]) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and two workers, each with a nanny that replaces it when it is killed."""
    folder = tmp_path_factory.mktemp("dask")
    (folder / "pair.py").write_text(PAIR)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, str(folder / "pair.py"), str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path},
    ) as pair:  # fmt: skip
        assert pair.stdout is not None and pair.stdin is not None
        yield pair.stdout.readline().strip()
        pair.stdin.close()


class Run:
    """Stages of one run on the cluster."""

    def __init__(self, address: str, work: Path) -> None:
        from edgekit.engine.cluster import Cluster

        work.mkdir(exist_ok=True)
        self.notes: list[str] = []
        self.events: list[Event] = []
        self.cluster = Cluster(address, work, self.notes.append, warm=False)
        self.stages = Stages(work, self.cluster.jobs, self.events.append, elsewhere=self.cluster)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *error: object) -> None:
        self.cluster.close()

    def run(self, stage: Stage[Any, Any], **order: Any) -> Answer:
        return self.stages.run(stage, lambda f: Order(**{"folder": str(f), **order}), target="t")[0]


def test_a_stage_runs_on_a_worker_and_leaves_what_it_leaves_here(address: str, tmp_path: Path) -> None:
    with Run(address, tmp_path / "there") as there:
        assert there.cluster.jobs == 2 and there.notes == []
        found = [there.run(stage, text="a", number=0.5) for stage in (WRITES, MEASURES)]
    here = Stages(tmp_path / "here", 1, lambda _: None)
    own = here.run(MEASURES, lambda f: Order(folder=str(f), text="a", number=0.5), target="t")[0]
    assert all((made.text, made.figures) == (own.text, own.figures) for made in found)
    assert found[1].variables == own.variables and found[0].variables["OMP_WAIT_POLICY"] == "PASSIVE"
    (written,) = (tmp_path / "there" / "t").glob("write-*/written.bin")
    assert written.read_text() == "a"


def test_what_a_stage_raises_and_its_crash_come_back(address: str, tmp_path: Path) -> None:
    raises = Stage(name="s", function="child_functions:raise_ours", spec=Order, result=Answer)
    with Run(address, tmp_path) as there:
        with pytest.raises(UserError, match="no"):
            there.run(raises, text="UserError:no")
        with pytest.raises(ChildCrash, match="killed"):
            there.run(DIES, text="SIGKILL")


def test_a_run_that_stops_ends_its_stages(address: str, tmp_path: Path) -> None:
    with Run(address, tmp_path) as there:
        ended: list[BaseException] = []
        running = threading.Thread(target=lambda: _noting(ended, lambda: there.run(SLEEPS)))
        running.start()
        process = _process(tmp_path)
        there.stages.stop()
        running.join(WAIT_S)
        assert [str(error) for error in ended] == ["sleep was stopped"] and isinstance(ended[0], Stopped)
        _wait_for(lambda: not _alive(process))


def test_the_stages_of_a_lost_worker_run_again(address: str, tmp_path: Path) -> None:
    with Run(address, tmp_path) as there:
        done: list[Answer] = []
        running = threading.Thread(target=lambda: done.append(there.run(SLEEPS, number=1.0)))
        running.start()
        first = _process(tmp_path)
        os.kill(_parent(first), signal.SIGKILL)  # the worker: its stage dies with it
        running.join(WAIT_S)
        assert len(done) == 1 and not _alive(first)
        assert _process(tmp_path) != first


def test_no_scheduler_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.engine.cluster.CONNECT_S", 0.5)
    with pytest.raises(UserError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"):
        Run("tcp://127.0.0.1:1", tmp_path)


def test_a_worker_that_does_not_see_the_folder_takes_no_part(address: str, tmp_path: Path) -> None:
    from edgekit.engine import cluster_worker

    said = cluster_worker.introduce(str(tmp_path / "none"))
    assert said["token"] == "" and said["machine"]["isa"] and "the version of torch" in said["tools"]
    with Run(address, tmp_path) as there:
        assert there.cluster._accepted("tcp://a", {**said, "token": "another"}) is None
        (note,) = there.notes
        assert (
            note == f"worker tcp://a does not take part: it does not see {tmp_path}; share the folder of -o"
        )


def _noting(ended: list[BaseException], call: Any) -> None:
    try:
        call()
    except Exception as error:
        ended.append(error)


def _process(work: Path) -> int:
    """The process of a sleeping stage, which writes its number."""
    _wait_for(lambda: any(file.read_text() for file in work.glob("t/sleep-*/process")))
    return int(next(work.glob("t/sleep-*/process")).read_text())


def _parent(process: int) -> int:
    """The worker above a stage: servers in between are its children, too."""
    import psutil

    above = psutil.Process(process).parents()
    return next(p.pid for p in above if "edgekit.engine" not in " ".join(p.cmdline()))


def _alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _wait_for(happened: Any) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


@pytest.mark.slow
def test_an_export_with_a_worker_killed_gives_the_bytes_of_one_machine(address: str, tmp_path: Path) -> None:
    """A worker dies while it has a stage, any of them; the report of the whole is that of an undisturbed run."""
    killed: list[int] = []

    def kill(event: Event) -> None:
        if not killed and event.stage.startswith("ptq") and event.state == "started":
            threading.Timer(1.0, lambda: _kill_a_worker(tmp_path / ".there.edgekit-work")).start()
            killed.append(1)

    targets = ["x86-server", "tflite-int8"]
    given = {"budget": {"min_speedup": 0.0}, "cache": False}
    here = deploy(f"{SMALL}:task", targets, tmp_path / "here", **given)  # type: ignore[arg-type]
    there = deploy(f"{SMALL}:task", targets, tmp_path / "there", cluster=address, on_event=kill, **given)  # type: ignore[arg-type]
    assert killed
    for one, other in zip(here.targets, there.targets, strict=True):
        assert [a.recipe for a in one.attempts] == [a.recipe for a in other.attempts]
        files = [report.chosen.artifact.sha256 for report in (one, other)]  # type: ignore[union-attr]
        assert files[0] == files[1] and one.chosen.verdict == other.chosen.verdict  # type: ignore[union-attr]


def _kill_a_worker(work: Path) -> None:
    """Kills the worker above the stage that was begun last."""
    import psutil

    for process in psutil.process_iter(["cmdline", "pid"]):
        line = " ".join(process.info["cmdline"] or ())
        if "multiprocessing" in line and any(
            str(work) in f.path for c in process.children(True) for f in c.open_files()
        ):
            process.kill()
            return
