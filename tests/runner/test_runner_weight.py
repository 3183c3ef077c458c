"""What the measuring process does not load, because it would lie in memory beside the model, or be counted as it."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from edgekit_runner import artifact
from runner_models import RUNNER

# what a worker runs before and after it loads a model, but for the runtime itself
WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from edgekit_runner import artifact, feeds, worker
from edgekit_runner.golden import proof
from edgekit_runner.host import environment
from edgekit_runner.kinds import _phases, bench, check
bench.work, check.work
from edgekit_runner.backends import TensorInfo, litert, onnxruntime
environment.describe()
artifact.sha256(__import__("json").__file__)
feeds.random_inputs((TensorInfo(name="x", shape=(2, 3), dtype="float32"),), 0)
print(*sys.modules)
"""


def test_a_worker_loads_neither_openssl_nor_random_numbers() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", WORKER, str(RUNNER)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "edgekit_runner.kinds._phases" in loaded
    heavy = {
        "_hashlib",
        "_ssl",
        "numpy.random",
        "random",
        "asyncio",
        "decimal",
        "http",
        "tempfile",
        "subprocess",
    }
    assert heavy & loaded == set()


def test_the_hash_is_that_of_hashlib_with_and_without_the_interpreters_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"edgekit" * 300_000)
    wanted = hashlib.sha256(file.read_bytes()).hexdigest()
    assert artifact.sha256(file) == wanted
    for name in ("_sha2", "_sha256"):
        monkeypatch.setitem(sys.modules, name, None)
    assert artifact.sha256(file) == wanted
