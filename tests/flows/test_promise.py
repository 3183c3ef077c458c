"""The promise, case by case: nets whose files were once accepted though they were wrong, or were not what they were called.

Each goes through the real stages in this process: traced, quantized, exported, executed in its runtime, judged by the gate.
"""

import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
import torchvision  # noqa: F401  before any converter
from edgekit_runner.artifact import describe
from edgekit_runner.host.environment import local_isa
from edgekit_runner.host.isa import int8_saturates
from onnx import numpy_helper
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from edgekit.engine.specs import Context, TraceSpec
from edgekit.engine.task_source import pickle_task
from edgekit.engine.verify_specs import ProveSpec
from edgekit.errors import TaskError
from edgekit.ladder import gate
from edgekit.measure import comparison
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Budget, Candidate, Decision, Precision, Recipe, Step, Traced, Verdict
from edgekit.task import Task
from edgekit.techniques import ptq
from edgekit.trace.promise import promised
from edgekit.trace.stage import trace
from edgekit.verify.prove import prove

pytestmark = pytest.mark.long

pytest.importorskip("litert_torch")
NOT_MEASURED = comparison.unmeasured("not measured on the target")
RNG = np.random.default_rng(0)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One recipe for one target, as far as the gate."""

    traced: Traced
    candidate: Candidate
    artifact: Artifact
    verdict: Verdict
    decision: Decision


def tried(
    task: Task,
    target_name: str,
    work: Path,
    precision: Precision = "int8",
    budget: Budget | None = None,
    damage: Callable[[Artifact], Artifact] = lambda artifact: artifact,
) -> Tried:
    target, source = load_target(target_name), pickle_task(task, work / "task.pkl")
    traced = trace(TraceSpec(source=source, work=str(work)))
    technique = "ptq" if precision == "int8" else "float32"
    recipe = Recipe(name=technique, precision=precision, steps=(Step(technique=technique),))
    plain = Candidate(program=traced.program, recipe=Recipe(name="float32", precision="float32", steps=()))
    exporter = importlib.import_module(f"edgekit.export.{target.format}")
    baseline = exporter.export(plain, target, work / f"float{exporter.SUFFIX}")
    made = Candidate(program=traced.program, recipe=recipe, quant=target.quant_for(target.default_isa))
    if precision == "int8":
        (work / "ptq").mkdir()
        context = Context(work=str(work / "ptq"), traced=traced)
        made = ptq.apply(made, source.load(), ptq.Options(), context)
        made = promised(made, plain, traced)
    artifact = (
        exporter.export(made, target, work / f"model{exporter.SUFFIX}") if precision == "int8" else baseline
    )
    artifact = damage(artifact)
    spec = ProveSpec(
        artifact=artifact,
        traced=traced,
        source=source,
        runtime=target.runtime,
        isa=target.default_isa,
        host_isa=target.default_isa,
        golden=str(work / "golden.npz"),
        exact=target.isa.verify_exact and int8_saturates(local_isa()),
        precision_share=target.precision_share,
        promised_db=made.promised_db,
    )
    verdict = prove(spec)
    decision = gate.decide(budget or Budget(max_drop=0.1), artifact, baseline, verdict, NOT_MEASURED)
    return Tried(traced=traced, candidate=made, artifact=artifact, verdict=verdict, decision=decision)


class Fidelity:
    """1 - |answer - float| / |float|, over all outputs; `seen` picks what it looks at."""

    def __init__(self, net: nn.Module, inputs: torch.Tensor, seen: slice = slice(None)) -> None:
        self.inputs, self.seen = inputs.numpy(), seen
        with torch.no_grad():
            self.right = net(inputs).numpy()

    def __call__(self, predict) -> float:  # type: ignore[no-untyped-def]
        got, right = predict(self.inputs)[:, self.seen], self.right[:, self.seen]
        return 1 - float(np.linalg.norm(got - right) / np.linalg.norm(right))


def task_of(make, *shape: int, seen: slice = slice(None)) -> Task:  # type: ignore[no-untyped-def]
    net = seeded(make)
    torch.manual_seed(1)
    inputs = torch.randn(24, *shape)
    return Task(
        name="net",
        model=lambda: seeded(make),
        example_inputs=(inputs[:1],),
        calibration=[inputs[:8], inputs[8:16]],
        metric=Fidelity(net, inputs[8:], seen),
    )


def seeded(make) -> nn.Module:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return make().eval()


def generator() -> nn.Module:
    """Four transposed convolutions, as a DCGAN's."""
    channels = (16, 32, 16, 8, 3)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1], nn.Tanh())


def test_transposed_convolutions_are_integers(tmp_path: Path) -> None:
    found = tried(task_of(generator, 16, 4, 4), "arm-mobile", tmp_path)
    assert found.decision.accepted, found.decision.reasons
    assert (found.verdict.lint.share, found.verdict.lint.weight_share) == (1.0, 1.0)


def spread() -> nn.Module:
    """Transposed convolutions with steps, and holes in their kernels, which have no integer kernel and stay as they are."""
    layers = (
        nn.ConvTranspose2d(16, 32, 3, 2, dilation=2),
        nn.ReLU(),
        nn.ConvTranspose2d(32, 8, 3, 2, dilation=2),
    )
    return nn.Sequential(*layers, nn.Tanh())


def test_a_file_without_one_integer_is_not_int8(tmp_path: Path) -> None:
    found = tried(task_of(spread, 16, 4, 4), "arm-mobile", tmp_path)
    lint = found.verdict.lint
    assert not found.decision.accepted
    assert (lint.share, lint.called, lint.passed) == (0.0, "float32", False)
    assert [work.kind for work in lint.work] == ["ConvTranspose"]
    assert {s.limit for s in found.decision.shortfalls} == {"precision lint", "gain"}
    assert any("no layer was quantized" in doubt for doubt in found.candidate.doubts)


@pytest.mark.parametrize("target", ["arm-mobile", "tflite-int8"])
def test_convolutions_under_weight_norm_are_integers(target: str, tmp_path: Path) -> None:
    def make() -> nn.Module:
        return nn.Sequential(
            weight_norm(nn.Conv2d(3, 24, 3, 2, 1)), nn.ReLU(), weight_norm(nn.Conv2d(24, 32, 3, 2, 1))
        )

    found = tried(task_of(make, 3, 16, 16), target, tmp_path)
    assert found.decision.accepted, found.decision.reasons
    assert (found.verdict.lint.share, found.verdict.lint.weight_share) == (1.0, 1.0)


class Boxes(nn.Module):
    """Boxes in pixels and sigmoid scores in one output [N, 7, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.SiLU())
        self.box, self.score = nn.Conv2d(32, 4, 1), nn.Conv2d(32, 3, 1)
        with torch.no_grad():
            self.score.weight.mul_(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.body(x)
        boxes = self.box(found).sigmoid() * 640
        return torch.cat([boxes.flatten(2), self.score(found).sigmoid().flatten(2)], 1)


@pytest.mark.parametrize("target", ["arm-mobile", "tflite-int8"])
@pytest.mark.parametrize("seen", [slice(0, 4), slice(4, 7)], ids=["boxes", "scores"])
def test_what_the_metric_does_not_look_at_is_right_all_the_same(
    target: str, seen: slice, tmp_path: Path
) -> None:
    found = tried(task_of(Boxes, 3, 32, 32, seen=seen), target, tmp_path)
    (output,) = found.verdict.parity.outputs
    assert found.decision.accepted, found.decision.reasons
    assert output.lost == () and output.stuck_ratio < 0.05
    assert output.worst_slice_snr_db is not None and output.worst_slice_snr_db > 20
    assert found.verdict.lint.called == "int8"


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("state", torch.zeros(1, 8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.tanh(self.layer(x) + self.state)
        self.state.mul_(0.9).add_(0.1 * y.mean(0, keepdim=True))
        return y


def test_a_state_is_refused_before_anything_is_exported(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"forward writes the buffer `state`.*Take the state as an input"):
        tried(task_of(Stateful, 8), "arm-mobile", tmp_path)


class SharedConvolution(nn.Module):
    """One convolution, two batch norms."""

    def __init__(self) -> None:
        super().__init__()
        self.c, self.d, self.h = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.Linear(32, 5),
        )
        self.norms = nn.ModuleList([nn.BatchNorm2d(16), nn.BatchNorm2d(16)])
        for gain, norm in enumerate(self.norms):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
            norm.weight.data.uniform_(1 + 2 * gain, 2 + 2 * gain)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = (
            torch.relu(norm(self.c(x * scale))) for norm, scale in zip(self.norms, (1.0, 0.5), strict=True)
        )
        return self.h((torch.relu(self.d(a)) + torch.relu(self.d(b))).mean((2, 3)))


def test_a_convolution_of_two_batch_norms_is_folded_once_for_each(tmp_path: Path) -> None:
    found = tried(task_of(SharedConvolution, 3, 16, 16), "arm-mobile", tmp_path)
    assert found.decision.accepted, found.decision.reasons
    told = next(f.value for f in found.candidate.figures if f.name == "output SNR")
    assert found.verdict.parity.snr_db == pytest.approx(told, abs=6), (
        "the report's figure is of the model, not of a broken graph"
    )
    assert told > 25


class Head(nn.Module):
    def __init__(self, end) -> None:  # type: ignore[no-untyped-def]
        super().__init__()
        self.c, self.d, self.end = nn.Conv2d(3, 16, 3, 2, 1), nn.Conv2d(16, 20, 3, 2, 1), end

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.d(self.c(x).relu()).mean((2, 3)))


def sigmoid_squeezed(x: torch.Tensor) -> torch.Tensor:
    return torch.sigmoid(x[:, :1]).squeeze(1)[:, None]


@pytest.mark.parametrize(
    "end",
    [lambda x: x.softmax(1), lambda x: x.log_softmax(1), lambda x: x.clamp(0, 1), sigmoid_squeezed],
    ids=["softmax", "log_softmax", "clamp", "sigmoid"],
)
def test_what_ends_a_net_is_integers_too(end, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = tried(task_of(lambda: Head(end), 3, 32, 32), "tflite-int8", tmp_path)
    assert found.decision.accepted, found.decision.reasons
    lint = found.verdict.lint
    assert (lint.input_dtypes, lint.output_dtypes, lint.ops_float) == (("int8",), ("int8",), 0)


@pytest.mark.parametrize(
    "start", [lambda x: (x - 0.4) / 0.2, lambda x: x / 255], ids=["mean and std", "by 255"]
)
def test_what_starts_a_net_is_integers_too(start, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = Head(nn.Identity())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(start(x))

    found = tried(task_of(Net, 3, 32, 32), "tflite-int8", tmp_path)
    assert found.decision.accepted, found.decision.reasons
    assert found.verdict.lint.input_dtypes == ("int8",) and found.verdict.lint.ops_float == 0


def test_an_exact_float_file_of_transposed_convolutions_passes_the_lint(tmp_path: Path) -> None:
    """The first operand of TRANSPOSE_CONV is its shape, in int32."""

    def make() -> nn.Module:
        return nn.Sequential(nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1))

    found = tried(task_of(make, 8, 8, 8), "tflite-int8", tmp_path, "float32")
    assert found.decision.accepted, found.decision.reasons
    assert found.verdict.lint.share == 1.0


def test_numbers_are_not_taken_for_classes(tmp_path: Path) -> None:
    found = tried(
        task_of(lambda: nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 40)), 16),
        "arm-mobile",
        tmp_path,
    )
    output = found.verdict.parity.outputs[0]
    assert output.measure == "correlation" and output.agreement == output.correlation > 0.99


def test_a_net_at_chance_is_a_doubt(tmp_path: Path) -> None:
    net = seeded(lambda: nn.Linear(16, 10))
    inputs, labels = torch.randn(400, 16), RNG.integers(0, 10, 400)

    def accuracy(predict) -> float:  # type: ignore[no-untyped-def]
        return float((predict(inputs.numpy()).argmax(1) == labels).mean())

    task = Task(
        name="chance", model=net, example_inputs=(inputs[:1],), calibration=[inputs[:8]], metric=accuracy
    )
    traced = trace(TraceSpec(source=pickle_task(task, tmp_path / "task.pkl"), work=str(tmp_path)))
    assert any("cannot see errors" in doubt for doubt in traced.doubts)


def two_heads() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(24, 24, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(384, 8),
    )


def without_a_bias(artifact: Artifact) -> Artifact:
    """The ONNX file as a converter leaves it that forgets the bias of the first layer."""
    model = onnx.load(artifact.path)
    read = next(n.input[2] for n in model.graph.node if n.op_type == "Conv")
    (bias,) = (n.input[0] for n in model.graph.node if read in n.output)  # int32 behind a DequantizeLinear
    (tensor,) = (each for each in model.graph.initializer if each.name == bias)
    zeros = np.zeros_like(numpy_helper.to_array(tensor))
    tensor.CopyFrom(numpy_helper.from_array(zeros, tensor.name))
    onnx.save(model, artifact.path)
    info = describe(artifact.path, "onnx")
    return msgspec.structs.replace(artifact, size_bytes=info.size_bytes, sha256=info.sha256)


def test_what_was_lost_in_converting_is_refused_where_neither_metric_nor_floor_would_see_it(
    tmp_path: Path,
) -> None:
    """Without that bias the file keeps more than the floor asks, and the metric allows it."""
    budget = Budget(max_drop=0.5)
    (tmp_path / "right").mkdir()
    right = tried(task_of(two_heads, 3, 16, 16), "arm-mobile", tmp_path / "right", budget=budget)
    assert right.decision.accepted, right.decision.reasons
    (promise,), (kept,) = right.verdict.promised_db, right.verdict.kept_db
    assert promise is not None and kept == pytest.approx(promise, abs=1)
    wrong = tried(task_of(two_heads, 3, 16, 16), "arm-mobile", tmp_path, budget=budget, damage=without_a_bias)
    (output,) = wrong.verdict.parity.outputs
    assert output.snr_db is not None and output.snr_db > 7 and wrong.verdict.drop < 0.5
    assert not wrong.decision.accepted
    assert "something was lost in converting" in "; ".join(wrong.decision.reasons)
