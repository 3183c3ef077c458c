"""The low-rank benchmark on a small task, for real: programs made, timed in turn, rows kept."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import lowrank as benchmark

pytestmark = pytest.mark.long

TASK = """
import torch
import edgekit as ek

def task():
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 32, 3, bias=False), torch.nn.ReLU(), torch.nn.Conv2d(32, 64, 1), torch.nn.Flatten(),
        torch.nn.Linear(64 * 36, 64), torch.nn.ReLU(), torch.nn.Linear(64, 4),
    )
    x = torch.randn(24, 3, 8, 8)
    return ek.Task(name="made", model=net, example_inputs=(x[:1],), calibration=[x], metric=lambda p: float(p(x.numpy()).mean()))
"""


def test_programs_are_made_and_timed(tmp_path, monkeypatch, capsys) -> None:
    (tmp_path / "task.py").write_text(TASK)
    work = str(tmp_path / "work")
    given = ["make", f"{tmp_path}/task.py:task", "--work", work, "--macs", "0.5", "--blind"]
    assert benchmark.main(given) == 0
    rows = benchmark.Made(tmp_path / "work").rows
    assert list(rows) == ["float", "lowrank 0.5", "lowrank 0.5 blind"]
    assert all(rows[name].macs < 0.51 * rows["float"].macs for name in ("lowrank 0.5", "lowrank 0.5 blind"))
    monkeypatch.setattr(benchmark.lowrank, "apply", lambda *_: pytest.fail("it was made before"))
    other = ["--other", f"same={work}/float.pt2"]
    assert benchmark.main([*given, *other]) == 0
    monkeypatch.setattr(benchmark, "ROUNDS", 2)
    assert benchmark.main(["time", "--work", work]) == 0
    rows = benchmark.Made(tmp_path / "work").rows
    assert rows["float"].cpu_ratio == (1.0, 1.0) and all(row.cpu_ratio for row in rows.values())
    assert "| same " in capsys.readouterr().out


def test_what_it_refuses(tmp_path, capsys) -> None:
    assert benchmark.main(["time", "--work", str(tmp_path)]) == 2
    assert benchmark.main(["make", "--work", str(tmp_path)]) == 2
    errors = capsys.readouterr().err
    assert "holds no float file; run make first" in errors and "make needs a task" in errors
