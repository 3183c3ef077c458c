"""A clock that was set back: all that edgekit finds on the disk is of the future.

What a clock leaves behind is times of files and times written into them; both are moved ahead here, by 400 days. Durations are
of a monotonic clock, which nobody sets.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, fault_of, files, marked, said

AHEAD_S = 400 * 86400.0


def outcomes(bench: Bench) -> Iterator[Outcome]:
    trials = (_resumed, _cached, _output)
    failures = [
        f"{trial.__name__.strip('_')}: {fault}" for trial in trials for fault in trial(bench) if fault
    ]
    yield Outcome(
        "a clock set back: resumed, taken from a cache, verified and written over", len(trials), failures
    )


def ahead(folder: Path) -> None:
    """Moves the times of everything in a folder into the future."""
    for path in (folder, *folder.rglob("*")):
        found = path.lstat()
        times = (found.st_atime + AHEAD_S, found.st_mtime + AHEAD_S)
        os.utime(path, times, follow_symlinks=False)


def _resumed(bench: Bench) -> Iterator[str]:
    """A killed export is resumed."""
    out = bench.place / "killed" / "out"
    work = out.parent / f".{out.name}.edgekit-work"
    command = [*EDGEKIT, *bench.light()[:-1], "--no-cache", "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=marked())
    while process.poll() is None and not list(work.glob("*/export-*/result.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not work.is_dir():
        yield "it came to its end before it was killed"
        return
    ahead(out.parent)
    done = said([*command, "--resume"])
    yield fault_of(done, [0])
    yield "" if ": reused" in done.stderr else f"nothing was reused: {done.stderr[-300:]!r}"


def _cached(bench: Bench) -> Iterator[str]:
    """Entries of a cache are taken, listed and removed."""
    cache = bench.place / "cache"
    variables = marked(XDG_CACHE_HOME=str(cache))
    command = [*EDGEKIT, *bench.light()[:-1], "-o"]
    yield fault_of(said([*command, bench.place / "cached" / "a"], env=variables), [0])
    ahead(cache)
    done = said([*command, bench.place / "cached" / "b"], env=variables)
    yield fault_of(done, [0])
    yield "" if ": reused" in done.stderr else f"nothing was taken from the cache: {done.stderr[-300:]!r}"
    ahead(cache)
    listed = said([*EDGEKIT, "cache", "list"], env=variables)
    yield fault_of(listed, [0])
    yield f"an age below zero: {listed.stdout!r}" if " -" in listed.stdout else ""
    yield fault_of(said([*EDGEKIT, "cache", "clear"], env=variables), [0])
    left = [str(path) for path in files(cache / "edgekit" / "stages")]
    yield f"left in the cache: {left}" if left else ""


def _output(bench: Bench) -> Iterator[str]:
    """An export of the future is verified, shown and written over."""
    out = bench.place / "cached" / "a"
    ahead(out)
    for verb in (["verify", out], ["report", out], ["report", out, "-o", bench.place / "page.html"]):
        yield fault_of(said([*EDGEKIT, *verb]), [0])
    yield fault_of(said([*EDGEKIT, *bench.light(), "-o", out]), [0])
    now = time.time() + 60
    late = [path.name for path in files(out) if path.stat().st_mtime > now]
    yield f"files of the former output: {late}" if late else ""
