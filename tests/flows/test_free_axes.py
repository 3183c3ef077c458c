"""Free axes: a file whose batch and length are chosen with every call, beside the float model at several of them."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision  # noqa: F401  before any converter
from edgekit_runner.backends import find
from reported_stages import finished

from edgekit.engine.specs import CompressSpec, Context, TraceSpec
from edgekit.engine.task_reference import load_task
from edgekit.engine.task_source import TaskSource
from edgekit.errors import ConversionError, TaskError, VerificationError
from edgekit.ladder.build import free_axes
from edgekit.profile.reading import load_target
from edgekit.quant.freeing import settled
from edgekit.quant.program import load
from edgekit.records import Artifact, Candidate, LengthProof, Recipe, Step, TensorSpec, Traced, Verdict
from edgekit.target import Target
from edgekit.task import Dim, Task
from edgekit.techniques._stage import compress
from edgekit.trace import axes
from edgekit.trace.stage import trace
from edgekit.verify import lengths

pytestmark = pytest.mark.long

DOORS = Path(__file__).parents[1] / "task_files" / "doors.py"


def traced_of(function: str, work: Path, **settings: str) -> tuple[TaskSource, Traced]:
    source = TaskSource(name=function, reference=f"{DOORS}:{function}", settings=settings)
    return source, trace(TraceSpec(source=source, work=str(work)))


def made(
    source: TaskSource, traced: Traced, target: Target, work: Path, technique: str = ""
) -> tuple[Artifact, Verdict]:
    recipe = Recipe(name="r", precision="int8" if technique else "float32", steps=())
    quant = target.quant_for(next(iter(target.isa.levels))) if technique else None
    candidate = Candidate(
        program=traced.program, recipe=recipe, quant=quant, interface=traced.interface, free=free_axes(traced, target)
    )  # fmt: skip
    if technique:
        context = Context(work=str(work), target=target, traced=traced)
        step = Step(technique=technique)
        candidate = compress(CompressSpec(candidate=candidate, step=step, source=source, context=context))
    return finished((source, traced), target, candidate, work)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[TaskSource, Traced]:
    return traced_of("encoder", tmp_path_factory.mktemp("encoder"))


@pytest.mark.parametrize("technique", ["", "ptq"])
def test_a_servers_batch_is_free(technique: str, tmp_path: Path) -> None:
    source, traced = traced_of("pixels", tmp_path)
    artifact, verdict = made(source, traced, load_target("x86-server"), tmp_path, technique)
    assert [spec.free for spec in (*artifact.inputs, *artifact.outputs)] == [{"0": "batch"}] * 2
    assert [proof.lengths["batch"] for proof in verdict.lengths] == [1, 6, 16, 32]
    assert all((proof.snr_db[0] or 0) > (30 if technique else 100) for proof in verdict.lengths)
    session = onnxruntime.InferenceSession(artifact.path)
    assert session.get_inputs()[0].shape == ["batch", 3, 16, 16]
    x, task = np.ones((4, 3, 16, 16), np.float32), load_task(f"{DOORS}:pixels")
    right = task.model().eval()(torch.from_numpy(x)).detach().numpy()
    assert np.abs(session.run(None, {"x": x})[0] - right).max() < (0.05 if technique else 1e-4)
    assert find(artifact.path).open(artifact.path, 1, {}).inputs[0].shape[0] == -1


def test_no_axis_is_tried_where_no_target_serves_and_the_task_says_none(tmp_path: Path) -> None:
    for task, free in (("pixels", False), ("encoder", True)):
        source = TaskSource(name=task, reference=f"{DOORS}:{task}")
        traced = trace(TraceSpec(source=source, work=str(tmp_path / task), serves=False))
        assert bool(traced.free) == bool(traced.shapes_file) == free


def test_other_targets_keep_one_sample(tmp_path: Path) -> None:
    source, traced = traced_of("pixels", tmp_path)
    artifact, verdict = made(source, traced, load_target("arm-mobile"), tmp_path)
    assert not artifact.free and not verdict.lengths
    assert onnxruntime.InferenceSession(artifact.path).get_inputs()[0].shape == [1, 3, 16, 16]


@pytest.mark.parametrize("target", ["x86-server", "arm-mobile"])
def test_batch_and_length_of_an_encoder(
    target: str, encoder: tuple[TaskSource, Traced], tmp_path: Path
) -> None:
    artifact, verdict = made(*encoder, load_target(target), tmp_path)
    assert verdict.metric > 0.999
    assert verdict.lengths[0].lengths == {"batch": 1, "length": 2}
    assert verdict.lengths[-1].lengths == {"batch": 32, "length": 64}
    assert min(db or 0 for proof in verdict.lengths for db in proof.snr_db) > 100
    assert [spec.free for spec in artifact.outputs] == [{"0": "batch"}, {"0": "batch", "1": "length"}]


@pytest.mark.parametrize("technique", ["", "ptq"])
def test_a_core_ml_package_has_ranges(
    technique: str, encoder: tuple[TaskSource, Traced], tmp_path: Path
) -> None:
    artifact, verdict = made(*encoder, load_target("coreml-int8"), tmp_path, technique)
    assert [(axis.least, axis.most) for axis in artifact.free] == [(1, 32), (2, 64)]
    assert artifact.doubts[0].startswith("the axis batch goes to 32, as Core ML wants a largest length")
    assert [proof.lengths["length"] for proof in verdict.lengths] == [2, 11, 33, 64]
    assert min(db or 0 for proof in verdict.lengths for db in proof.snr_db) > (10 if technique else 80)
    assert 0.8 < (verdict.lint.share or 0) <= 1


def test_every_batch_and_length_answers_as_torch(tmp_path: Path) -> None:
    source, traced = traced_of("encoder", tmp_path, least="8", most="512")
    artifact, verdict = made(source, traced, load_target("x86-server"), tmp_path)
    assert verdict.lengths[-1].lengths == {"batch": 32, "length": 512}
    session, model = onnxruntime.InferenceSession(artifact.path), source.load().model().eval()
    random = torch.Generator().manual_seed(2)
    for batch in (1, 4, 32):
        for length in (8, 100, 512):
            ids = torch.randint(0, 30, (batch, length), generator=random)
            mask = torch.ones_like(ids)
            mask[0, length // 2 :] = 0
            got = session.run(None, {"ids": ids.numpy(), "mask": mask.numpy()})
            with torch.no_grad():
                right = model(ids, mask)
            for answer, expected in zip(got, right.values(), strict=True):
                assert np.abs(answer - expected.numpy()).max() < 1e-4, (batch, length)


def test_a_free_length_alone_is_proven_with_one_sample(tmp_path: Path) -> None:
    source, traced = traced_of("encoder", tmp_path, batch="false")
    _, verdict = made(source, traced, load_target("arm-mobile"), tmp_path)
    assert [proof.lengths for proof in verdict.lengths] == [{"length": n} for n in (2, 11, 33, 64)]
    assert min(db or 0 for proof in verdict.lengths for db in proof.snr_db) > 100


def test_a_quantized_encoder_stays_free(encoder: tuple[TaskSource, Traced], tmp_path: Path) -> None:
    artifact, verdict = made(*encoder, load_target("x86-server"), tmp_path, "ptq")
    assert artifact.precision == "int8" and len(artifact.free) == 2
    assert min(db or 0 for proof in verdict.lengths for db in proof.snr_db) > 10


def test_a_state_has_its_samples_where_it_has_them(tmp_path: Path) -> None:
    source, traced = traced_of("recurrent", tmp_path)
    artifact, verdict = made(source, traced, load_target("x86-server"), tmp_path)
    places = [spec.free for spec in artifact.inputs]
    assert places == [{"0": "batch"}, {"1": "batch"}, {"1": "batch"}, {}]
    assert min(db or 0 for proof in verdict.lengths for db in proof.snr_db) > 100


@pytest.mark.parametrize(("task", "technique"), [("no_state", ""), ("picked", ""), ("picked", "ptq")])
def test_what_is_made_for_as_many_samples_as_there_are(task: str, technique: str, tmp_path: Path) -> None:
    """It is stored where the file fixes their number, and no file takes the first sample's for all."""
    source, traced = traced_of(task, tmp_path)
    artifact, verdict = made(source, traced, load_target("x86-server"), tmp_path, technique)
    assert artifact.free and not artifact.doubts
    assert min(proof.snr_db[0] or 0 for proof in verdict.lengths) > (25 if technique else 100)


def test_a_file_of_one_sample_stores_it(tmp_path: Path) -> None:
    _, traced = traced_of("picked", tmp_path)
    program = load(traced.program)
    stored = settled(program)
    made = [{str(node.target) for node in each.graph.nodes} for each in (program, stored)]
    assert "aten.arange.default" in made[0] - made[1] and settled(stored) is stored
    given = torch.randn(1, 8, 4), torch.ones(1, 8, dtype=torch.int64)
    assert torch.equal(program.module()(*given), stored.module()(*given))


# ------------------------------------------------------------------------------------------------ refused


def test_a_model_that_fixes_its_batch_says_so(tmp_path: Path) -> None:
    source, traced = traced_of("fixed_batch", tmp_path)
    artifact, _ = made(source, traced, load_target("x86-server"), tmp_path)
    assert not artifact.free
    assert artifact.doubts[0].startswith("the file takes one sample at a time: the axis batch cannot be free")
    with pytest.raises(TaskError, match=r"the axis batch cannot be free: .* Leave it out of Task"):
        traced_of("fixed_batch", tmp_path, said="true")


@pytest.mark.parametrize(
    ("dynamic", "sentence"),
    [
        ({"y": {0: "batch"}}, "dynamic names 'y'; the model has the inputs x"),
        ({"x": {3: "batch"}}, "dynamic names axis 3 of x, whose shape is [1, 4]"),
        ({"x": {1: Dim("length", max=3)}}, "the axis length of x is 4 in example_inputs; Dim allows 1 to 3"),
        ({"x": {0: "n", 1: "n"}}, "the axis n is 1 and 4 in example_inputs; one name is one length"),
    ],
)
def test_axes_that_are_not_there(dynamic: Any, sentence: str) -> None:
    task = Task(
        name="t", model=torch.nn.Identity(), example_inputs=(1,), metric=lambda p: 1.0, dynamic=dynamic
    )
    spec = TensorSpec(name="x", shape=(1, 4), dtype="float32")
    with pytest.raises(TaskError) as caught:
        axes.find(task, [spec], torch.nn.Identity(), (torch.zeros(1, 4),))
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize("given", [("", 1, None), ("a b", 1, None), ("length", 0, 4), ("length", 4, 4)])
def test_a_range_that_is_none(given: tuple[str, int, int | None]) -> None:
    with pytest.raises(TaskError):
        Dim(*given)


def test_a_length_that_is_written_into_the_file_is_found(encoder: tuple[TaskSource, Traced]) -> None:
    artifact, traced = _float32(), encoder[1]
    proofs = (LengthProof(lengths={"n": 1}, snr_db=(120.0,)), LengthProof(lengths={"n": 8}, snr_db=(3.0,)))
    with pytest.raises(VerificationError, match=r"output y keeps 3.0 dB to the float model at n 8"):
        lengths._judge(artifact, proofs, True)
    assert traced.shapes_file


def _float32() -> Artifact:
    return Artifact(
        path="", format="onnx", precision="float32", size_bytes=1, sha256="", inputs=(), layout="as the model",
        outputs=(TensorSpec(name="y", shape=(1, 4), dtype="float32"),), toolchain={},
    )  # fmt: skip


def test_a_format_of_fixed_shapes_refuses_a_free_length(
    encoder: tuple[TaskSource, Traced], tmp_path: Path
) -> None:
    with pytest.raises(ConversionError, match="the axis length is free in the task"):
        made(*encoder, load_target("tflite-int8"), tmp_path)
