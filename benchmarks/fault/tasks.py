"""Tasks that misbehave (`hostile.py`): one sentence or a right artifact each, within the limit, and nothing left.

Their exports run in this process, their stages in the children of edgekit's own servers, with a limit of time.
"""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from click.testing import CliRunner

from edgekit.cli.main import main as edgekit
from edgekit.engine import warm
from edgekit.engine.families import TORCH
from fault import MARK, Bench, Outcome, hostile, left_running, marked

STAGE_LIMIT_S = 8.0
LIMIT_S = 90.0  # for a whole export of three stages, on a machine with other work
PATIENCE_S = 5.0


def outcomes(bench: Bench) -> Iterator[Outcome]:
    failures, tried = [], 0
    temporary, former = bench.place / "tmp", dict(os.environ)
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    try:
        with warm.servers() as servers:
            if servers is not None:
                servers.warm_up(TORCH)
            for what, text in hostile.files():
                if fault := _fault(bench, tried, text) or _left(temporary):
                    failures.append(f"{what}: {fault}")
                    print(failures[-1], file=sys.stderr, flush=True)
                tried += 1
    finally:
        os.environ.clear()
        os.environ.update(former)
    yield Outcome("tasks that misbehave: a sentence or an artifact, in time, nothing left", tried, failures)


def _fault(bench: Bench, number: int, text: str) -> str:
    place = bench.place / str(number)
    place.mkdir()
    file = place / "hostile.py"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    os.environ[MARK] = marked()[MARK]
    arguments = ["export", f"{file}:task", "-t", "arm-mobile", "--recipe", "float32", "--no-cache", "-q"]
    started = time.monotonic()
    done = CliRunner().invoke(
        edgekit, [*arguments, "--stage-timeout", str(STAGE_LIMIT_S), "-o", str(place / "out")]
    )
    wall_s = time.monotonic() - started
    broke = done.exception is not None and not isinstance(done.exception, SystemExit)
    if broke or done.exit_code not in (0, 1, 2) or "Traceback" in done.stderr:
        return f"exit code {done.exit_code}, {done.exception!r}, {done.stderr[-300:]!r}"
    if (done.exit_code == 0) != (place / "out" / "report.json").is_file() and done.exit_code != 1:
        return f"exit code {done.exit_code} and the output do not fit"
    if any(ord(letter) < 32 and letter != "\n" for letter in done.stderr):
        return f"control characters: {done.stderr[-300:]!r}"
    if wall_s > LIMIT_S:
        return f"took {wall_s:.0f} s"
    beside = {path.name for path in place.iterdir()} - {
        "hostile.py",
        "out",
        ".out.edgekit-work",
        "__pycache__",
    }
    shutil.rmtree(place, ignore_errors=True)
    return f"left {sorted(beside)}" if beside else ""


def _left(temporary: Path) -> str:
    """Processes that are neither ours nor servers, and temporary files."""
    end = time.monotonic() + PATIENCE_S
    while (left := _processes()) and time.monotonic() < end:
        time.sleep(0.1)
    files = [path.name for path in temporary.iterdir()]
    for name in files:
        shutil.rmtree(temporary / name, ignore_errors=True)
    return f"left running: {left}" if left else f"left {files}" if files else ""


def _processes() -> list[str]:
    """Whatever runs in a session of its own, as a stage and what it starts do; servers run in this process's."""
    found = [line for line in left_running({MARK: os.environ[MARK]}) if _apart(int(line.split()[0]))]
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() != psutil.STATUS_ZOMBIE and _apart(process.pid):
                found.append(f"{process.pid} {' '.join(process.cmdline())[-100:]}")
        except psutil.Error:
            continue
    return found


def _apart(pid: int) -> bool:
    try:
        return os.getsid(pid) != os.getsid(0)
    except ProcessLookupError:
        return False
