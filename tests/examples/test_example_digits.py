"""The embedded default: trained once, the same weights in every process."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit as ek

pytestmark = pytest.mark.long

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"
HASH_OF_WEIGHTS = """
import hashlib, sys, edgekit as ek
weights = ek.load_task(sys.argv[1]).model().state_dict()
print(hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights.values())).hexdigest())
"""


def load() -> ek.Task:
    return ek.load_task(f"{EXAMPLE}:task")


def hash_in_a_child(cache: Path | str) -> str:
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    command = [sys.executable, "-c", HASH_OF_WEIGHTS, f"{EXAMPLE}:task"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the trained weights."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder))
        load().model()
    return folder


@pytest.fixture
def model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    built = load().model()
    assert isinstance(built, torch.nn.Module)
    return built


def test_it_learns_the_digits(model: torch.nn.Module) -> None:
    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(x)))

    assert load().metric(predict) >= 0.97
    assert not model.training


def test_the_data_are_as_the_contract_says() -> None:
    task = load()
    assert task.calibration is not None and task.training is not None
    first, second = list(task.calibration), list(task.calibration)
    assert sum(len(batch) for batch in first) == 100
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert {batch.shape[1:] for batch in first} == {task.example_inputs[0].shape[1:]}
    inputs, labels = next(iter(task.training.batches))
    assert len(inputs) == len(labels)
    assert len(task.preprocessing.labels) == 10


def test_a_child_process_loads_the_same_weights(model: torch.nn.Module, cache: Path) -> None:
    here = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
    assert hash_in_a_child(cache) == here


@pytest.mark.slow
def test_without_a_writable_cache_it_trains_the_same_weights(model: torch.nn.Module, tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("no folder can be made below a file")
    here = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
    assert hash_in_a_child(in_the_way) == here


def test_a_damaged_cache_is_trained_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    module = sys.modules[load().model.__module__]
    trained = module.DigitNet()
    monkeypatch.setattr(module, "_train", lambda: trained)
    file: Path = module.cache_file()
    file.parent.mkdir(parents=True)
    file.write_bytes(b"half a file")
    built = module.build_model()
    assert torch.equal(built.head.weight, trained.head.weight)
    assert torch.equal(torch.load(file, weights_only=True)["head.weight"], trained.head.weight)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
