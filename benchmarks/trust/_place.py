"""Where a run happens: the folder with its models, the runner's wheel as a device would have it, fresh interpreters,
busy processes; and the runner's own calls with the settings that every section shares.
"""

import compileall
import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import edgekit_runner
from edgekit_runner import api
from edgekit_runner.spec import Spec

from edgekit.errors import UserError, VerificationError

HERE = Path(__file__).parent
RUNNER = Path(edgekit_runner.__file__).parent
PROJECT = RUNNER.parent
QUICK: dict[str, Any] = {
    "protocol": "quick", "warmup_s": 0.05, "min_duration_s": 0.1, "min_runs_count": 200, "rounds_count": 4,
}  # fmt: skip
_SPIN = "import os\nparent = os.getppid()\nwhile os.getppid() == parent:\n    for _ in range(10**6):\n        pass"
_SETTLE_S = 0.5
_TIMEOUT_S = 300


class Place:
    """A temporary folder with the models in it. `quick` makes everything too short to prove anything."""

    def __init__(self, folder: Path, quick: bool) -> None:
        self.folder, self.quick = folder, quick
        flags = ["--quick"] if quick else []
        self.python(str(HERE / "_models.py"), str(folder), *flags)

    def models(self) -> dict[str, str]:
        """File name -> sha256 of every model."""
        files = [path for path in sorted(self.folder.iterdir()) if path.suffix in (".onnx", ".tflite")]
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    def spec(self, model: str, **more: Any) -> dict[str, Any]:
        """What the runner is asked for one model, with its golden file."""
        path = self.folder / model
        spec = {"artifact": str(path), "golden": f"{path}.npz", **(QUICK if self.quick else {})}
        return spec | more

    def bench(self, model: str, listener: Callable[[str], None] = api.quiet) -> dict[str, Any]:
        """A record of `bench` at the default protocol. Raises VerificationError unless it came to an end."""
        return finished(api.bench(self.spec(model), listener))

    def compare(self, artifact: str, baseline: str) -> dict[str, Any]:
        """What `compare` at the default protocol says, with the seconds that it took."""
        other = self.folder / baseline
        begin = time.perf_counter()
        spec = self.spec(artifact, baseline=str(other), baseline_golden=f"{other}.npz")
        record = finished(api.compare(spec))
        found: dict[str, Any] = record["comparison"]
        return found | {"elapsed_s": time.perf_counter() - begin, "validity": record["validity"]}

    def python(self, *arguments: str, text: str = "") -> str:
        """stdout of a fresh interpreter. Raises VerificationError where it fails."""
        return fresh([sys.executable, "-I", *arguments], text).stdout

    def bare(self, paths: list[str], runs_count: int, seconds: float) -> list[dict[str, float]]:
        """Figures of one bare loop over some models in turns, in a fresh interpreter: see `_bare.py`."""
        warm_up_s = QUICK["warmup_s"] if self.quick else Spec.warmup_s
        job = {"paths": paths, "warm_up_s": warm_up_s, "runs_count": runs_count, "seconds": seconds}
        found: list[dict[str, float]] = json.loads(
            self.python(str(HERE / "_bare.py"), text=json.dumps(job)).splitlines()[-1]
        )
        return found

    def path(self, model: str) -> str:
        """The file of a model."""
        return str(self.folder / model)

    @cached_property
    def wheel(self) -> Path:
        """The wheel of the runner, built from its sources without network."""
        out = self.folder / "wheel"
        fresh([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)], cwd=PROJECT)
        (found,) = out.glob("*.whl")
        return found

    @cached_property
    def installed(self) -> Path:
        """A folder with the wheel's contents, byte-compiled as pip does: what a device imports."""
        out = self.folder / "installed"
        with zipfile.ZipFile(self.wheel) as archive:
            archive.extractall(out)
        compileall.compile_dir(out, quiet=1)
        return out


def finished(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record. Raises VerificationError with its reason where it holds no result."""
    if record["status"] != "ok":
        raise VerificationError(f"the runner gave no result: {record['reason']}")
    return dict(record)


def fresh(command: list[str], text: str = "", cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Runs a program to its end. Raises VerificationError with its last words where it fails."""
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, cwd=cwd, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        raise VerificationError(f"{Path(command[0]).name} was ended after {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
        raise VerificationError(f"{Path(command[0]).name} ended with exit code {done.returncode}: {said}")
    return done


def runner_sha256() -> str:
    """The hash of the sources of the runner that is measured."""
    digest = hashlib.sha256()
    for path in sorted(RUNNER.rglob("*.py")):
        digest.update(path.relative_to(RUNNER).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def busy_count() -> int:
    """Two busy processes, or as many as there are CPUs: fewer would leave the measurement a CPU of its own."""
    return max(2, len(os.sched_getaffinity(0)))


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Programs that only count, and end with this one. Raises VerificationError if one ended early."""
    started = [subprocess.Popen([sys.executable, "-I", "-c", _SPIN]) for _ in range(count)]
    try:
        time.sleep(_SETTLE_S)
        yield started
        if any(process.poll() is not None for process in started):
            raise VerificationError("a busy process ended before the measurement did; measure again")
    finally:
        for process in started:
            process.kill()
            process.wait()


def check_here() -> None:
    """Raises UserError on a system without /proc, or where the runner is not a checkout that a wheel can be made of."""
    if sys.platform != "linux":
        raise UserError(f"this benchmark reads /proc and runs on Linux only, not on {sys.platform}")
    if not (PROJECT / "pyproject.toml").is_file():
        raise UserError(f"the runner of {RUNNER} is no checkout; run: pip install -e .")
