"""The packages under test, written once per session by one child process (see mil_build)."""

from __future__ import annotations

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
    kept = os.environ.get("EDGEKIT_MIL_PACKAGES")
    return Path(kept) if kept else _build(tmp_path_factory.mktemp("mil"), "fast")


@pytest.fixture(scope="session")
def slow_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(tmp_path_factory.mktemp("mil_slow"), "slow")


@pytest.fixture(scope="session")
def relative_error() -> Callable[[np.ndarray, np.ndarray], float]:
    def error(got: np.ndarray, expected: np.ndarray) -> float:
        assert got.shape == expected.shape
        return float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-12))

    return error
