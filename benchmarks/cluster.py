"""One search on one machine, and on two Dask workers of which one is killed on the way: the same report, and in what time?

    python benchmarks/cluster.py examples/cifar10.py:task -t x86-server -t tflite-int8 --set weights=resnet20.safetensors ...

Every recipe is tried (`--explore`); with --recipe those that are named, else the ladder of each target. Two worker processes on this
machine stand for two machines; the one that runs the stage which begins at a random moment is killed, and its nanny starts another.
Where the wall time of both is compared, both have the same cores: what the cluster adds is what its messages, its fresh processes
and the lost stage cost. Compared are the attempts, the bytes of every artifact and the figures of every proof; times are not.
Exit code 1 where something differs.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
from fault import machine_line

from edgekit import deploy
from edgekit.engine.events import Event
from edgekit.records import Report, Verdict

WORKERS = """
import sys
from distributed import LocalCluster

if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, local_directory=sys.argv[1]) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
OF_A_STAGE = "edgekit.engine"  # in the command line of the servers between a worker and its stage
LATEST_S = 3.0  # a worker is killed at most so long after a stage began


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task")
    parser.add_argument("-t", "--target", action="append", required=True)
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--recipe", action="append")
    parser.add_argument("--seed", type=int, default=0, help="Of the moment of the kill.")
    asked = parser.parse_args(argv)
    given: dict[str, Any] = {
        "settings": dict(pair.split("=", 1) for pair in asked.settings),
        "recipes": asked.recipe or (),
        "budget": {"min_speedup": 0.0},  # times differ from run to run, and must not decide what is compared
        "explore": True,
        "cache": False,
    }
    print(f"seed {asked.seed}; {machine_line()}; {', '.join(asked.target)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="cluster-") as folder:
        place = Path(folder)
        here, alone_s = timed(asked.task, asked.target, place / "one", **given)
        print(f"one machine: {alone_s:.1f} s of wall time", flush=True)
        with workers(place) as address:
            killer = Killer(place, random.Random(asked.seed))
            there, together_s = timed(
                asked.task, asked.target, place / "two", cluster=address, on_event=killer, **given
            )
    print(f"two workers, one killed during {killer.during or 'nothing'}: {together_s:.1f} s of wall time")
    found = [*differences(here, there), *([] if killer.during else ["no worker was killed"])]
    print("\n".join(found) or f"{sum(len(each.attempts) for each in here.targets)} attempts: the same report")
    return 1 if found else 0


def timed(task: str, targets: list[str], out: Path, **given: Any) -> tuple[Report, float]:
    started = time.perf_counter()
    report = deploy(task, targets, out, **given)
    return report, time.perf_counter() - started


@contextmanager
def workers(place: Path) -> Iterator[str]:
    """A scheduler and two workers, each with a nanny that replaces it; yields the scheduler's address."""
    script = place / "workers.py"
    script.write_text(WORKERS)
    path = os.pathsep.join(entry for entry in sys.path if entry)
    with subprocess.Popen(
        [sys.executable, str(script), str(place)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONPATH": path},
    ) as pair:  # fmt: skip
        assert pair.stdout is not None and pair.stdin is not None
        yield pair.stdout.readline().strip()
        pair.stdin.close()


class Killer:
    """Is told of every event; kills the worker of one stage, once.

    Attributes:
        during: The stage that was lost.
    """

    def __init__(self, place: Path, chance: random.Random) -> None:
        self._place, self._after, self._wait_s = place, chance.randint(3, 12), chance.uniform(0.0, LATEST_S)
        self.during = ""

    def __call__(self, event: Event) -> None:
        if event.state != "started":
            return
        self._after -= 1
        if self._after == 0:
            threading.Timer(self._wait_s, self._kill, [f"{event.target or 'all'}: {event.stage}"]).start()

    def _kill(self, stage: str) -> None:
        for worker in list(busy_workers(self._place)):
            worker.send_signal(signal.SIGKILL)
            self.during = f"{stage}, or what ran beside it"
            return
        self._after = 1  # nothing ran at that moment: at the next stage


def busy_workers(place: Path) -> Iterator[psutil.Process]:
    """Yields the workers that have a stage: those with an open file in the work folder, or above a process of a stage that has one."""
    for process in psutil.Process().children(recursive=True):
        try:
            if not any(file.path.startswith(str(place / ".two")) for file in process.open_files()):
                continue
            above = [process, *process.parents()]
            yield next(each for each in above if OF_A_STAGE not in " ".join(each.cmdline()))
        except psutil.Error:
            continue


def differences(one: Report, other: Report) -> Iterator[str]:
    """Yields what differs besides times, a sentence each."""
    for a, b in zip(one.targets, other.targets, strict=True):
        tried = [[attempt.recipe for attempt in target.attempts] for target in (a, b)]
        if tried[0] != tried[1]:
            yield f"{a.target}: other recipes were tried: {tried}"
            continue
        for mine, theirs in zip(a.attempts, b.attempts, strict=True):
            files = [attempt.artifact and attempt.artifact.sha256 for attempt in (mine, theirs)]
            if files[0] != files[1]:
                yield f"{a.target}, {mine.recipe}: the files are {files}"
            proofs = [proof(attempt.verdict) for attempt in (mine, theirs)]
            unlike = [
                f"{key} {proofs[0].get(key)}, {proofs[1].get(key)}"
                for key in proofs[0]
                if proofs[0][key] != proofs[1].get(key)
            ]
            if unlike or len(proofs[0]) != len(proofs[1]):
                yield f"{a.target}, {mine.recipe.name}: the proofs differ in {'; '.join(unlike)}"


def proof(verdict: Verdict | None) -> dict[str, Any]:
    """The figures of a proof by their places, without that of its golden pair."""
    found: dict[str, Any] = {}
    left = [("", msgspec.to_builtins(verdict and msgspec.structs.replace(verdict, golden="")))]
    while left:
        place, value = left.pop()
        if isinstance(value, dict | list | tuple):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            left += [(f"{place}.{key}".removeprefix("."), each) for key, each in pairs]
        else:
            found[place] = value
    return found


if __name__ == "__main__":
    raise SystemExit(main())
