"""A user's own `.onnx` file: to the targets of ONNX by its own graph, quantized in place; to others a sentence."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from commands import edgekit, in_process  # noqa: F401  a fixture
from reported_stages import finished

from edgekit.engine.specs import CompressSpec, Context, ExportSpec, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.errors import TaskError
from edgekit.export._stage import export
from edgekit.ladder import feasibility
from edgekit.ladder.build import free_axes
from edgekit.ladder.planner import plan
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Candidate, Recipe, Step, Traced, Verdict
from edgekit.task import Task
from edgekit.techniques._stage import compress
from edgekit.trace.sources import onnx_file
from edgekit.trace.stage import trace
from edgekit.verify.prove import prove

TASKS = Path(__file__).parents[1] / "task_files"
FILE = TASKS / "onnx_models.py"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskSource, Traced]:
    import sys

    sys.path.insert(0, str(TASKS))
    import onnx_models

    work = tmp_path_factory.mktemp("onnx")
    path = onnx_models.write(work / "net.onnx")
    source = TaskSource(name="own-onnx", reference=f"{FILE}:task", settings={"path": str(path)})
    return source, trace(TraceSpec(source=source, work=str(work)))


def made(given: tuple[TaskSource, Traced], name: str, precision: str, work: Path) -> tuple[Artifact, Verdict]:
    source, traced = given
    target = load_target(name)
    quant = target.quant_for(target.default_isa) if precision == "int8" else None
    candidate = Candidate(
        program="", recipe=Recipe(name="r", precision=precision, steps=()), quant=quant, interface=traced.interface,
        onnx=traced.onnx, free=free_axes(traced, target),
    )  # fmt: skip
    if precision == "int8":
        context = Context(work=str(work), target=target, traced=traced)
        step = Step(technique="ptq", options={"estimator": "mse"})
        candidate = compress(CompressSpec(candidate=candidate, step=step, source=source, context=context))
    return finished(given, target, candidate, work)


def test_what_it_is(given: tuple[TaskSource, Traced]) -> None:
    traced = given[1]
    assert traced.facts.onnx and not traced.facts.torch and "Conv" in traced.facts.operators
    assert ([s.name for s in traced.inputs], [s.name for s in traced.outputs]) == (["image"], ["logits"])
    assert traced.metric == pytest.approx(1.0, abs=1e-5) and traced.weights > 50000
    assert traced.free is not None and [axis.name for axis in traced.free.axes] == ["batch"]


@pytest.mark.parametrize("precision", ["float32", "float16", "int8"])
def test_a_server_file_keeps_names_and_free_samples(
    precision: str, given: tuple[TaskSource, Traced], tmp_path: Path
) -> None:
    artifact, verdict = made(given, "x86-server", precision, tmp_path)
    least = {"float32": 0.9999, "float16": 0.999, "int8": 0.93}[precision]
    assert verdict.metric > least and verdict.lint.passed, (verdict.metric, verdict.lint)
    assert [proof.lengths["batch"] for proof in verdict.lengths] == [1, 6, 16, 32]
    session = onnxruntime.InferenceSession(artifact.path)
    assert session.get_inputs()[0].name == "image" and session.get_inputs()[0].shape[0] == "batch"
    assert session.run(None, {"image": np.zeros((5, 3, 16, 16), np.float32)})[0].shape == (5, 10)


def test_int8_is_smaller_and_in_integers(given: tuple[TaskSource, Traced], tmp_path: Path) -> None:
    artifact, verdict = made(given, "arm-mobile", "int8", tmp_path)
    assert artifact.size_bytes < 0.4 * Path(given[1].onnx).stat().st_size
    assert verdict.lint.share is not None and verdict.lint.share > 0.95
    assert onnxruntime.InferenceSession(artifact.path).get_inputs()[0].shape == [1, 3, 16, 16]


def test_a_recurrent_graph_is_ranged_at_run_time(tmp_path: Path) -> None:
    class Cells(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells, self.last = torch.nn.LSTM(16, 64, batch_first=True), torch.nn.Linear(64, 5)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.cells(x)[0])

    torch.manual_seed(0)
    path = tmp_path / "cells.onnx"
    example = torch.zeros(1, 6, 16)
    torch.onnx.export(
        Cells().eval(), (example,), path, dynamo=True, verbose=False, input_names=["x"], external_data=False
    )
    source = TaskSource(name="cells", reference=f"{FILE}:cells", settings={"path": str(path)})
    traced = trace(TraceSpec(source=source, work=str(tmp_path)))
    target = load_target("arm-mobile")
    assert plan(traced.facts, target).recipes[1].name == "dynamic"
    candidate = Candidate(
        program="", recipe=Recipe(name="r", precision="int8", steps=(Step(technique="dynamic"),)),
        quant=target.quant_for(target.default_isa), interface=traced.interface, onnx=traced.onnx,
    )  # fmt: skip
    context = Context(work=str(tmp_path), target=target, traced=traced)
    done = compress(
        CompressSpec(candidate=candidate, step=Step(technique="dynamic"), source=source, context=context)
    )
    artifact = export(ExportSpec(candidate=done, target=target, folder=str(tmp_path)))
    spec = ProveSpec(
        artifact=artifact, traced=traced, source=source, runtime=target.runtime, isa="any", host_isa="any",
        golden=str(tmp_path / "golden.npz"),
    )  # fmt: skip
    verdict = prove(spec)
    assert verdict.metric > 0.97 and verdict.lint.ops["DynamicQuantizeLSTM:uint8"] == 1
    assert artifact.size_bytes < 0.35 * path.stat().st_size


def test_its_ladder_and_the_targets_that_it_cannot_reach(given: tuple[TaskSource, Traced]) -> None:
    facts = given[1].facts
    names = [recipe.name for recipe in plan(facts, load_target("arm-mobile")).recipes]
    assert names[0] == "ptq(mse)" and names[-2:] == ["fp16", "float32"] and "qat" not in " ".join(names)
    for target in ("tflite-int8", "coreml-fp16"):
        why = feasibility.no_program(facts, load_target(target))
        assert "makes one of an ONNX file (its operators: Conv, Flatten, Gemm, " in why
    assert feasibility.no_program(facts, load_target("arm-mobile")) == ""


def refused(path: Path, tmp_path: Path, **more: object) -> str:
    task = Task(
        name="t", model=path, example_inputs=(torch.zeros(1, 3, 16, 16),), metric=lambda p: 1.0, **more
    )  # type: ignore[arg-type]
    with pytest.raises(TaskError) as caught:
        onnx_file.opened(task, tmp_path)
    return str(caught.value)


def test_files_that_are_none(given: tuple[TaskSource, Traced], tmp_path: Path) -> None:
    import onnx_models

    good = onnx_models.write(tmp_path / "good.onnx")
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    assert refused(cut, tmp_path).startswith("cut.onnx is no ONNX file, or it is damaged: ")
    newer = onnx.load(good)
    newer.opset_import[0].version = 99
    onnx.save(newer, tmp_path / "newer.onnx")
    assert refused(tmp_path / "newer.onnx", tmp_path).startswith("newer.onnx is of opset 99; onnx ")
    strange = onnx.load(good)
    strange.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    strange.graph.node[-1].domain, strange.graph.node[-1].op_type = "mine", "Gimm"
    onnx.save(strange, tmp_path / "strange.onnx")
    strange = refused(tmp_path / "strange.onnx", tmp_path)
    assert "cannot load the graph: it does not know the operator " in strange and "[ONNX" not in strange
    assert refused(tmp_path / "none.onnx", tmp_path).endswith("none.onnx does not exist")
    assert refused(good, tmp_path, dynamic={"image": {0: "n"}}).startswith(
        "dynamic names axes of an ONNX file"
    )
    fixed = onnx_models.write(tmp_path / "fixed.onnx", batch=4)
    assert (
        refused(fixed, tmp_path)
        == "example input image has shape [1, 3, 16, 16]; fixed.onnx takes [4, 3, 16, 16]"
    )


def test_new_and_plan(tmp_path: Path, in_process: None) -> None:
    import onnx_models

    onnx_models.write(tmp_path / "net.onnx")
    done = edgekit("plan", f"{FILE}:task", "--set", f"path={tmp_path / 'net.onnx'}", "-t", "x86-server")
    assert done.exit_code == 0 and "ptq(mse)" in done.output
