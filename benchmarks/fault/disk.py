"""Disks that run full: one sentence about the disk, and nothing left.

An export needs so many pages of disk; it is made again on disks of each size below that, so that it fails at each of its writes.
The folder for temporary files and the cache get such disks, too: without a cache an export goes on.
"""

import math
import os
import resource
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, fault_of, marked, said, served, skipped

PAGE_BYTES = 4096  # tmpfs gives no less


def cannot_mount() -> str:
    """Why nothing can be mounted here; "" where it can."""
    return "" if os.geteuid() == 0 and shutil.which("mount") else "needs root"


@contextmanager
def disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """A file system of this size in the memory."""
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def outcomes(bench: Bench) -> Iterator[Outcome]:
    why = cannot_mount()
    if why:
        yield skipped("exports onto disks that run full", why)
    else:
        yield _outputs(bench)
        yield _others(bench)
    yield _limited_files(bench)


def _peak_bytes(bench: Bench) -> int:
    """The most that an export has on its disk at one time."""
    peak, ended = [0], threading.Event()
    with disk(bench.place / "whole", 1 << 30) as whole:

        def watch() -> None:
            while not ended.wait(0.02):
                peak[0] = max(peak[0], shutil.disk_usage(whole).used)

        watcher = threading.Thread(target=watch)
        watcher.start()
        done = served.edgekit([*bench.light(), "--no-cache", "-o", whole / "out"])
        ended.set()
        watcher.join()
    if done.returncode:
        raise SystemExit(f"the export failed: {done.stderr[-600:]}")
    return peak[0]


def _outputs(bench: Bench) -> Outcome:
    """Disks of every size that is too small; of so many where an export needs more pages than that."""
    failures = []
    with served.servers(bench.place / "tmp"):
        peak_bytes = _peak_bytes(bench)
        step = max(1, math.ceil(peak_bytes / PAGE_BYTES / bench.disks))
        first = bench.chance.randint(1, step)  # another seed tries other sizes
        sizes = range(first * PAGE_BYTES, peak_bytes, step * PAGE_BYTES)
        for size_bytes in sizes:
            with disk(bench.place / f"output{size_bytes}", size_bytes) as small:
                done = served.edgekit([*bench.light(), "--no-cache", "-o", small / "out"])
                left = sorted(path.name for path in small.iterdir())
            fault = fault_of(done) or ", ".join(served.left_behind())
            if not fault and done.returncode == 0:
                fault = "" if left == ["out"] else f"left {left}"
            elif not fault and ("disk is full" not in done.stderr or left):
                fault = f"{done.stderr[-300:]!r}, left {left}"
            if fault:
                failures.append(f"{size_bytes} of {peak_bytes} bytes: {fault}")
    what = f"exports onto full disks, of each size in steps of {sizes.step >> 10} KiB below the {peak_bytes >> 10} KiB needed"
    return Outcome(what, len(sizes), failures)


def _others(bench: Bench) -> Outcome:
    """The disk of temporary files, and that of the cache."""
    failures, tried = [], 0
    for name, variable, sizes in (
        ("temporary", "TMPDIR", (4096, 16384)),
        ("cache", "XDG_CACHE_HOME", (4096, 32768)),
    ):
        for size_bytes in sizes:
            out = bench.place / f"beside{tried}" / "out"
            with disk(bench.place / f"{name}{size_bytes}", size_bytes) as small:
                done = said([*EDGEKIT, *bench.light(), "-o", out], env=marked(**{variable: str(small)}))
            tried += 1
            whole = done.returncode == 0 and (out / "report.json").is_file()
            fault = fault_of(done) or ("" if whole or "disk is full" in done.stderr else done.stderr[-300:])
            if not fault and name == "cache" and not whole:
                fault = f"a cache that is full stopped the export: {done.stderr[-300:]!r}"
            if fault:
                failures.append(f"{variable} of {size_bytes} bytes: {fault}")
    return Outcome("exports with a full disk for temporary files, or for the cache", tried, failures)


def _limited_files(bench: Bench) -> Outcome:
    """What `ulimit -f` does: no file may grow beyond a size."""
    failures, sizes = [], (0, 512, 2048, 8192)
    for size_bytes in sizes:
        out = bench.place / f"limited{size_bytes}" / "out"
        done = said(
            [*EDGEKIT, *bench.light(), "--no-cache", "-o", out],
            preexec_fn=lambda size=size_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        fault = fault_of(done) or ("" if done.returncode or (out / "report.json").is_file() else "no output")
        if fault:
            failures.append(f"files of {size_bytes} bytes at most: {fault}")
    return Outcome("exports where no file may grow beyond a limit", len(sizes), failures)
