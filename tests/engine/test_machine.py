"""How many stages run at once follows from cores and free memory."""

from pathlib import Path

import pytest

from edgekit.engine import machine
from edgekit.engine.machine import STAGE_BYTES, jobs_at_once


@pytest.mark.parametrize(("free_stages", "jobs"), [(0.4, 1), (1.9, 1), (3.5, 3), (100, 4)])
def test_as_many_as_memory_and_cores_admit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_stages: float, jobs: int
) -> None:
    monkeypatch.setattr(machine.environment, "describe", lambda: {"cpu_usable_count": 4})
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text(f"MemAvailable: {int(free_stages * STAGE_BYTES) // 1024} kB\n")
    assert jobs_at_once(tmp_path) == jobs
