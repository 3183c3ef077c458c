"""`adb:SERIAL`: an Android device, through the adb program and its shell.

The shell's user may write and execute below /data/local/tmp only. It needs a Python there: Android has none
of its own, Termux's belongs to another user unless adb is root. The adb server that the program starts keeps
running, as it does for every user of adb.
"""

import re
from pathlib import Path

from edgekit.device import Completed
from edgekit.device.remote import Remote, disk_full
from edgekit.errors import UserError

FORM = "adb:SERIAL"

_SERIAL = re.compile(r"[A-Za-z0-9_.\[(][\w.:%\[\]() -]*")
_ROOT = "/data/local/tmp/edgekit-runner"


class Adb(Remote):
    """An Android device; see `Device`."""

    _program = "install Android's platform-tools"

    def __init__(self, serial: str, python: str | None) -> None:
        self.name = f"adb:{serial}"
        self._serial = serial
        self._find(python, _ROOT)

    def close(self) -> None:
        """Does nothing: the connection belongs to the adb server."""

    def _client(self, command: str) -> list[str]:
        return ["adb", "-s", self._serial, "shell", "-T", command]

    def _send(self, local: Path, remote: str, timeout_s: float) -> Completed:
        done = self._call(["adb", "-s", self._serial, "push", str(local), remote], b"", timeout_s)
        said = (done.stdout + done.stderr).decode(errors="replace")
        if done.returncode != 0 and not disk_full(said):
            self._script("true")  # says so if the device has vanished
        return Completed(code=done.returncode, stdout="", stderr=said)

    def _explain(self, why: str) -> str:
        if "unauthorized" in why:
            return f"login refused ({why}); allow this computer in the dialog on the device"
        return f"cannot connect ({why}); `adb devices` lists what is there"


def check(serial: str) -> None:
    """Raises UserError unless `serial` is written as a serial number is."""
    if not _SERIAL.fullmatch(serial):
        raise UserError(f"device 'adb:{serial}' is not of the form {FORM}; `adb devices` lists the serials")


def open(serial: str, python: str | None) -> Adb:
    """Opens the device and finds its Python."""
    return Adb(serial, python)
