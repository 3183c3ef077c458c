"""Where an artifact is measured: this machine, or a device over ssh or adb. One transport a file.

A transport is a module with `FORM`, how a device of it is written, `check(address)` that raises UserError, and
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

QUICK_S = 60.0  # for what takes a moment: a look, a rename, a removal


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A command that came to its end on the device."""

    code: int
    stdout: str
    stderr: str


class Device(Protocol):
    """A place with a Python and a file system. Paths on it are strings. Every method may raise DeviceError.

    `name` as the user wrote it; `root` the folder that keeps pushed files between runs; `python` the
    interpreter there; `shares_files` whether it reads this machine's own paths.
    """

    name: str
    root: str
    python: str
    shares_files: bool

    def execute(
        self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = QUICK_S, folder: str | None = None
    ) -> Completed:
        """Runs `argv` to its end. With `folder` it runs there, and all it started is ended on a time-out."""

    def push(self, local: Path, remote: str) -> None:
        """Copies a file; `remote` appears complete or not at all."""

    def exists(self, remote: str, size_bytes: int) -> bool:
        """Whether the file is there with that size; one that is counts as used today."""

    def remove(self, remote: str) -> None:
        """Removes a file or a folder, or does nothing."""

    def make_folder(self) -> str:
        """A new empty folder below `root`; removes there what nobody used for two weeks."""

    def close(self) -> None:
        """Ends the connection; what was pushed stays for the next time, up to two weeks."""


def open_device(text: str, python: str | None = None) -> Device:
    """The device that `text` names, its Python found; `python` overrides which one.

    Raises UserError for a text that names none, DeviceError for a device that does not answer, and
    MissingRuntime for one whose Python is too old.
    """
    check_form(text)
    kind, _, address = text.partition(":")
    device: Device = transports()[kind].open(address, python)
    return device


def check_form(text: str) -> None:
    """Raises UserError unless `text` is written as a device; it connects to none."""
    kind, _, address = text.partition(":")
    found = transports()
    if kind not in found:
        allowed = ", ".join(module.FORM for module in found.values())
        raise UserError(f"device {text!r} is not known; allowed: {allowed}")
    found[kind].check(address)


def transports() -> dict[str, ModuleType]:
    """Every module of this package that is a transport, by name."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "FORM")}
