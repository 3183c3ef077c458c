"""A step that trains, in several processes of this machine: each does the whole step, and a part of every batch.

What is not training (calibrating, scoring, writing) each process does by itself, with the same numbers, so that every one has the
model when the gradients are to be averaged (`edgekit.train.distributed`). The first one's result is the step's. torchrun
starts them; they end with it, and it with the stage.

    python -P -m edgekit.techniques._processes launch PARENT COUNT FOLDER      (internal)
    python -P -m edgekit.techniques._processes one FOLDER                      (internal)
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit import errors
from edgekit.engine import child
from edgekit.engine.specs import CompressSpec
from edgekit.errors import ChildCrash
from edgekit.records import Candidate, Settings, convert

SPEC, RESULT = "spec.json", "result.json"


def wanted(options: Settings) -> int:
    """Returns how many processes a step asks for; 1 in each of them."""
    return 1 if "RANK" in os.environ else int(getattr(options, "processes", 1))


def together(function: str, spec: CompressSpec, count: int) -> Candidate:
    """Does a step in `count` processes.

    Args:
        function: What each calls, "package.module:name".
        spec: What goes in.
        count: How many.

    Raises:
        EdgekitError: What the first that failed raised.
    """
    with tempfile.TemporaryDirectory(prefix="processes-") as name:
        folder = Path(name)
        _write(folder / SPEC, {"function": function, "spec": msgspec.to_builtins(spec)})
        threads = str(max(1, len(os.sched_getaffinity(0)) // count)) if sys.platform == "linux" else "1"
        launch = ["launch", str(os.getpid()), str(count), str(folder)]
        done = subprocess.run(
            [sys.executable, "-P", "-m", __name__, *launch], env={"OMP_NUM_THREADS": threads, **os.environ}
        )
        failed = sorted(folder.glob("error-*.json"), key=lambda place: place.stat().st_mtime_ns)
        if failed:
            said = json.loads(failed[0].read_bytes())
            raise errors.by_name(said["kind"])(said["message"])
        if not (folder / RESULT).is_file():
            raise ChildCrash(f"the {count} processes of the training ended with exit code {done.returncode}")
        return convert(json.loads((folder / RESULT).read_bytes()), Candidate)


def _launch(parent: str, count: str, folder: str) -> None:
    child.die_with(int(parent))
    from torch.distributed.run import main as torchrun

    torchrun(["--standalone", f"--nproc-per-node={count}", "-m", __spec__.name, "one", folder])


def _one(folder: Path) -> None:
    """Does the step in this process; leaves its result, or its error."""
    from edgekit.train import distributed

    child.die_with(os.getppid())
    rank = int(os.environ["RANK"])
    logging.basicConfig(
        level=logging.WARNING if rank else logging.INFO, format="%(asctime)s %(name)s %(message)s"
    )
    try:
        made = child.call(folder / SPEC)["result"]
    except BaseException as error:
        _write(folder / f"error-{rank}.json", child.failure(error))
        logging.getLogger("edgekit").exception("process %d failed", rank)
        os._exit(1)  # gloo's threads may hang where another process is gone
    if rank == 0:
        _write(folder / RESULT, made)
    distributed.stop()
    os._exit(0)


def _write(place: Path, content: object) -> None:
    partial = place.with_suffix(".partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    partial.replace(place)


if __name__ == "__main__":
    if sys.argv[1] == "launch":
        _launch(*sys.argv[2:])
    else:
        _one(Path(sys.argv[2]))
