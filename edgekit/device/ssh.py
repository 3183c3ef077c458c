"""`ssh:user@host[:port]`: the OpenSSH client, with the user's own configuration, keys and known hosts.

One connection is made and shared by all commands (ControlMaster, a socket in a private folder), so that a key
is asked for once. Nothing is ever prompted for: what needs a password fails at once. A silent connection is
given up after 30 s; the questions that find out cost the device a packet every 10 s.
"""

import os
import re
from contextlib import suppress

from edgekit.device.remote import Remote, last_line
from edgekit.device.scratch import Scratch
from edgekit.errors import DeviceError, UserError

FORM = "ssh:user@host[:port]"
CONNECT_S = 15
_LONGEST_SOCKET = 85  # a socket's path holds 104 bytes on macOS, and ssh adds 17 while it makes one

# no leading dash: ssh would take it for an option
_ADDRESS = re.compile(
    r"(?:(?P<user>[\w.][\w.-]*)@)?(?P<host>[A-Za-z0-9_][\w.-]*|\[[0-9A-Fa-f:.]+(?:%\w+)?\])(?::(?P<port>\d{1,5}))?"
)
_OPTIONS = (
    "BatchMode=yes", f"ConnectTimeout={CONNECT_S}", "ServerAliveInterval=10", "ServerAliveCountMax=3",
    "ClearAllForwardings=yes", "RequestTTY=no", "RemoteCommand=none", "LogLevel=ERROR",
)  # fmt: skip


class Ssh(Remote):
    """A device behind the OpenSSH client; see `Device`."""

    _program = "install the OpenSSH client"

    def __init__(self, address: str, python: str | None) -> None:
        self.name = f"ssh:{address}"
        self._target, port = _parts(address)
        self._port = ["-p", str(port)] if port else []
        self._scratch = Scratch()
        self._socket = self._scratch.path / "s"
        self._shares = os.name == "posix" and len(str(self._socket)) <= _LONGEST_SOCKET
        try:
            self._connect()
            self._find(python, "{home}/.cache/edgekit-runner")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the shared connection and removes its socket."""
        if self._socket.exists():
            with suppress(DeviceError):
                self._call(self._ssh("-O", "exit"), b"", CONNECT_S)
        self._scratch.close()

    def _ssh(self, *arguments: str) -> list[str]:
        options = [part for option in _OPTIONS for part in ("-o", option)]
        shared = ["-o", f"ControlPath={self._socket if self._shares else 'none'}"]
        return ["ssh", *options, *shared, *self._port, *arguments, self._target]

    def _connect(self) -> None:
        """Opens the shared connection in the background; it ends by itself a minute after its last use.

        Where there can be none, on Windows or with a long path of temporary files, each command makes its own connection.
        """
        if not self._shares:
            return
        done = self._call(self._ssh("-MNf", "-o", "ControlPersist=60"), b"", 4.0 * CONNECT_S)
        if done.returncode != 0:
            why = last_line(done.stderr.decode(errors="replace"))
            raise DeviceError(f"{self.name}: {self._explain(why)}")

    def _client(self, command: str) -> list[str]:
        return [*self._ssh("-T"), command]

    def _explain(self, why: str) -> str:
        by_hand = " ".join(["ssh", *self._port, self._target])
        if "Permission denied" in why or "Too many authentication failures" in why:
            return f"login refused ({why}); edgekit never asks for a password: set up a key until `{by_hand}` asks for none"
        if "Host key verification failed" in why:
            return f"its host key is not known here, or has changed ({why}); connect once with `{by_hand}`"
        return f"cannot connect ({why}); find out with `{by_hand}`"


def check(address: str) -> None:
    """Raises UserError unless `address` is written as [user@]host[:port]."""
    _parts(address)


def _parts(address: str) -> tuple[str, int | None]:
    """Splits an address into user@host (or host) and the port, if there is one. Raises UserError."""
    match = _ADDRESS.fullmatch(address)
    port = int(match.group("port")) if match and match.group("port") else None
    if match is None or (port is not None and not 0 < port < 65536):
        raise UserError(f"device 'ssh:{address}' is not of the form {FORM}")
    user, host = match.group("user"), match.group("host").strip("[]")
    return (f"{user}@{host}" if user else host), port


def open(address: str, python: str | None) -> Ssh:
    """Connects to the device and finds its Python."""
    return Ssh(address, python)
