"""The worker side of `throughput`: one of several processes that run the same artifact at the same time.

It loads, proves and warms up, says "ready", and then waits for a line with the moment at which all begin, in nanoseconds
of the monotonic clock, which the processes of a machine share. Between the line and that moment it takes its memory:
only then do all of them hold their pages.
"""

import gc
import sys
import time
from typing import Any, TextIO

from edgekit_runner.backends import Session
from edgekit_runner.errors import RunnerError
from edgekit_runner.host import memory
from edgekit_runner.kinds._timing import clocked, median_s
from edgekit_runner.record import READY
from edgekit_runner.stats import quantiles
from edgekit_runner.stats.window import Window


def measure(session: Session, duration_s: float, peak_bytes: int | None, parent: TextIO) -> dict[str, Any]:
    """Waits for the others and runs back to back from the moment on.

    Args:
        session: A warm session that was fed.
        duration_s: How long to run.
        peak_bytes: The peak memory of this process so far.
        parent: Where to say that this process is ready.

    Returns:
        What this one instance saw.

    Raises:
        RunnerError: Another instance did not get that far.
    """
    parent.write(READY + "\n")
    parent.flush()
    line = sys.stdin.readline().strip()
    if not line.isdigit():
        raise RunnerError("ended before the start, because another instance did not get that far.")
    held = memory.sample()
    timed = _timed(session, int(line), duration_s)
    return {**timed, "rss_bytes": held.rss_bytes, "uss_bytes": held.uss_bytes, "peak_bytes": peak_bytes}


def _timed(session: Session, begin_ns: int, duration_s: float) -> dict[str, Any]:
    """Runs back to back; `start_s` and `end_s` are after the moment.

    The run that is under way when the time is over is ended and counts.
    """
    window = Window()
    gc.collect()
    gc.disable()
    try:
        time.sleep(max(0, begin_ns - time.monotonic_ns()) / 1e9)
        window.begin()
        start = time.monotonic_ns()
        stretches = _stretches(session, duration_s)
        end = time.monotonic_ns()
        seen = window.end()
    finally:
        gc.enable()
    counts, walls, cpus, totals = zip(*stretches, strict=True)
    return {
        "start_s": (start - begin_ns) / 1e9,
        "end_s": (end - begin_ns) / 1e9,
        "runs_count": sum(counts),
        "p50_s": quantiles.median(walls),
        "cpu_p50_s": quantiles.median(cpus),
        "cpu_s": sum(totals),
        "window": seen,
    }


def _stretches(session: Session, duration_s: float) -> list[tuple[int, float, float, float]]:
    """Number of runs, median wall and CPU seconds, and CPU seconds in all, of every 200 000 runs."""
    found = []
    now = time.perf_counter_ns()
    until = now + int(duration_s * 1e9)
    while now < until:
        wall, cpu, now = clocked(session, until)
        found.append((len(wall), median_s(wall), median_s(cpu), sum(cpu) / 1e9))
    return found
