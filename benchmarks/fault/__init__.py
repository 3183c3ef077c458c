"""What `faults.py` and `resume.py` share: an outcome of trials, its row, and how edgekit is started to be hurt."""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import result_file
from edgekit_runner.host import environment

HEAD = ("what", "tried", "held", "the first that did not hold")
MARK = "EDGEKIT_FAULT_BENCH"  # in the environment of what a trial starts, so that all of it is found again
EDGEKIT = (sys.executable, "-m", "edgekit")


class Outcome(NamedTuple):
    """What was tried, how often, and what did not hold."""

    what: str
    tried: int
    failures: list[str]

    def row(self) -> list[str]:
        first = " ".join(self.failures[0].split()) if self.failures else ""
        return [self.what, f"{self.tried:,}", f"{self.tried - len(self.failures):,}", first[:240]]


def table(found: Iterable[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    return "\n".join(result_file.markdown([HEAD, *(each.row() for each in found)]))


def machine_line() -> str:
    """The machine that the figures are of."""
    host = environment.describe()
    return f"{host['cpu_model']}, {host['cpu_usable_count']} CPUs, {environment.local_isa()}, {host['os']}, {host['python']}"


def marked(**more: str) -> dict[str, str]:
    """An environment whose processes `left_running` finds."""
    return {**os.environ, MARK: uuid.uuid4().hex, **more}


def left_running(variables: dict[str, str]) -> list[str]:
    """The command lines of the processes that were started with this mark, and whatever they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == variables[MARK] and process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"{process.pid} {' '.join(process.cmdline())[-160:]}")
        except psutil.Error:
            continue
    return found


def said(command: Sequence[str], **how: object) -> "subprocess.CompletedProcess[str]":
    """What a command answers, as text whatever its bytes are."""
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, errors="replace", check=False, **how
    )  # type: ignore[call-overload, no-any-return]


def files(out: Path) -> list[Path]:
    """Every file of an export."""
    return sorted(path for path in out.rglob("*") if path.is_file())
