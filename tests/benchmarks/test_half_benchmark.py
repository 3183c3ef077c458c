"""What half precision takes, on a net of digits: rows of torch, and answers that stay."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import edgekit as ek

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import half


def predicted(predict) -> float:  # type: ignore[no-untyped-def]
    images = np.linspace(-1, 1, 6 * 8, dtype=np.float32).reshape(6, 8)
    return float((predict(images).argmax(1) == 0).mean())


def test_rows_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half.importlib.util, "find_spec", lambda name: None)
    torch.manual_seed(0)
    task = ek.Task(name="t", model=nn.Linear(8, 3), example_inputs=(torch.zeros(1, 8),), metric=predicted)
    (predicts,) = half.ways(task).values()
    exact, *others = half.rows(task, "torch", predicts, 5)
    assert exact.name == "torch float32" and exact.snr_db is None and exact.agreement == 1
    assert [row.name.split()[1] for row in others] == ["float16,", "float16,", "bfloat16,", "bfloat16,"]
    assert all(row.snr_db is not None and 20 < row.snr_db < 90 and row.samples == 6 for row in others)
    assert half.cells(others[0], exact.metric)[5].count(",") == 1


def test_the_interval_of_a_median() -> None:
    middle, low, high = half.interval(np.array([1.0, 1.1, 0.9, 1.0, 1.0]))
    assert low <= middle == 1.0 <= high
