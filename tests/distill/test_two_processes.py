"""The student, what trains beside it and the teacher, shared out over two gloo processes: as with copies in each."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

WORKER = Path(__file__).with_name("two_processes.py")


def losses(mode: str, strategy: str) -> list[float]:
    argv = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join([str(WORKER.parent), *(p for p in sys.path if p)])
    done = subprocess.run(
        [*argv, str(WORKER), mode, strategy],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_shared_out_it_learns_as_with_copies(mode: str) -> None:
    first = losses(mode, "fsdp")
    assert first == pytest.approx(losses(mode, "ddp"), rel=1e-3) and first[-1] < 0.8 * first[0]
