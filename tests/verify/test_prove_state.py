"""Proving a model whose state the metric feeds back: every step is compared, on the float model's own inputs."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from edgekit_runner import api
from edgekit_runner.artifact import sha256
from onnx import TensorProto, helper, numpy_helper

from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.records import Artifact, TensorSpec, Traced, Verdict
from edgekit.trace.stage import trace
from edgekit.verify import prove as proving
from edgekit.verify.prove import prove

SOURCE = TaskSource(
    name="task", reference=f"{Path(__file__).parents[1] / 'task_files' / 'streaming.py'}:task"
)


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return trace(TraceSpec(source=SOURCE, work=str(tmp_path_factory.mktemp("traced"))))


def write(path: Path, leak: float) -> Artifact:
    """The net by hand; another leak than 0.9 changes the state a little with each step."""
    inputs, outputs = (
        [TensorSpec(name=name, shape=(1, 3), dtype="float32") for name in names]
        for names in (("x", "state"), ("answer", "next"))
    )
    nodes = [
        helper.make_node("Mul", ["state", "leak"], ["kept"]),
        helper.make_node("Add", ["kept", "x"], ["next"]),
        helper.make_node("Tanh", ["next"], ["answer"]),
    ]
    sides = [
        [helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape) for s in side]
        for side in (inputs, outputs)
    ]
    constants = [numpy_helper.from_array(np.float32(leak), "leak")]
    graph = helper.make_graph(nodes, "leaky", *sides, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return Artifact(
        path=str(path),
        format="onnx",
        precision="float16",
        size_bytes=1,
        sha256=sha256(path),
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        layout="as the model",
        toolchain={},
    )


def proven(traced: Traced, folder: Path, leak: float, state: dict[str, str] | None = None) -> Verdict:
    return prove(
        ProveSpec(
            artifact=msgspec.structs.replace(write(folder / "model.onnx", leak), state=state or {}),
            traced=traced,
            source=SOURCE,
            runtime="onnxruntime",
            isa="avx2",
            host_isa="avx2",
            golden=str(folder / "golden.npz"),
        )
    )


def test_a_metric_that_feeds_state_back_is_no_doubt(traced: Traced) -> None:
    assert (
        traced.doubts == ()
        and traced.samples == 100
        and [m.kind for m in traced.measures] == ["correlation", "correlation"]
    )


def test_every_step_is_compared_on_the_float_models_own_inputs(traced: Traced, tmp_path: Path) -> None:
    verdict = proven(traced, tmp_path, 0.901)
    assert (verdict.samples, verdict.parity.samples) == (100, 100)
    assert verdict.parity.outputs[0].measure == "correlation", "three numbers are no classes"
    (doubt,) = [d for d in verdict.doubts if "own answers" in d]
    assert doubt.startswith("92 of the metric's 100 samples followed from the artifact's own answers")
    assert doubt.endswith("parity is of n=100, of which 92 were fed the float model's inputs")
    largest = max(float(np.abs(a).max()) for a in np.load(traced.questions).values())
    assert 0 < verdict.parity.max_abs_error <= 0.001 * largest + 1e-6, (
        "one step's error, not that of all before"
    )


def test_at_most_so_many_steps_are_fed(
    traced: Traced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proving, "FORCED_SAMPLES", 20)
    verdict = proven(traced, tmp_path, 0.901)
    assert (verdict.samples, verdict.parity.samples) == (100, 8 + 20)


def test_the_right_file_asks_nothing_else(traced: Traced, tmp_path: Path) -> None:
    verdict = proven(traced, tmp_path, 0.9)
    assert verdict.samples == 100
    assert verdict.parity.max_abs_error < 1e-5


def test_a_stream_is_proven_step_by_step_with_its_own_state(traced: Traced, tmp_path: Path) -> None:
    proven(traced, tmp_path, 0.9, {"next": "state"})
    steps = np.load(tmp_path / "stream.npz")
    assert steps["steps"] == 8 and steps["input_0"].shape == (8, 3) == steps["float_1"].shape
    assert np.array_equal(steps["input_1"][1:], steps["output_1"][:-1]), (
        "each step has the state of the one before"
    )
    assert np.abs(steps["float_0"] - steps["output_0"]).max() < 1e-5
    asked = {
        "artifact": str(tmp_path / "model.onnx"),
        "golden": str(tmp_path / "stream.npz"),
        "warmup_s": 0.0,
    }
    found = api.check({**asked, "state": {"next": "state"}})
    assert (found["status"], found["golden"]["status"], found["golden"]["samples_count"]) == (
        "ok",
        "passed",
        8,
    )
    assert found["protocol"]["state"] == {"next": "state"}
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "model.onnx", 0.8)
    other = api.check(
        {**asked, "artifact": str(tmp_path / "other" / "model.onnx"), "state": {"next": "state"}}
    )
    assert other["status"] == "refused" and "differs from golden" in other["reason"]


def test_a_state_that_the_artifact_lacks(traced: Traced, tmp_path: Path) -> None:
    write(tmp_path / "model.onnx", 0.9)
    found = api.check({"artifact": str(tmp_path / "model.onnx"), "state": {"next": "h"}})
    assert found["reason"].startswith(
        "the state 'next' -> 'h' is not of this artifact: its outputs are answer, next"
    )
