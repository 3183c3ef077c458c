"""Where an artifact is measured: this machine, or a device over ssh or adb. One transport per file.

A transport is a module with `FORM`, which is how a device of it is written, `check(address)`, which raises UserError, and
`open(address, python) -> Device`; it is found by its name, the text before the first colon. `run` drives any
of them the same way.
"""

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol

from edgekit.errors import UserError

TIMEOUT_S = 1800.0  # of one measurement
NO_PYTHON = ""  # in place of an interpreter, for a device that is only to run programs of its own
QUICK_S = 60.0  # for what takes only a moment: a check, a rename, a removal


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A command that ran to its end on the device.

    Attributes:
        code: Its exit code.
        stdout: What it wrote to stdout.
        stderr: What it wrote to stderr.
    """

    code: int
    stdout: str
    stderr: str


class Device(Protocol):
    """A place with a Python and a file system. Paths on it are strings. Every method may raise DeviceError.

    Attributes:
        name: The device as the user wrote it.
        root: The folder that keeps pushed files between runs.
        python: The interpreter there.
        shares_files: Whether it reads this machine's own paths.
    """

    name: str
    root: str
    python: str
    shares_files: bool

    def execute(
        self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = QUICK_S, folder: str | None = None
    ) -> Completed:
        """Runs a command to its end.

        Args:
            argv: The program and its arguments.
            stdin: What the command reads.
            timeout_s: When to give up, in seconds.
            folder: Where to run it, from `make_folder`. With a folder, everything that it started is ended on a time-out, its
                stdin stays open while it runs, and ends when this process does.
        """

    def push(self, local: Path, remote: str) -> None:
        """Copies a file; `remote` appears complete or not at all."""

    def exists(self, remote: str, size_bytes: int) -> bool:
        """Whether the file is there with that size; a file that is there counts as used today."""

    def remove(self, remote: str) -> None:
        """Removes a file or a folder, if it is there."""

    def make_folder(self) -> str:
        """Makes a new empty folder below `root`; removes what nobody has used there for two weeks."""

    def close(self) -> None:
        """Ends the connection; what was pushed stays for the next run, up to two weeks."""


def open_device(text: str, python: str | None = None) -> Device:
    """Opens a device and finds its Python.

    Args:
        text: The device as the user writes it.
        python: Which interpreter to use there; without it, the first suitable one found; NO_PYTHON where none is needed.

    Raises:
        UserError: `text` names no device.
        DeviceError: The device does not answer.
        MissingRuntime: Its Python is too old.
    """
    check_form(text)
    kind, _, address = text.partition(":")
    device: Device = transports()[kind].open(address, python)
    return device


def check_form(text: str) -> None:
    """Raises UserError unless `text` is written as a device is; connects to none."""
    kind, _, address = text.partition(":")
    found = transports()
    if kind not in found:
        allowed = ", ".join(module.FORM for module in found.values())
        raise UserError(f"device {text!r} is not known; allowed: {allowed}")
    found[kind].check(address)


def transports() -> dict[str, ModuleType]:
    """Lists every module of this package that is a transport, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "FORM")}
