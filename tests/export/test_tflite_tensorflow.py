"""Keras models and SavedModels through TensorFlow's own converter: full integers, and what is refused.

TensorFlow stays out of the test process: this file, run as a program, writes the SavedModels in a child.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgekit as ek
from edgekit import TaskError

pytestmark = pytest.mark.long

SMALL = Path(__file__).parents[1] / "task_files" / "keras_small.py"
TARGET = """
summary = "int8 TFLite by TensorFlow's converter"
runtime = "litert"
format = "tflite"
precisions = ["int8", "float16", "float32"]

[quant]
activation_dtype = "int8"
weight_bits = 8
granularity = "per_channel"
symmetric_activations = false

[isa]
arch = ["riscv64"]

[isa.levels]
any = {}

[[ladder]]
technique = "ptq_tensorflow"
precision = "int8"
needs = ["tensorflow", "calibration"]
reason = "TensorFlow's converter"

[[ladder]]
technique = "fp16"
precision = "float16"
reason = "half the size"

[[ladder]]
technique = "ptq"
precision = "int8"
needs = ["calibration"]
reason = "edgekit's own"

[budget]
min_speedup = 0
max_drop = 0.1
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `.keras` file and two SavedModels of the small net, one without a signature; the profile beside them."""
    folder = tmp_path_factory.mktemp("saved")
    run = subprocess.run(
        [sys.executable, __file__, str(folder)],
        env={**os.environ, "KERAS_BACKEND": "tensorflow"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    (folder / "tensorflow-only.toml").write_text(TARGET)
    return folder


def deploy(folder: Path, name: str, out: Path, **more: Any) -> ek.Report:
    given = {"targets": [str(folder / "tensorflow-only.toml")], **more}
    return ek.deploy(f"{SMALL}:from_file", out=out, settings={"path": str(folder / name)}, **given)


@pytest.mark.parametrize("name", [pytest.param("net.keras", marks=pytest.mark.slow), "saved"])
def test_full_integers(folder: Path, name: str, tmp_path: Path) -> None:
    result = deploy(folder, name, tmp_path / "out", explore=True).targets[0]
    first, half = result.attempts[:2]
    assert first.recipe.name == "ptq_tensorflow"
    assert first.verdict is not None
    assert first.artifact is not None
    assert first.verdict.lint.passed
    assert first.verdict.lint.transposes == first.verdict.lint.ops_float == 0
    assert {t.dtype for t in first.artifact.inputs + first.artifact.outputs} == {"int8"}
    assert first.artifact.inputs[0].shape == (1, 16, 16, 3)
    assert "tensorflow" in first.artifact.toolchain
    assert first.verdict.parity.snr_db is not None
    assert first.verdict.parity.snr_db > 20
    assert half.artifact is not None
    assert result.baseline is not None
    assert half.artifact.size_bytes < result.baseline.size_bytes
    if name == "saved":
        assert ("ptq", "a SavedModel has no torch program") in [
            (s.technique, s.reason) for s in result.plan.skipped
        ]


def test_other_targets_refuse_a_saved_model(folder: Path, tmp_path: Path) -> None:
    report = deploy(folder, "saved", tmp_path / "out", targets=["x86-server"])
    assert not report.targets[0].accepted
    assert "needs a torch program, which a SavedModel does not have" in report.targets[0].summary


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("unsigned", "has no signature; write it with model.export"),
        ("gone", "gone does not exist"),
        ("empty", r"holds no saved_model\.pb"),
    ],
)
def test_folder_that_cannot_be_used(folder: Path, name: str, expected: str, tmp_path: Path) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    with pytest.raises(TaskError, match=expected) as caught:
        deploy(folder, name, tmp_path / "out")
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_plan_skips_it_for_other_models() -> None:
    facts = ek.Task(
        name="t", model=lambda: None, example_inputs=(np.zeros(1),), metric=lambda p: 1.0, calibration=[0]
    )
    made = ek.plan(facts, ek.load_target("tflite-int8"))
    reasons = {skipped.technique: skipped.reason for skipped in made.skipped}
    assert reasons["ptq_tensorflow"] == "no Keras model or SavedModel in the task"


def write(folder: Path) -> None:
    import tensorflow as tf

    sys.path[:0] = [str(SMALL.parent)]
    import keras_small

    model = keras_small.net()
    model.save(folder / "net.keras")
    model.export(str(folder / "saved"), verbose=False)
    tf.saved_model.save(tf.Module(), str(folder / "unsigned"))
    print(json.dumps([str(path) for path in folder.iterdir()]))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
