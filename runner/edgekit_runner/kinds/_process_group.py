"""Several fresh workers that begin at the same moment, and their records, whatever becomes of them.

A worker says "ready" when it is warm; when all have, each gets the same moment in nanoseconds of the monotonic
clock. When one fails, the others are ended: what they would measure is not what was asked. The calling thread
starts the processes, because a worker dies with the thread that started it; then one thread for each talks to
it, and all of them only wait.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from edgekit_runner import record as records
from edgekit_runner import spawn
from edgekit_runner.spec import Spec

_LEAD_NS = 300_000_000  # from the line to the moment: enough to take memory and still be on time


def run(spec: Spec, count: int) -> list[Any]:
    """Runs one spec in several workers at once.

    Args:
        spec: What each worker is asked for; its kind has to say "ready" and wait.
        count: How many workers.

    Returns:
        Their records, in order; or, when one failed, its record alone.
    """
    group = _Group(spec, count)
    instances: list[_Instance] = []
    try:
        for number in range(count):
            instances.append(_Instance(spec, number))
        return group.drive(instances)
    except OSError as error:
        reason = f"instance {len(instances) + 1} of {count} could not be started: {error}; give fewer."
        return [records.fail(records.blank(spec.kind), reason, "runtime")]
    finally:
        for instance in instances:
            instance.end()


class _Instance:
    """One worker, and the file that takes what it writes to stderr."""

    def __init__(self, spec: Spec, number: int) -> None:
        self.number = number
        self.spec = spec
        self._first = b""
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-I", "-c", spawn.BOOTSTRAP, *spawn.parent(), spawn.paths(), "--line"]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=self._said, env=spawn.variables(spec)
        )

    def is_ready(self) -> bool:
        """Hands the spec over and waits for the first line; False when the worker ended instead."""
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(self.spec.to_dict()).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:  # it has ended already; its silence is the answer
            return False
        self._first = self.process.stdout.readline()
        return self._first.strip() == records.READY.encode()

    def record(self, begin_ns: int | None) -> Any:
        """Gives the moment, where there is one, and waits for the end."""
        line = b"" if begin_ns is None else f"{begin_ns}\n".encode()
        stdout = self._first + self.process.communicate(line)[0]
        self._said.seek(0)
        stderr = self._said.read().decode(errors="replace")
        return spawn.interpret(self.spec, self.process.returncode, stdout.decode(errors="replace"), stderr)

    def end(self) -> None:
        """Leaves no process and no file."""
        self.process.kill()
        self.process.wait()
        for stream in filter(None, (self.process.stdin, self.process.stdout, self._said)):
            with contextlib.suppress(OSError):  # a spec that a dead worker did not take
                stream.close()


class _Group:
    """The start barrier, and who was the first to fail."""

    def __init__(self, spec: Spec, count: int) -> None:
        self._spec = spec
        self._barrier = threading.Barrier(count, action=self._set_moment)
        self._lock = threading.Lock()
        self._failed: Any | None = None
        self._begin_ns = 0

    def drive(self, instances: list[_Instance]) -> list[Any]:
        """Talks to all until the last one has ended, or the time is over."""
        self._instances = instances
        found: dict[int, Any] = {}
        threads = [threading.Thread(target=self._talk, args=(i, found), daemon=True) for i in instances]
        timer = threading.Timer(self._spec.timeout_s, self._expire)
        timer.daemon = True
        for thread in (timer, *threads):
            thread.start()
        for thread in threads:
            thread.join()
        timer.cancel()
        if self._failed is not None:
            return [self._failed]
        return [found[instance.number] for instance in instances]

    def _talk(self, instance: _Instance, found: dict[int, Any]) -> None:
        try:
            if instance.is_ready():
                self._barrier.wait()
                record = instance.record(self._begin_ns)
            else:
                record = instance.record(None)
        except threading.BrokenBarrierError:
            return
        except Exception as error:  # else the others would wait for this one
            reason = f"a bug in the runner: {type(error).__name__}: {error}"
            record = records.fail(records.blank(self._spec.kind), reason, "internal")
        if record["status"] == "ok":
            found[instance.number] = record
            return
        record["reason"] = f"instance {instance.number + 1} of {len(self._instances)}: {record['reason']}"
        self._stop(record)

    def _expire(self) -> None:
        reason = f"the workers were ended after timeout_s = {self._spec.timeout_s} s; raise it."
        self._stop(records.fail(records.blank(self._spec.kind), reason, "timeout"))

    def _stop(self, record: Any) -> None:
        """Ends all for the reason of the first call; what they say after that does not count."""
        with self._lock:
            if self._failed is not None:
                return
            self._failed = record
        self._barrier.abort()
        for instance in self._instances:
            instance.process.kill()

    def _set_moment(self) -> None:
        self._begin_ns = time.monotonic_ns() + _LEAD_NS
