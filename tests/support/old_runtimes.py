"""The oldest runtimes that profiles name, installed beside the present ones, and answers of a file in either."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgekit.engine import beside as product
from edgekit.errors import MissingRuntime

ONNXRUNTIME = ("onnxruntime==1.17.3", "numpy==1.26.4", "protobuf==4.25.3", "flatbuffers==24.3.25", "coloredlogs==15.0.1", "humanfriendly==10.0", "packaging==24.1")  # fmt: skip
LITERT = ("ai-edge-litert==1.0.0", "numpy==1.26.4")  # the oldest of all; it was built for NumPy 1
LITERT_16_BITS = ("ai-edge-litert==1.3.0",)  # the oldest with a GELU of int16

# Each is a program: a file, arguments and a place for the answers [elements of all outputs]. It prints the runtime's version.
IN_ONNXRUNTIME = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print(onnxruntime.__version__)
found = session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[3])})
np.save(sys.argv[2], np.concatenate([output.ravel() for output in found]))
"""
IN_LITERT = """
import importlib.metadata
import os
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
print(importlib.metadata.version("ai-edge-litert"))
draw = np.random.default_rng(0)
for entry in interpreter.get_input_details():
    shape, dtype = entry["shape"], entry["dtype"]
    values = draw.standard_normal(shape) if np.dtype(dtype).kind == "f" else draw.integers(0, 40, shape)
    interpreter.set_tensor(entry["index"], values.astype(dtype))
interpreter.invoke()
found = [interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()]
np.save(sys.argv[2], np.concatenate([output.astype(np.float64).ravel() for output in found]))
sys.stdout.flush()
os._exit(0)  # native libraries crash in their exit handlers
"""


def beside(place: Path, packages: tuple[str, ...]) -> Path:
    """Installs packages into a folder of their own; the test is skipped where pip has none for this Python."""
    try:
        product.install(packages, place)
    except MissingRuntime as error:
        pytest.skip(str(error))
    return place


def answers(
    program: str, model: str | Path, place: Path, *arguments: str, old: Path | None = None
) -> tuple[str, np.ndarray]:
    """Runs one of the programs above in a process of its own, by the packages in `old` where given.

    Returns:
        The version of the runtime that ran, and all numbers of all outputs.
    """
    command = [sys.executable, "-c", program, str(model), str(place), *arguments]
    environment = {**os.environ, "PYTHONPATH": "" if old is None else str(old)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout.strip(), np.load(place)
