"""The rows of `faults.py`, one kind of fault a file, and what they share with `resume.py`.

A file of rows holds `outcomes(bench)`, which yields an Outcome a row. What a machine cannot do is an Outcome that was tried no
time, with the reason.
"""

import importlib
import os
import random
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
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


class Bench(NamedTuple):
    """What every row starts from.

    Attributes:
        place: A folder for whatever a row writes.
        out: A whole export of the task for all targets.
        task: The reference of the task.
        targets: Their names.
        chance: Everything random comes from here.
        damaged: How many files are damaged.
        texts: How many texts of each kind are mutated.
        exports: How many exports are made under limits of memory, and how many verbs are run in each odd place.
        disks: How many disks run full, at most.
    """

    place: Path
    out: Path
    task: str
    targets: tuple[str, ...]
    chance: random.Random
    damaged: int
    texts: int
    exports: int
    disks: int

    def light(self) -> list[str]:
        """The arguments of the quickest export of this task: one float file, nothing measured."""
        return ["export", self.task, "-t", "arm-mobile", "--recipe", "float32", "-q"]


ROWS = (
    "damage",
    "texts",
    "tasks",
    "disk",
    "mounts",
    "memory",
    "clock",
    "users",
    "network",
    "sources",
    "verbs",
    "stops",
    "no_files",
)


def outcomes(row: str, bench: Bench) -> Iterator[Outcome]:
    """The outcomes of one file of rows."""
    yield from importlib.import_module(f"fault.{row}").outcomes(bench)


def skipped(what: str, why: str) -> Outcome:
    """A row that this machine cannot try."""
    return Outcome(f"{what} (not tried: {why})", 0, [])


def fault_of(done: "subprocess.CompletedProcess[str]", codes: Sequence[int] = (0, 1, 2, 3)) -> str:
    """What is wrong with the way a command ended: a traceback, an exit code of no meaning, or silence about a failure."""
    if "Traceback" in done.stderr or done.returncode not in codes:
        return f"exit code {done.returncode}, {done.stderr[-300:]!r}"
    if done.returncode and "edgekit: " not in done.stderr:
        return f"exit code {done.returncode} without a sentence: {done.stderr[-300:]!r}"
    return ""


def table(found: Iterable[Outcome]) -> str:
    """The outcomes as a Markdown table."""
    return "\n".join(result_file.markdown([HEAD, *(each.row() for each in found)]))


def machine_line() -> str:
    """The machine that the figures are of."""
    host = environment.describe()
    return (
        f"{host['cpu_model']}, {host['cpu_usable_count']} CPUs, {host['isa']}, {host['os']}, {host['python']}"
    )


def heed_ctrl_c() -> None:
    """Lets Ctrl-C reach what is started from here: a background job of a shell ignores it, and so would every child."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


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


def private_key() -> bytes:
    """An ed25519 key in PEM, made now."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(*form)


def files(out: Path) -> list[Path]:
    """Every file of an export."""
    return sorted(path for path in out.rglob("*") if path.is_file())
