"""Verbs that are told to stop, or killed, at a random time: each ends soon, nothing runs on, nothing is left."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, left_running, marked
from fault.verbs import CODES, afresh, prepared

PATIENCE_S = 20.0
LONGEST_S = {
    "demo": 12.0,
    "export": 8.0,
    "bench": 4.0,
    "compare": 4.0,
}  # after which a verb is stopped at the latest
STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGKILL)


def outcomes(bench: Bench) -> Iterator[Outcome]:
    yield _told_to_stop(bench, prepared(bench))


def _told_to_stop(bench: Bench, asked: dict[str, list[str]]) -> Outcome:
    """At a random time each; nothing runs on, nothing is left but what the next start removes."""
    failures, tried = [], 0
    for verb, arguments in asked.items():
        for how in bench.chance.sample(STOPS, 1 if bench.exports < 6 else len(STOPS)):
            place = bench.place / f"stop{tried}"
            (place / "tmp").mkdir(parents=True)
            command = afresh(arguments, place)
            fault = _stopped(command, how, bench.chance.uniform(0.1, LONGEST_S.get(verb, 1.5)), place)
            tried += 1
            if fault:
                failures.append(f"{verb}, {how.name}: {fault}")
                print(failures[-1], file=sys.stderr, flush=True)
            shutil.rmtree(place, ignore_errors=True)
    return Outcome("verbs that are told to stop, or killed, at any time", tried, failures)


def _stopped(arguments: list[str], how: signal.Signals, after_s: float, place: Path) -> str:
    variables = marked(TMPDIR=str(place / "tmp"), XDG_CACHE_HOME=str(place / "cache"))
    with subprocess.Popen(
        [*EDGEKIT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", env=variables
    ) as process:  # fmt: skip
        time.sleep(after_s)
        process.send_signal(how)
        try:
            _, stderr = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return f"still runs {PATIENCE_S:.0f} s after it was told to stop"
    end = time.monotonic() + PATIENCE_S
    while (left := left_running(variables)) and time.monotonic() < end:
        time.sleep(0.1)
    if left:
        return f"left running: {left}"
    if process.returncode == -how and "in main" not in stderr:
        stderr = ""  # Python itself was being started: its words, not edgekit's
    if "Traceback" in stderr or process.returncode not in (*CODES, 130, -how):
        return f"exit code {process.returncode}, {stderr[-300:]!r}"
    beside = {path.name for path in place.iterdir()} - {"tmp", "cache", "out", ".out.edgekit-work"}
    left_files = [
        path.name for path in (place / "tmp").iterdir() if not path.name.startswith("edgekit-scratch-")
    ]
    if how is not signal.SIGKILL:
        left_files = [path.name for path in (place / "tmp").iterdir()]
    return f"after {after_s:.1f} s left {sorted(beside)} {left_files}" if beside or left_files else ""
