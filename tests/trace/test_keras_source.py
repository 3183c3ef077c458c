"""Keras models as the task's model: the three ways to give one, and the sentence about each that does not work."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import torch

from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.errors import ConversionError, EdgekitError, TaskError
from edgekit.quant import program
from edgekit.records import Traced
from edgekit.trace import stage as tracing

SMALL = Path(__file__).parents[1] / "task_files" / "keras_small.py"


def run(function: str, work: Path, **settings: str) -> Traced:
    source = TaskSource(name=function, reference=f"{SMALL}:{function}", settings=settings)
    work.mkdir(exist_ok=True)
    return tracing.trace(TraceSpec(source=source, work=str(work)))


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return run("task", tmp_path_factory.mktemp("trace"))


def test_a_function_that_returns_a_keras_model(traced: Traced) -> None:
    assert traced.metric == 1.0
    assert traced.inputs[0].shape == (1, 16, 16, 3)
    graph = program.load(traced.program)
    assert sum("permute" in str(node.target) for node in graph.graph.nodes) == 1
    with np.load(traced.samples_file) as samples:
        got = graph.module()(torch.from_numpy(samples["input_0"][:1])).detach().numpy()
        np.testing.assert_allclose(got[0], samples["output_0"][0], rtol=1e-4, atol=1e-5)


def test_a_keras_file_gives_the_same_answers(traced: Traced, tmp_path: Path) -> None:
    from edgekit.engine.task_reference import load_task

    path = tmp_path / "net.keras"
    load_task(f"{SMALL}:task").model().save(path)
    again = run("from_file", tmp_path / "work", path=str(path))
    assert again.metric == traced.metric
    with np.load(traced.samples_file) as ours, np.load(again.samples_file) as theirs:
        np.testing.assert_array_equal(theirs["output_0"], ours["output_0"])


def test_several_inputs_and_outputs() -> None:
    from edgekit.trace.sources.keras import KerasModule

    left, right = keras.Input((3,)), keras.Input((3,))
    model = keras.Model([left, right], [left + right, left - right])
    first, second = KerasModule(model)(torch.ones(1, 3), torch.ones(1, 3))
    assert (first.tolist(), second.tolist()) == ([[2.0] * 3], [[0.0] * 3])


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        (
            "stubborn",
            ConversionError,
            r"the Keras layer tough \(Stubborn\) cannot run .* no kernel for this in torch",
        ),
        ("branches", ConversionError, r"the Keras layer fork \(Branches\) cannot run on the torch backend"),
        ("wrong_layout", TaskError, r"example_inputs \(\[1, 3, 16, 16\] float32\), raised ValueError"),
    ],
)
def test_model_that_does_not_run(
    function: str, kind: type[EdgekitError], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=expected) as caught:
        run(function, tmp_path)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("gone.keras", None, "does not exist"),
        ("net.h5", b"\x89HDF", r"is the file net\.h5; allowed are \.keras files"),
        ("net.keras", b"no zip", r"is no \.keras file; save the model with"),
        ("net.keras", b"PK\x03\x04 cut short", "cannot be loaded with the torch backend"),
    ],
)
def test_file_that_is_no_keras_model(name: str, content: bytes | None, expected: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=expected) as caught:
        run("from_file", tmp_path / "work", path=str(tmp_path / name))
    assert caught.value.exit_code == 2


def test_code_in_a_keras_file_is_refused(tmp_path: Path) -> None:
    model = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(tmp_path / "net.keras")
    with pytest.raises(TaskError, match=re.compile("safe|lambda", re.IGNORECASE)):
        run("from_file", tmp_path / "work", path=str(tmp_path / "net.keras"))
