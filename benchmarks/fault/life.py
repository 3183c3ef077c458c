"""The life of one export that is killed again and again, and what has to hold after each kill.

After every kill: it ends soon, without a traceback; the output is absent or every file of it fits its list; no process is
left; nothing lies beside the output but the work folder, and nothing in $TMPDIR or half written in the cache. In the end
the resumed export leaves the output alone.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edgekit_runner import artifact
from edgekit_runner.cli import sums
from edgekit_runner.errors import UserError as RunnerUserError

from edgekit.engine.child import RESULT, SPEC
from edgekit.engine.output import WORK, work_place
from fault import EDGEKIT, dies_at, forked

PLACE, OUT = "place", "out"
DIES_AT = str(Path(dies_at.__file__))
Process = subprocess.Popen[bytes] | forked.Forked
PATIENCE_S = 20.0  # after which an export that was told to stop counts as hanging, and a process as left
PUBLISHED = "putting the result into its place"
# it is hit soon after so many stages began, or ended; the first is the trace, which is always run
MOMENTS = ((SPEC, 0), (SPEC, 1), (SPEC, 2), (SPEC, 3), (RESULT, 1), (RESULT, 2), (RESULT, 2), (RESULT, 3))
HOW = {
    "SIGKILL": [signal.SIGKILL],
    "SIGKILL of the group": [signal.SIGKILL],
    "SIGTERM": [signal.SIGTERM],
    "SIGINT": [signal.SIGINT],
    "Ctrl-C": [signal.SIGINT],
    "Ctrl-C twice": [signal.SIGINT, signal.SIGINT],
}
TO_THE_GROUP = ("SIGKILL of the group", "Ctrl-C", "Ctrl-C twice")


class Kill(NamedTuple):
    """One kill: by what, while what, and what did not hold after it ("" is nothing)."""

    how: str
    during: str
    after_s: float
    fault: str
    life: str = ""


class Life:
    """An export in a folder of its own.

    Args:
        export: The arguments of edgekit, without the output.
        home: Holds `PLACE/OUT`; the temporary folder and the cache come beside it.
        chance: Says when and how it is killed.
        cached: Whether finished stages go to a cache.
        fresh: Whether it is started by a fresh interpreter, and not forked.
    """

    def __init__(
        self, export: list[str], home: Path, chance: random.Random, cached: bool = False, fresh: bool = True
    ) -> None:
        self._fresh = fresh
        self._others = forked.running().keys()
        self._out = home / PLACE / OUT
        self._temporary, self._cache, self._log = home / "tmp", home / "cache", home / "log"
        self._temporary.mkdir()
        self._export = [*export, *([] if cached else ["--no-cache"]), "--resume", "-o", str(self._out)]
        self._chance = chance
        self._steps_left = 3  # kills while the result is put into its place

    def kill(self) -> Kill | None:
        """Starts it and kills it; None where it came to its end before. It has not to fail by itself."""
        chance, how = self._chance, self._chance.choice([*HOW])
        name, stages = chance.choice(MOMENTS)
        more_s = chance.uniform(0, 5 if self._fresh and not stages else 2)
        step = chance.choice((1, 2, 2, chance.randint(3, 40))) if self._steps_left else 10**9
        started = time.time()
        process = self._start(step)
        self._wait(process, lambda: self._since(started, name) >= stages, more_s)
        during = self._during(process.poll())
        if process.poll() == 0:
            return None
        if process.poll() is not None and process.returncode != -signal.SIGKILL:
            fault = f"it failed by itself, exit code {process.returncode}: {self._said()}"
            return Kill("nothing", during, round(time.time() - started, 1), fault)
        if process.poll() is None:
            self._hit(process, how)
        else:
            how, self._steps_left = "SIGKILL", self._steps_left - 1
        fault = self._ended(process) or self._fault()
        return Kill(how, during, round(time.time() - started, 1), fault)

    def end(self, same: Callable[[Path], bool]) -> str:
        """Lets it come to its end; returns what did not hold."""
        process = self._start(None)
        if process.wait():
            return f"resumed: exit code {process.returncode}, {self._said()}"
        beside = {path.name for path in self._out.parent.iterdir()} - {OUT}
        half = {path.name for path in (self._cache / "edgekit" / "stages").glob("*edgekit-*")}
        inside = {path.name for path in self._out.iterdir() if path.name.startswith(".")}
        return self._fault() or (
            f"left {sorted(beside | inside | half)}"
            if beside | inside | half
            else ""
            if same(self._out)
            else "other bytes"
        )

    def _said(self) -> str:
        """The end of its log; of a crash where it was, as faulthandler wrote it."""
        whole = self._log.read_text(errors="replace")
        crash = whole.find("Fatal Python error")
        return repr(whole[-600:] if crash < 0 else whole[crash : crash + 3000])

    def _start(self, step: int | None) -> Process:
        """Starts it; with a step it dies there while its result is put into its place."""
        variables = {**os.environ, "TMPDIR": str(self._temporary), "XDG_CACHE_HOME": str(self._cache)}
        if not self._fresh:
            arm = (lambda: None) if step is None else lambda: dies_at.arm(str(self._out), step)
            return forked.edgekit(self._export, self._log, variables, arm)
        program = EDGEKIT if step is None else (sys.executable, DIES_AT, str(self._out), str(step))
        with self._log.open("w") as log:
            return subprocess.Popen(
                [*program, *self._export], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=variables, start_new_session=True
            )  # fmt: skip

    def _wait(self, process: Process, ripe: Callable[[], bool], more_s: float) -> None:
        while process.poll() is None and not ripe():
            time.sleep(0.02)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(more_s)

    def _work(self) -> Path:
        return work_place(self._out)

    def _since(self, unix_s: float, name: str) -> int:
        """How many stages began or ended since then."""
        return sum(1 for file in self._work().glob(f"*/*/{name}") if _modified(file) >= unix_s)

    def _during(self, code: int | None) -> str:
        if code is not None:
            return PUBLISHED
        begun, done = (
            {path.parent.name for path in self._work().glob(f"*/*/{name}")} for name in (SPEC, RESULT)
        )
        at_work = sorted({name.rpartition("-")[0] or name for name in begun - done})
        return at_work[0] if at_work else "between stages" if begun else "starting"

    def _hit(self, process: Process, how: str) -> None:
        for number in HOW[how]:
            with contextlib.suppress(ProcessLookupError):
                (os.killpg if how in TO_THE_GROUP else os.kill)(process.pid, number)
            if len(HOW[how]) > 1:
                time.sleep(self._chance.uniform(0.0, 0.3))

    @staticmethod
    def _ended(process: Process) -> str:
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"still runs {PATIENCE_S:.0f} s after it was told to stop"
        return ""

    def _fault(self) -> str:
        said = self._log.read_text(errors="replace")
        if "Traceback" in said:
            return f"a traceback: {said[-400:]!r}"
        end = time.monotonic() + PATIENCE_S
        while (left := self._left_running()) and time.monotonic() < end:
            time.sleep(0.1)
        if left:
            return f"left running: {left}"
        return self._torn() or self._left_behind()

    def _left_running(self) -> list[str]:
        return [f"{pid} {line}" for pid, line in forked.running().items() if pid not in self._others]

    def _torn(self) -> str:
        """Why the output is neither absent nor whole; one that was moved aside is put back by the next start."""
        if not self._out.is_dir() or not any(path.name != f".{WORK}" for path in self._out.iterdir()):
            return ""
        if self._work().parent == self._out and any(
            (self._work() / name).is_dir() for name in ("old", "moving")
        ):
            return ""  # entries are moved one by one there
        try:
            listed = sums.read(self._out)
        except RunnerUserError as error:
            return f"the output is torn: {error}"
        torn = [name for name, wanted in listed.items() if not _is(self._out / name, wanted)]
        return f"the output is torn: {torn}" if torn else ""

    def _left_behind(self) -> str:
        work = {OUT, f".{OUT}.{WORK}"}
        beside = [path.name for path in self._out.parent.iterdir() if path.name not in work]
        temporary = [path.name for path in self._temporary.iterdir()]
        return f"left behind: {beside + temporary}" if beside + temporary else ""


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is(file: Path, wanted: str) -> bool:
    return file.is_file() and artifact.sha256(file) == wanted
