"""What an export tells of the machine that made it: nothing. A team publishes the folder as it is.

Logs, events and the reasons of refusals may quote paths: of the user's home, the checkout, the environment of Python, the work
folder. They are shortened to a word each, and the names of user and host with them.
"""

import getpass
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import edgekit

# as words of ordinary text they say nothing of anybody
COMMON = {
    "root",
    "user",
    "admin",
    "ubuntu",
    "runner",
    "build",
    "builder",
    "ci",
    "docker",
    "localhost",
    "app",
    "dev",
    "test",
}


class Anonymous:
    """Shortens what names this machine.

    Args:
        work: The work folder of the run.
        out: The output folder.
    """

    def __init__(self, work: Path, out: Path) -> None:
        self._paths = _paths(work, out)
        self._all = {**_names(), **self._paths}

    def text(self, text: str) -> str:
        """Returns what a program printed without them."""
        return _shortened(text, self._all)

    def data(self, value: Any) -> Any:
        """Returns plain data with the paths in every text of it shortened.

        Keys and names stay: a target may be called as the host is.
        """
        if isinstance(value, str):
            return _shortened(value, self._paths)
        if isinstance(value, dict):
            return {key: self.data(each) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(each) for each in value]
        return value


def _shortened(text: str, named: Mapping[str, str]) -> str:
    words = sorted(named, key=len, reverse=True)
    pattern = "|".join(rf"(?<!\w){re.escape(word)}(?![\w-])" for word in words)
    return re.sub(pattern, lambda match: named[match[0]], text) if words else text


def _paths(work: Path, out: Path) -> dict[str, str]:
    """The folders that name somebody, and what stands for each; what is above another one comes to the shorter word."""
    found = {str(Path(entry).absolute()): "PATH" for entry in sys.path if entry}
    found |= {sys.prefix: "PYTHON", sys.base_prefix: "PYTHON", str(Path(sys.executable).parent): "PYTHON"}
    found |= {str(Path(edgekit.__file__).absolute().parents[1]): "EDGEKIT", str(Path.cwd()): "."}
    found |= {str(out.absolute()): "OUT", str(work.absolute()): "WORK"}
    with suppress(RuntimeError):
        found[str(Path.home())] = "~"
    both = {**found, **{str(Path(name).resolve()): short for name, short in found.items()}}
    return {name: short for name, short in both.items() if len(Path(name).parts) > 1}


def _names() -> dict[str, str]:
    found = {socket.gethostname(): "HOST"}
    with suppress(OSError, KeyError, ImportError):
        found[getpass.getuser()] = "USER"
    return {name: short for name, short in found.items() if len(name) > 2 and name.lower() not in COMMON}
