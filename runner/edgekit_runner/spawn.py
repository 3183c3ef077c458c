"""Starting a fresh worker and getting its record back, whatever becomes of it.

The worker never shares a process with the caller: the caller may hold a training framework, whose memory
and threads would be measured too. The spec goes in by stdin, so that no temporary file can be left behind.
"""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgekit_runner import record as records
from edgekit_runner.errors import UserError
from edgekit_runner.host.telemetry import NO_TELEMETRY
from edgekit_runner.spec import Spec

# -I drops PYTHONPATH, the user site and the current folder, which must not shadow anything; so the package
# itself is imported from where the caller has it (a checkout, site-packages or a zipapp), and the caller's
# other folders are appended behind the standard library.
BOOTSTRAP = """
import json, os, sys
if sys.platform == "linux":  # a caller that is killed takes its worker along: PR_SET_PDEATHSIG, SIGKILL
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv.pop(1)):
        sys.exit(1)
parent, extra = json.loads(sys.argv.pop(1))
sys.path.insert(0, parent)
import edgekit_runner
sys.path.remove(parent)
sys.path += [p for p in [parent, *extra] if p not in sys.path]
from edgekit_runner.worker import main
sys.exit(main())
"""
_NO_ECHO_COUNT = 500


def run(spec: Spec) -> Any:
    """Runs one spec in a fresh worker.

    Returns:
        The `Record` of its kind. A crash, a time-out or silence ends in one too.
    """
    command = [sys.executable, "-I", "-c", BOOTSTRAP, *parent(), paths(), "-"]
    text = json.dumps(spec.to_dict())
    try:
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, timeout=spec.timeout_s, env=variables(spec)
        )
    except subprocess.TimeoutExpired:
        reason = f"the worker was ended after timeout_s = {spec.timeout_s} s; raise it, or give fewer runs."
        return records.fail(records.blank(spec.kind), reason, "timeout")
    stdout, stderr = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
    return interpret(spec, done.returncode, stdout, stderr)


def describe_exit(code: int) -> str:
    """A sentence for an exit status as `subprocess` gives it: negative means a signal."""
    if code >= 0:
        return f"the worker ended with exit code {code} and no record."
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = " (often: out of memory)" if name == "SIGKILL" else ""
    return f"the worker was killed by {name}{hint}: the runtime crashed on this artifact."


def interpret(spec: Spec, code: int, stdout: str, stderr: str) -> Any:
    """Reads what a worker left behind.

    Args:
        spec: What it was asked for.
        code: Its exit status as `subprocess` gives it.
        stdout: What it wrote to stdout.
        stderr: What it wrote to stderr, which is passed on where the runner has a bug.

    Returns:
        The record on the last line of stdout, or one that says how the worker ended.
    """
    lines = stdout.strip().splitlines()
    try:
        record = records.read(lines[-1] if lines else "")
    except UserError:
        said = stderr.strip().splitlines()
        last = f" Its last words: {said[-1].strip()[:_NO_ECHO_COUNT]}" if said else ""
        return records.fail(records.blank(spec.kind), describe_exit(code) + last, "crash")
    if code < 0:
        record["doubts"].append(f"After the record was written, {describe_exit(code)}")
    if record["error_kind"] == "internal":
        sys.stderr.write(stderr)
    return record


def parent() -> list[str]:
    """The argument that names this process, where the worker is to die with it."""
    return [str(os.getpid())] if sys.platform == "linux" else []


def paths() -> str:
    """Where the worker finds this package and what the caller finds, as JSON."""
    parent = str(Path(__file__).absolute().parent.parent)
    extra = [str(Path(p).absolute()) for p in sys.path[1:] if p]
    return json.dumps([parent, extra])


def variables(spec: Spec) -> dict[str, str]:
    """The caller's environment variables without telemetry, and with the thread pools of libraries bounded unless it set them."""
    bounds = {"OMP_NUM_THREADS": str(spec.threads_count), "OPENBLAS_NUM_THREADS": "1"}
    return {**bounds, **os.environ, **NO_TELEMETRY}
