"""A warm server: imports a family of frameworks once and forks a process for each stage.

It has one thread, so that forking is safe, and starts no OpenMP pool. The host opens it with a socket and asks over it:

    "open FAMILY" with a socket: forks a server of a family that stands on this one, which then answers on that socket;
    "run" with a socket: reads a job, one line of JSON, from that socket and forks its process. The exit code is written
    back; the host's end closed, or its side shut down, ends the process.

Stages die with their server, a server with the one it was forked from, the first with the host (PR_SET_PDEATHSIG), and with its
end of the socket. What a stage's own code started is in its process group, and is ended with it; what left the group comes to
this process when it loses its parent, and is ended when no stage runs any more.

    python -P -m edgekit.engine.server SOCKET PARENT      (internal)
"""

import contextlib
import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NoReturn

from edgekit.engine import child, families, task_modules

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MESSAGE_BYTES = 256
LAST_S = 2.0  # for the servers that stand on one that ends


class Server:
    """Serves one family, in this process, until its socket is closed.

    Args:
        control: Where the host asks.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._stages: dict[int, socket.socket] = {}
        self._servers: set[int] = set()
        self._woken, self._wake = socket.socketpair()

    def serve(self) -> NoReturn:
        """Forks what is asked for."""
        gc.collect()
        gc.freeze()  # the collector of a child would copy every page that it looks at
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
        for end in (self._woken, self._wake):
            end.setblocking(False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._end())
        for source in (self._control, self._woken):
            self._selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                self._attend(key.fileobj)

    def _attend(self, source: Any) -> None:
        if source is self._control:
            self._asked()
        elif source is self._woken:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(MESSAGE_BYTES)
            self._reap()
        else:  # the host no longer wants this stage
            pid = next((pid for pid, stage in self._stages.items() if stage is source), None)
            self._selector.unregister(source)
            if pid is not None:
                _kill_group(pid)

    def _asked(self) -> None:
        try:
            message, descriptors, _, _ = socket.recv_fds(self._control, MESSAGE_BYTES, 1)
        except OSError:
            message, descriptors = b"", []
        if not message or not descriptors:
            self._end()
        os.set_inheritable(descriptors[0], False)
        given = socket.socket(fileno=descriptors[0])
        verb, _, family = message.decode().partition(" ")
        if verb == "open":
            self._fork_server(given, family)
        else:
            self._fork_stage(given)

    def _fork_server(self, control: socket.socket, family: str) -> None:
        parent, pid = os.getpid(), os.fork()
        if pid:
            self._servers.add(pid)
            control.close()
            return
        self._forget()
        _die_with(parent, signal.SIGTERM)
        families.load(family)
        Server(control).serve()

    def _fork_stage(self, stage: socket.socket) -> None:
        with stage.makefile("r", encoding="utf-8") as lines:
            line = lines.readline()
        if not line.endswith("\n"):  # the host died while it asked
            stage.close()
            return
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            try:
                stage.close()
                self._forget()
                _die_with(parent, signal.SIGKILL)
                _begin(json.loads(line))
            finally:
                os._exit(1)
        self._stages[pid] = stage
        self._selector.register(stage, selectors.EVENT_READ)

    def _forget(self) -> None:
        """In a forked process: closes what belongs to the server, so that its end is seen by the host."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._selector.close()
        for end in (self._control, self._woken, self._wake, *self._stages.values()):
            end.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                self._end_daemons()
                return
            self._servers.discard(pid)
            stage = self._stages.pop(pid, None)
            if stage is None:  # a server of another family, or what a stage left behind
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)  # what the stage started and left behind
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(stage)
            with contextlib.suppress(OSError):
                stage.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
            stage.close()

    def _end_daemons(self) -> None:
        """Ends what left the group of its stage and lost its parent, once no stage runs that could still want it."""
        if not self._stages:
            for pid in _children() - self._servers:
                _kill_group(pid)

    def _end(self) -> NoReturn:
        for pid in self._stages:
            _kill_group(pid)
        self._stages.clear()
        self._end_daemons()
        self._await_servers()
        os._exit(0)

    def _await_servers(self) -> None:
        """Those that stand on this one end with the host, too; what they took is then counted to it by its parent."""
        end = time.monotonic() + LAST_S
        while self._servers and time.monotonic() < end:
            self._reap()
            time.sleep(0.01)


def _begin(job: dict[str, Any]) -> None:
    """Makes this process the stage's own: its log, its group, its modules' folders; then runs it."""
    os.setsid()
    os.chdir(job["folder"])
    log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for number, source in enumerate((os.open(os.devnull, os.O_RDONLY), log, log)):
        os.dup2(source, number)
    if job["fresh"]:
        os.execve(sys.executable, [sys.executable, *job["fresh"], str(os.getppid()), ""], job["environment"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:] = job["path"]
    tempfile.tempdir = None
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed()  # as random in a fork as in a fresh interpreter
    shared = child.memory_bytes("VmRSS") or 0
    child.run(Path(job["spec"]), Path(job["result"]), shared_bytes=shared)


def _children() -> set[int]:
    """The processes whose parent is this one; empty where the kernel does not tell."""
    try:
        return {int(word) for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}
    except OSError:
        return set()


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):  # it may not have made its group yet
        os.kill(pid, signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value)


def _die_with(parent: int, how: signal.Signals) -> None:
    _prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(1)


def main(number: str, parent: str) -> NoReturn:
    """Runs the first server, which has imported nothing."""
    _die_with(int(parent), signal.SIGTERM)
    Server(socket.socket(fileno=int(number))).serve()


task_modules.find_in_workers(__name__)
if __name__ == "__main__":
    main(*sys.argv[1:3])
