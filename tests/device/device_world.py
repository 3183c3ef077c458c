"""A device on this machine: its own network, processes and file system, for the real sshd and adbd.

adbd listens on every interface and on vsock, asks for no authentication and gives a shell as its caller.
Therefore, and without any fallback:
- it runs in a network namespace of its own, whose only interface is its loopback;
- it runs as a throw-away user without capabilities, never as root;
- it is ended with its process namespace, whose first process is killed here or, should the tests die, by the
  kernel;
- a network namespace does not confine vsock, so a system call filter takes it away: to all that runs here
  socket(AF_VSOCK) answers as on a kernel that has none.
"""

import ctypes
import errno
import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import debian_tools
from waiting import WAIT_S

from edgekit.arm import debian
from edgekit.errors import MissingRuntime

USER_ID = 64531
USER = "edgekit-device"
_PACKAGES = ("numpy", "numpy.libs", "onnxruntime")
_PROGRAMS = ("ip", "unshare", "nsenter", "setpriv", "chroot", "mount", "ss", "ssh", "ssh-keygen")
_AF_VSOCK, _SYS_SOCKET_X86_64, _AUDIT_ARCH_X86_64 = 40, 41, 0xC000003E

_SETUP = r"""
set -e
ip link set lo up
cd "$1"
mkdir -p usr etc proc sys dev tmp opt/python opt/packages opt/tools
for each in bin sbin lib lib64; do [ -L "/$each" ] && cp -P "/$each" . ; done
for each in usr etc sys dev; do mount --rbind "/$each" "$each"; done
mount --bind etc-passwd etc/passwd
mount --bind "$2" opt/python
mount --bind "$3" opt/packages
mount --bind "$4" opt/tools
mount --bind opt/bin usr/local/bin
mount -t proc proc proc
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs tmp
echo ready
exec chroot . sleep infinity
"""


class Unavailable(Exception):
    """Why there can be no such device here."""


def without_vsock() -> None:
    """For a child before its exec: socket(AF_VSOCK) fails with EAFNOSUPPORT, there and in all it starts."""
    refuse, allow = 0x00050000 | errno.EAFNOSUPPORT, 0x7FFF0000
    load, equal, answer = 0x20, 0x15, 0x06
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (load, 0, 0, 4),
            (equal, 1, 0, _AUDIT_ARCH_X86_64),
            (answer, 0, 0, refuse),  # another ABI would number its calls otherwise
            (load, 0, 0, 0),
            (equal, 0, 3, _SYS_SOCKET_X86_64),
            (load, 0, 0, 16),
            (equal, 0, 1, _AF_VSOCK),
            (answer, 0, 0, refuse),
            (answer, 0, 0, allow),
        )
    )
    buffer = ctypes.create_string_buffer(program, len(program))
    filter_ = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for arguments in ((38, 1, 0, 0, 0), (22, 2, ctypes.create_string_buffer(filter_), 0, 0)):
        if libc.prctl(*arguments) != 0:  # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
            raise OSError(ctypes.get_errno(), "prctl")


def wait_for(what: str, happened: Callable[[], bool], patience_s: float = WAIT_S) -> None:
    end = time.monotonic() + patience_s
    while not happened():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not happen within {patience_s} s")
        time.sleep(0.02)


class Program:
    """A process in the device, known by its process id out here."""

    def __init__(self, entered: "subprocess.Popen[bytes]") -> None:
        self._entered = entered
        wait_for("the start of a program", lambda: bool(_children(entered.pid)) or entered.poll() is not None)
        if entered.poll() is not None:
            raise Unavailable(f"a program of the device ended at once, with {entered.returncode}")
        self.pid = _children(entered.pid)[0]

    def kill(self) -> None:
        if self._entered.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._entered.wait()


class World:
    """`with World() as world`: the device. Files of it lie below `root` as seen from here."""

    def __enter__(self) -> "World":
        _require()
        try:
            self.tools = debian_tools.fetch()
        except MissingRuntime as error:
            raise Unavailable(str(error)) from error
        self.base = Path(tempfile.mkdtemp(prefix="edgekit-world-"))
        self.base.chmod(0o755)
        self.root = self.base / "root"
        self.programs: list[Program] = []
        self._first: subprocess.Popen[bytes] | None = None
        try:
            self._lay_out()
            self._begin()
            self._check_vsock()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for program in reversed(self.programs):
            program.kill()
        if self._first is not None:
            self._first.kill()
            self._first.wait()
            wait_for("the end of the device", lambda: not Path(f"/proc/{self._init}").exists())
        shutil.rmtree(self.base)

    def _lay_out(self) -> None:
        """The folders of the device, a Python that finds numpy and one runtime, and its only user."""
        for name in ("home", "cache", "opt/bin", "opt/site", "data/local/tmp"):
            (self.root / name).mkdir(parents=True)
        for name in ("home", "cache", "data/local/tmp"):
            os.chown(self.root / name, USER_ID, USER_ID)
        for name in _PACKAGES:
            (self.root / "opt" / "site" / name).symlink_to(f"/opt/packages/{name}")
        self.python("python3", PYTHONPATH="/opt/site")
        self.python("python-without-numpy")
        self.write("opt/bin/python-old", '#!/bin/sh\necho "edgekit-python=3.9=/usr/local/bin/python-old"\n')
        line = f"{USER}:x:{USER_ID}:{USER_ID}::/home:/bin/sh\n"
        self.write("etc-passwd", Path("/etc/passwd").read_text() + line, 0o644)

    def python(self, name: str, **environment: str) -> None:
        own = f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        given = {"LD_LIBRARY_PATH": "/opt/python/lib", "PYTHONDONTWRITEBYTECODE": "1", **environment}
        exports = "".join(f"export {key}={value}\n" for key, value in given.items())
        self.write(f"opt/bin/{name}", f'#!/bin/sh\n{exports}exec {own} "$@"\n')

    def write(self, name: str, text: str, mode: int = 0o755) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def _begin(self) -> None:
        site = Path(sys.modules["numpy"].__file__ or "").parents[1]
        places = [str(place) for place in (self.root, Path(sys.base_prefix), site, self.tools)]
        spaces = ["--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child=KILL"]
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", *spaces, "sh", "-c", _SETUP, "sh", *places]
        pipe = subprocess.PIPE
        self._first = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, cwd="/", preexec_fn=without_vsock
        )
        assert self._first.stdout is not None and self._first.stderr is not None
        if self._first.stdout.readline() != b"ready\n":
            raise Unavailable(f"no namespaces here: {self._first.stderr.read().decode().strip()}")
        self._init = _children(self._first.pid)[0]

    def _check_vsock(self) -> None:
        attempt = f"import socket; socket.socket({_AF_VSOCK}, socket.SOCK_STREAM)"
        done = self.run(["python3", "-c", attempt])
        if f"[Errno {errno.EAFNOSUPPORT}]" not in done.stderr:
            raise Unavailable("vsock cannot be taken away from the device")

    def _enter(self, *spaces: str) -> list[str]:
        return ["nsenter", "--target", str(self._init), *spaces, "--"]

    def _as_user(self, argv: list[str], environment: dict[str, str]) -> list[str]:
        drop = [f"--reuid={USER_ID}", f"--regid={USER_ID}", "--clear-groups"]
        less = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"]
        known = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/home", **environment}
        variables = [f"{key}={value}" for key, value in known.items()]
        entered = self._enter("--net", "--mount", "--pid", "--ipc", "--root", "--wd")
        return [*entered, "setpriv", *drop, *less, "env", "-i", *variables, *argv]

    def run(self, argv: list[str], **environment: str) -> "subprocess.CompletedProcess[str]":
        """A command in the device, as its user."""
        whole = self._as_user(argv, environment)
        return subprocess.run(whole, capture_output=True, text=True, preexec_fn=without_vsock, timeout=60)

    def run_as_root(self, *argv: str) -> str:
        """A command about the device, with our own programs and paths but its network, mounts and processes."""
        entered = self._enter("--net", "--mount", "--pid", "--ipc")
        return subprocess.run(
            [*entered, *argv], capture_output=True, text=True, check=True, timeout=60
        ).stdout

    def start(self, argv: list[str], log: str, **environment: str) -> Program:
        with (self.base / log).open("ab") as stream:
            entered = subprocess.Popen(
                self._as_user(argv, environment),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                preexec_fn=without_vsock,
            )
        program = Program(entered)
        self.programs.append(program)
        return program

    def tool(self, path: str) -> list[str]:
        """How a fetched program is called inside the device."""
        inside = [part.replace(str(self.tools), "/opt/tools") for part in debian.loader(self.tools)]
        return [*inside, *[f"/opt/tools/{path}"] * 2]

    def client(self, name: str, argv: list[str]) -> None:
        """A program for PATH that runs `argv` in the device's network."""
        folder = self.base / "bin"
        folder.mkdir(exist_ok=True)
        whole = " ".join([*self._enter("--net"), *argv])
        (folder / name).write_text(f'#!/bin/sh\nHOME={self.base} exec {whole} "$@"\n')
        (folder / name).chmod(0o755)

    def listening(self, port: int) -> bool:
        return f":{port} " in self.run_as_root("ss", "--listening", "--tcp", "--numeric")

    def processes(self) -> list[str]:
        """What the device's user runs, as command lines."""
        space = _namespace(self._init)
        pids = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
        inside = [pid for pid in pids if pid != self._init and _namespace(pid) == space]
        return [line for line in map(_command_line, inside) if line]


def vsock_listeners() -> str:
    """What listens on vsock out here, without the head line."""
    said = subprocess.run(["ss", "--vsock", "--listening", "--no-header"], capture_output=True, text=True)
    return said.stdout.strip()


def _require() -> None:
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        raise Unavailable("the device's programs are fetched for x86-64 Linux")
    if os.geteuid() != 0:
        raise Unavailable("only root can make the namespaces and drop to a throw-away user")
    absent = [name for name in _PROGRAMS if shutil.which(name) is None]
    if absent:
        raise Unavailable(f"not installed: {', '.join(absent)}")


def _children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/pid").readlink())
    except OSError:
        return ""


def _command_line(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except OSError:
        return ""
