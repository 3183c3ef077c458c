"""What ssh and adb have in common: a POSIX shell at the other end, driven by a program of this machine.

Neither program says reliably how a command ended: adb answers 0 when the device vanishes, and 255 from ssh may
be the command's own code. So every command writes its exit code as the last words of stderr, and a command
without these words never came to its end. A file is written under another name, its size compared, and
then renamed: it is there complete or not at all.
"""

import re
import secrets
import shlex
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from edgekit.device import NO_PYTHON, QUICK_S, Completed
from edgekit.device.exchange import TooMuch, exchange
from edgekit.errors import DeviceError, MissingRuntime

PYTHONS = ("python3", "python", "/data/data/com.termux/files/usr/bin/python3")
OLDEST_PYTHON = (3, 11)
KEPT_DAYS = 14
SLOWEST_LINK_BYTES_PER_S = 50_000

_TOLD = "edgekit-exit:"
_TELL = f'"$@"; code=$?; echo "{_TOLD}$code" >&2; exit "$code"'
_ENGLISH = "LC_ALL=C; export LC_ALL; "
# sshd and adbd give each command a process group of its own, and its number serves to end all of it
_IN_FOLDER = (
    'cd "$1" && "$2" -c "import os; print(os.getpgid(0))" >group && shift 2 && TMPDIR=$PWD && export TMPDIR '
    '&& { "$@"; code=$?; cd / && rm -rf "$TMPDIR"; exit "$code"; }'  # also where nobody is left to remove it
)
_END = 'read -r group <"$1/group" && kill -s TERM -- "-$group" && sleep 1 && kill -s KILL -- "-$group"'
_PUT = '[ "$(wc -c <"$1")" -eq "$2" ] && touch "$1" && mv -f "$1" "$3"'
_THERE = '[ -f "$1" ] && [ "$(wc -c <"$1")" -eq "$2" ] && touch "$1"'
_FOLDER = (
    'mkdir -p "$1/$2" && cd "$1" && '
    'find . -mindepth 1 -type f -mtime "+$3" -exec rm -f {} + && '
    'find . -mindepth 1 -depth -type d -mtime "+$3" -exec rmdir {} + 2>/dev/null; [ -d "$1/$2" ]'
)
_PROBE = (
    'cd /; echo "edgekit-home=$HOME"; for each in "$@"; do "$each" -c "import sys; '
    "print('edgekit-python=%d.%d=%s' % (sys.version_info[0], sys.version_info[1], sys.argv[1]))\" "
    '"$each" 2>/dev/null; done; true'
)


class Remote(ABC):
    """A device behind a program of this machine; see `Device`.

    A transport says what its program is called, how to call it and where files go.
    """

    name: str
    root: str
    python: str
    shares_files = False
    _program: str
    _reached = False

    @abstractmethod
    def _client(self, command: str) -> list[str]:
        """Gives the program and arguments that run a shell command on the device."""

    @abstractmethod
    def _explain(self, why: str) -> str:
        """One sentence for a device that was never reached; `why` is the last line of the program's output."""

    def _send(self, local: Path, remote: str, timeout_s: float) -> Completed:
        """Copies the bytes of a file."""
        with local.open("rb") as stream:
            command = shlex.join(["sh", "-c", _TELL, "sh", "sh", "-c", _ENGLISH + 'cat >"$1"', "sh", remote])
            return self._ended(self._call(self._client(command), stream, timeout_s))

    def execute(
        self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = QUICK_S, folder: str | None = None
    ) -> Completed:
        """Runs a command to its end; with a folder, everything that it started is ended on a time-out."""
        inside = [] if folder is None else ["sh", "-c", _IN_FOLDER, "sh", folder, self.python]
        command = shlex.join(["sh", "-c", _TELL, "sh", *inside, *argv])
        try:
            held = folder is not None
            return self._ended(self._call(self._client(command), stdin, timeout_s, held))
        except BaseException:
            if folder is not None:
                with suppress(DeviceError):
                    self._script(_END, folder)
            raise

    def push(self, local: Path, remote: str) -> None:
        """Copies a file under another name, compares its size and renames it."""
        size_bytes = local.stat().st_size
        partial = f"{remote}.{secrets.token_hex(4)}.part"
        try:
            self._must("make a folder", self._script('mkdir -p "${1%/*}"', remote))
            done = self._send(local, partial, QUICK_S + size_bytes / SLOWEST_LINK_BYTES_PER_S)
            self._must(f"store {local.name} ({size_bytes} bytes)", done)
            self._must(f"store all of {local.name}", self._script(_PUT, partial, str(size_bytes), remote))
        except BaseException:
            with suppress(DeviceError):
                self.remove(partial)
            raise

    def exists(self, remote: str, size_bytes: int) -> bool:
        """Whether the file is there with that size; a file that is there counts as used today."""
        return self._script(_THERE, remote, str(size_bytes)).code == 0

    def remove(self, remote: str) -> None:
        """Removes a file or a folder, if it is there."""
        self._script('rm -rf "$1"', remote)

    def make_folder(self) -> str:
        """Makes a new empty folder below `root`; removes what nobody has used there for two weeks."""
        name = f"run-{secrets.token_hex(8)}"
        self._must("make a folder", self._script(_FOLDER, self.root, name, str(KEPT_DAYS)))
        return f"{self.root}/{name}"

    @abstractmethod
    def close(self) -> None:
        """Ends the connection."""

    def _find(self, python: str | None, root: str) -> None:
        """Sets `python` and `root`, in which {home} is the home folder there.

        Args:
            python: Which interpreter to take; None for the first suitable one, NO_PYTHON where none is needed.
            root: Where files are kept.

        Raises:
            DeviceError: There is no Python.
            MissingRuntime: Every Python there is too old.
        """
        candidates = PYTHONS if python is None else (python,) if python else ()
        said = self._script(_PROBE, *candidates).stdout
        self._reached = True
        home = re.search(r"edgekit-home=(.*?)\r?$", said, re.MULTILINE)
        found = re.findall(r"^edgekit-python=([0-9]{1,4})\.([0-9]{1,4})=(.*?)\r?$", said, re.MULTILINE)
        if home is not None and python == NO_PYTHON:
            self.root, self.python = root.format(home=home.group(1)), python
            return
        if home is None or not found:
            tried = ", ".join(candidates)
            raise DeviceError(
                f"{self.name}: no Python there (tried {tried}); install one, or name it with --python"
            )
        self.root = root.format(home=home.group(1))
        fit = [path for major, minor, path in found if (int(major), int(minor)) >= OLDEST_PYTHON]
        if not fit:
            major, minor, path = found[0]
            raise MissingRuntime(
                f"{self.name}: {path} there is Python {major}.{minor}, the runner needs "
                f"{OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer; install one, or name it with --python"
            )
        self.python = fit[0]

    def _script(self, text: str, *arguments: str) -> Completed:
        return self.execute(["sh", "-c", _ENGLISH + text, "sh", *arguments])

    def _must(self, what: str, done: Completed) -> None:
        if done.code != 0:
            raise self._failed(what, done.stderr)

    def _failed(self, what: str, stderr: str) -> DeviceError:
        if disk_full(stderr):
            return DeviceError(
                f"{self.name}: the disk there is full, it cannot {what}; free some space on it"
            )
        return DeviceError(f"{self.name}: it cannot {what} below {self.root}: {last_line(stderr)}")

    def _ended(self, done: "subprocess.CompletedProcess[bytes]") -> Completed:
        """What a command answered. Raises DeviceError if it never ran to its end."""
        stdout, stderr = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        said, told, code = stderr.rpartition(_TOLD)
        if not told or re.fullmatch("[0-9]{1,3}", code.strip()) is None:
            why = last_line(stderr) if stderr.strip() else last_line(stdout)
            if self._reached:
                raise DeviceError(
                    f"{self.name} vanished before the command there ended ({why}); connect it and run again"
                )
            raise DeviceError(f"{self.name}: {self._explain(why)}")
        return Completed(code=int(code), stdout=stdout, stderr=said)

    def _call(
        self, argv: list[str], stdin: bytes | BinaryIO, timeout_s: float, held: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Runs a program of this machine.

        Raises:
            DeviceError: It is absent, says far too much, or takes longer than `timeout_s`.
        """
        try:
            return exchange(argv, stdin, timeout_s, held=held)
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"{self.name}: no answer within {timeout_s:g} s; allow more time, or ask for less"
            ) from None
        except TooMuch as error:
            raise DeviceError(f"{self.name}: {error}") from None
        except OSError as error:
            raise DeviceError(
                f"{self.name}: {argv[0]} cannot be started ({error.strerror}); {self._program}"
            ) from error


def disk_full(text: str) -> bool:
    """Whether an error text says that there is no space left."""
    return re.search("No space left on device|Disk quota exceeded", text) is not None


def last_line(text: str) -> str:
    """The last line that says something, cut to what fits into a sentence."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else "it said nothing"
