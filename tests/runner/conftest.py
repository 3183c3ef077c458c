"""Fixtures: tiny real models with their golden files, made once a session."""

import sys
from pathlib import Path

import numpy as np
import pytest
from runner_models import RUNNER, tflite_reference, write_onnx, write_tflite

sys.path.insert(0, str(RUNNER))  # a bare checkout is enough


@pytest.fixture(scope="session")
def onnx_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    write_onnx(path)
    return path


@pytest.fixture(scope="session")
def onnx_golden(onnx_model: Path) -> Path:
    path = onnx_model.with_name("golden.npz")
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    weight = (np.random.default_rng(0).standard_normal((64, 64)) / 8).astype(np.float32)
    np.savez(path, input_0=x, output_0=np.maximum(x @ weight, 0))
    return path


@pytest.fixture(scope="session")
def tflite_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tflite") / "model.tflite"
    write_tflite(path)
    return path


@pytest.fixture(scope="session")
def tflite_golden(tflite_model: Path) -> Path:
    path = tflite_model.with_name("golden.npz")
    x = np.random.default_rng(1).standard_normal((1, 64)).astype(np.float32)
    np.savez(path, input_0=x, output_0=tflite_reference(x))
    return path
