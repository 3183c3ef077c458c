"""Little memory: a sentence, or a whole output; no process is left, and nothing hangs."""

import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, fault_of, left_running, marked, skipped

LIMIT_S = 180.0
GROUPS = Path("/sys/fs/cgroup/memory")  # version 1, which many machines still have
LEAST_BYTES, MOST_BYTES = 96 << 20, 8 << 30


def outcomes(bench: Bench) -> Iterator[Outcome]:
    """Limits in equal ratios, from what Python itself needs to more than an export does."""
    ratio = (MOST_BYTES / LEAST_BYTES) ** (1 / max(1, bench.exports - 1))
    limits = [int(LEAST_BYTES * ratio**index) for index in range(bench.exports)]
    yield Outcome(
        f"exports within {limits[0] >> 20} MiB to {limits[-1] >> 30} GiB of address space",
        len(limits),
        [
            f"{limit >> 20} MiB: {fault}"
            for limit in limits
            if (fault := _export(bench, f"space{limit}", _space(limit)))
        ],
    )
    yield _in_groups(bench)


def _space(limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _in_groups(bench: Bench) -> Outcome:
    """A control group, as containers have: the kernel kills what takes more."""
    what, limits = (
        "exports in control groups with 64 MiB to 1 GiB of memory",
        [64 << 20, 256 << 20, 512 << 20, 1 << 30],
    )
    group = GROUPS / f"edgekit-faults-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        return skipped(what, f"no control group can be made: {error.strerror}")
    failures = []
    try:
        for limit in limits:
            (group / "memory.limit_in_bytes").write_text(str(limit))
            fault = _export(
                bench, f"group{limit}", lambda: (group / "cgroup.procs").write_text(str(os.getpid()))
            )
            if fault:
                failures.append(f"{limit >> 20} MiB: {fault}")
    finally:
        group.rmdir()
    return Outcome(what, len(limits), failures)


def _export(bench: Bench, name: str, before: Callable[[], object]) -> str:
    out, variables = bench.place / name / "out", marked()
    try:
        done = subprocess.run(
            [*EDGEKIT, *bench.light(), "--no-cache", "-o", out],
            capture_output=True, text=True, errors="replace", check=False, env=variables, preexec_fn=before, timeout=LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"still runs after {LIMIT_S:.0f} s"
    finally:
        whole = (out / "report.json").is_file()
        shutil.rmtree(out.parent, ignore_errors=True)
    if left := left_running(variables):
        return f"left running: {left}"
    if done.returncode < 0 or "OpenBLAS error" in done.stderr:
        return ""  # the system, or numpy's library in its own words, ended the command itself and not one of its stages
    return fault_of(done) or (
        "" if (done.returncode == 0) == whole else f"exit code {done.returncode}, output {whole}"
    )
