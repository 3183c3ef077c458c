"""Tasks that misbehave (`hostile.py`): one sentence or a right artifact each, within the limit, and nothing left."""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fault import Bench, Outcome, fault_of, hostile, served

STAGE_LIMIT_S = 8.0
LIMIT_S = 90.0  # for a whole export of three stages, on a machine with other work


def outcomes(bench: Bench) -> Iterator[Outcome]:
    failures, tried = [], 0
    temporary = bench.place / "tmp"
    with served.servers(temporary):
        for what, text in hostile.files():
            if fault := _fault(bench, tried, text) or _left(temporary):
                failures.append(f"{what}: {fault}")
                print(failures[-1], file=sys.stderr, flush=True)
            tried += 1
    yield Outcome("tasks that misbehave: a sentence or an artifact, in time, nothing left", tried, failures)


def _fault(bench: Bench, number: int, text: str) -> str:
    place = bench.place / str(number)
    place.mkdir()
    file, out = place / "hostile.py", place / "out"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    arguments = ["export", f"{file}:task", "-t", "arm-mobile", "--recipe", "float32", "--no-cache", "-q"]
    started = time.monotonic()
    done = served.edgekit([*arguments, "--stage-timeout", STAGE_LIMIT_S, "-o", out])
    wall_s = time.monotonic() - started
    if fault := fault_of(done, (0, 1, 2)):
        return fault
    if (done.returncode == 0) != (out / "report.json").is_file() and done.returncode != 1:
        return f"exit code {done.returncode} and the output do not fit"
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in done.stderr + done.stdout):
        return f"control characters: {done.stderr[-300:]!r}"
    if wall_s > LIMIT_S:
        return f"took {wall_s:.0f} s"
    known = {"hostile.py", "out", ".out.edgekit-work", "__pycache__"}
    beside = {path.name for path in place.iterdir()} - known
    shutil.rmtree(place, ignore_errors=True)
    return f"left {sorted(beside)}" if beside else ""


def _left(temporary: Path) -> str:
    """Processes that are neither ours nor servers, and temporary files."""
    running = served.left_behind()
    files = [path.name for path in temporary.iterdir()]
    for name in files:
        shutil.rmtree(temporary / name, ignore_errors=True)
    return f"left running: {running}" if running else f"left {files}" if files else ""
