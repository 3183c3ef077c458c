"""The packages under test, written once by one child process (see mil_build), whichever of the test processes asks first."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


def _build(out: Path, group: str) -> Path:
    command = [sys.executable, str(HERE / "mil_build.py"), str(out), group]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # the machine may be shared
    child = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert child.returncode == 0, child.stderr[-4000:]
    return out


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the small packages. EDGEKIT_MIL_PACKAGES names a folder that already holds them."""
    kept, place = os.environ.get("EDGEKIT_MIL_PACKAGES"), tmp_path_factory.getbasetemp()
    if kept:
        return Path(kept)
    shared = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    with (shared / "mil.lock").open("a+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not lock.tell():  # nobody has written them yet
            _build(shared / "mil", "fast")
            lock.write("done")
    return shared / "mil"


@pytest.fixture(scope="session")
def slow_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("mil_slow"), "slow")


@pytest.fixture(scope="session")
def relative_error() -> Callable[[np.ndarray, np.ndarray], float]:
    def error(got: np.ndarray, expected: np.ndarray) -> float:
        assert got.shape == expected.shape
        return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))

    return error
