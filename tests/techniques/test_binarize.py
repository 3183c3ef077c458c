"""Binary layers of a small net on real digits: trained, written as ordinary operators, the same in every runtime."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from digits_data import IMAGES, LABELS, TEST, candidate_of, figures, metric, task_of, taught, top1
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.binary import layer, layer_choice, packed
from edgekit.engine.specs import Context
from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant.batched import widened
from edgekit.quant.trainable import trainable
from edgekit.records import Candidate, Recipe
from edgekit.techniques import binarize

pytestmark = pytest.mark.long

selftest = pytest.importorskip("edgekit.binary.selftest")


class Net(nn.Module):
    """A first convolution, two middle ones (3x3 and 1x1 with a stride), a depthwise one, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.middle = nn.Sequential(
            nn.Conv2d(16, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU()
        )
        self.deep = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, groups=32), nn.BatchNorm2d(32))
        self.last = nn.Sequential(nn.Conv2d(32, 32, 1, 2), nn.ReLU())
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.last(self.deep(self.middle(self.first(x))))
        return self.head(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    torch.manual_seed(0)
    return candidate_of(taught(Net()), tmp_path_factory.mktemp("float") / "program.pt2")


def task(**changed: Any) -> ek.Task:
    return task_of(Net, **changed)


def apply(
    candidate: Candidate, work: Path, the_task: ek.Task | None = None, seed: int = 0, **options: Any
) -> Candidate:
    chosen = binarize.Options(**{"images": 640, **options})
    return binarize.apply(candidate, the_task or task(), chosen, Context(work=str(work), seed=seed))


@pytest.fixture(scope="module")
def done(candidate: Candidate, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    return apply(candidate, tmp_path_factory.mktemp("binary"), images=6400, learning_rate=3e-3)


def test_it_trains_and_the_program_holds_signs(candidate, done, tmp_path) -> None:
    found = figures(done)
    assert found["binary layers"] == 2 and found["binary weights"] == 16 * 32 * 9 + 32 * 32
    assert metric(candidate) > 0.9
    assert metric(done) > 0.85 and found["metric binary"] == pytest.approx(metric(done), abs=0.002)
    assert found["loss at last"] < 0.5 * found["loss at first"]
    program = programs.load(done.program)
    signs = {name for name, t in program.state_dict.items() if t.dim() == 4 and (t.abs() == 1).all()}
    shapes = {tuple(program.state_dict[name].shape) for name in signs}
    assert shapes == {(32, 16, 3, 3), (32, 32, 1, 1)}
    assert "middle.0.weight" not in program.state_dict, "the float weight is gone from the file"
    owners = [
        programs.module_path(n) for n in programs.calls(program.graph_module) if "where" in str(n.target)
    ]
    assert owners == ["middle.0", "last.0"]
    assert not list(Path(done.program).parent.glob("checkpoint"))


def test_the_program_takes_several_samples_at_once_and_a_later_step_can_train_it(done) -> None:
    graph = programs.load(done.program).module()
    assert widened(graph)[1] > 1
    model = trainable(graph)
    one = torch.cat([graph(x[None]) for x in IMAGES[TEST[:4]]])
    torch.testing.assert_close(model.eval()(IMAGES[TEST[:4]]), one, rtol=1e-4, atol=1e-4)


def test_what_was_trained_is_what_is_written(candidate, tmp_path, monkeypatch) -> None:
    """The graph with its modules answers as the program of ordinary operators, to the last bit."""
    kept = []
    monkeypatch.setattr(
        binarize, "lower", lambda graph: kept.append(graph(IMAGES[TEST[:1]])) or layer.lower(graph)
    )
    done = apply(candidate, tmp_path, images=320, learning_rate=3e-3, gradual=0.5, scale="factorised")
    written = programs.load(done.program).module()(IMAGES[TEST[:1]])
    torch.testing.assert_close(written, kept[0], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_program_and_a_killed_stage_goes_on(
    candidate, tmp_path, monkeypatch
) -> None:
    options = {"images": 320, "learning_rate": 3e-3, "gradual": 0.5}
    calls = 0
    original = binarize._Schedule.__call__

    def kill(self: Any, progress: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        original(self, progress)

    whole = apply(candidate, tmp_path / "a", **options)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(binarize._Schedule, "__call__", kill)
        apply(candidate, tmp_path / "b", **options)
    assert list((tmp_path / "b" / "checkpoint").glob("step-*"))
    resumed = apply(candidate, tmp_path / "b", **options)
    x = IMAGES[TEST[:1]]
    assert torch.equal(*(programs.load(c.program).module()(x) for c in (whole, resumed)))
    other = apply(candidate, tmp_path / "c", seed=1, **options)
    assert not torch.equal(*(programs.load(c.program).module()(x) for c in (whole, other)))


def test_a_layer_starts_near_the_float_one() -> None:
    """Centred on its inputs, blended to 0 it is the float convolution; blended to 1 the nearest one of signs."""
    torch.manual_seed(0)
    x, conv = torch.randn(8, 16, 9, 9) * 2 + torch.randn(16, 1, 1), nn.Conv2d(16, 24, 1)
    binary = layer.BinaryConv(
        conv.weight.detach(), conv.bias.detach(), layer.Geometry((1, 1), (0, 0)), (9, 9), True
    )
    mean = x.mean((0, 2, 3))
    binary.centre(mean, (x - mean.view(-1, 1, 1)).abs().mean((0, 2, 3)))
    binary.ease = 0.0
    want = conv(x)
    torch.testing.assert_close(binary(x), want, rtol=1e-4, atol=1e-4)
    binary.ease = 1.0
    ours, theirs = (
        (binary(x) - want.mean((0, 2, 3), True)).flatten(),
        (want - want.mean((0, 2, 3), True)).flatten(),
    )
    assert float(torch.corrcoef(torch.stack([ours, theirs]).detach())[0, 1]) > 0.4


def test_gradients_are_straight_through_and_clipped() -> None:
    binary = layer.BinaryConv(torch.ones(8, 8, 1, 1), None, layer.Geometry((1, 1), (0, 0)), (1, 1), False)
    x = torch.tensor([0.0, 0.5, -0.5, 1.5, -1.5, 0.0, 0.0, 0.0]).view(1, 8, 1, 1).requires_grad_(True)
    y = binary(x)
    assert y.flatten().tolist() == [2.0 - 6.0] * 8, "zero is -1"
    y.sum().backward()
    assert x.grad is not None and x.grad.flatten().tolist() == [8.0, 8.0, 8.0, 0.0, 0.0, 8.0, 8.0, 8.0]
    assert binary.weight.grad is not None and binary.threshold.grad is not None
    assert binary.threshold.grad.tolist() == [-8.0, -8.0, -8.0, 0.0, 0.0, -8.0, -8.0, -8.0]


class Ties(nn.Module):
    """Its inputs reach the binary layers as they are, half of them exactly at the threshold 0."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle = nn.Conv2d(16, 16, 1), nn.Conv2d(16, 32, 3, 2, 1)
        self.point, self.last = nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.point(self.middle(torch.relu(self.first(x)))))


@pytest.fixture(scope="module")
def ties(tmp_path_factory: pytest.TempPathFactory) -> tuple[Candidate, torch.Tensor, torch.Tensor]:
    """(candidate, input, what torch answers); every number of it is a small multiple of 1/4, exact in any order."""
    torch.manual_seed(0)
    net = Ties().eval().requires_grad_(False)
    for part, size in ((net.first, 16), (net.last, 32)):
        part.weight.copy_(torch.eye(size)[:, :, None, None])
        part.bias.zero_()
    x = torch.randint(-2, 3, (1, 16, 9, 9)).float()
    graph = torch.export.export(net, (x,)).module()
    for node in layer_choice.chosen(graph, ""):
        binary = layer.replace(graph, node, factorised=True)
        with torch.no_grad():
            binary.alpha.fill_(0.5)
            binary.bias.fill_(1.0)
            binary.rows.copy_(2.0 ** torch.randint(-1, 2, binary.rows.shape))
    assert layer.lower(graph) == 2
    path = tmp_path_factory.mktemp("ties") / "program.pt2"
    programs.save(programs.export(graph, (x,)), path)
    candidate = Candidate(program=str(path), recipe=Recipe(name="t", precision="float32", steps=()))
    return candidate, x, graph(x)


@pytest.mark.parametrize(
    ("exporter", "target", "backend"),
    [
        ("onnx", "x86-server", "onnxruntime"),
        ("tflite", "tflite-int8", "litert"),
        ("coreml", "coreml-fp16", "coreml"),
    ],
)
def test_every_format_gives_zero_the_same_sign(exporter, target, backend, ties, tmp_path) -> None:
    candidate, x, want = ties
    lowering = importlib.import_module(f"edgekit.export.{exporter}")
    artifact = lowering.export(candidate, load_target(target), tmp_path / f"model{lowering.SUFFIX}")
    runtime = importlib.import_module(f"edgekit.verify.backends.{backend}")
    feed = x.numpy().transpose(0, 2, 3, 1) if artifact.layout == "NHWC" else x.numpy()
    session = runtime.open_session(artifact.path, False)
    (answer,) = session.run({artifact.inputs[0].name: np.ascontiguousarray(feed)}).values()
    answer = answer.transpose(0, 3, 1, 2) if artifact.layout == "NHWC" else answer
    assert np.array_equal(answer, want.numpy())


def test_kernels_of_one_bit_answer_as_the_program_does(ties, done, tmp_path) -> None:
    openvino = pytest.importorskip("edgekit.binary.openvino_ir")
    onnx = importlib.import_module("edgekit.export.onnx")
    candidate, x, want = ties
    for name, made in (("ties", candidate), ("digits", done)):
        onnx.export(made, load_target("x86-server"), tmp_path / f"{name}.onnx")
        written = openvino.write(tmp_path / f"{name}.onnx", tmp_path / f"{name}.xml")
        assert len(written.layers) == 2 and written.float_weight_bytes == 32 * written.weight_bytes
    answer = selftest.compiled(tmp_path / "ties.xml")(x.numpy())[0]
    assert np.array_equal(answer, want.numpy())
    run = selftest.compiled(tmp_path / "digits.xml")
    ours = top1(lambda images: np.concatenate([run(image[None])[0] for image in images]))
    assert ours == pytest.approx(metric(done), abs=0.005)
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in run.get_runtime_model().get_ops()]
    assert kinds.count("BinaryConvolution") == 2


def test_a_file_without_binary_layers_is_refused_and_nothing_is_left(candidate, tmp_path) -> None:
    openvino = pytest.importorskip("edgekit.binary.openvino_ir")
    onnx = importlib.import_module("edgekit.export.onnx")
    onnx.export(candidate, load_target("x86-server"), tmp_path / "float.onnx")
    with pytest.raises(UserError, match="has no binary layer; give a file made with the technique binarize"):
        openvino.write(tmp_path / "float.onnx", tmp_path / "out" / "m.xml")
    with pytest.raises(UserError, match="no file at"):
        openvino.write(tmp_path / "none.onnx", tmp_path / "out" / "m.xml")
    assert not (tmp_path / "out").exists()


def test_packed_storage_gives_the_very_tensors(done, candidate, tmp_path) -> None:
    program = programs.load(done.program)
    size = packed.write(program, tmp_path / "m.safetensors")
    found = packed.read(tmp_path / "m.safetensors")
    assert found.keys() == program.state_dict.keys()
    assert all(torch.equal(found[name], value) for name, value in program.state_dict.items())
    whole = sum(4 * value.numel() for value in program.state_dict.values())
    assert size < whole - 4 * 31 / 32 * figures(done)["binary weights"] + 3000, (
        "names and shapes are the rest"
    )
    with pytest.raises(UserError, match="no binary layer to pack"):
        packed.write(programs.load(candidate.program), tmp_path / "other.safetensors")
    (tmp_path / "broken").write_bytes(b"no file of tensors")
    with pytest.raises(UserError, match="is not a packed program"):
        packed.read(tmp_path / "broken")


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ("first.0", "'first.0' cannot be binary: it is the first layer"),
        ("head", "'head' cannot be binary: it is no 2-d convolution, but linear.default"),
        ("deep.0", r"'deep.0' cannot be binary: it is depthwise or grouped \(32 groups\)"),
        ("first.1", "'first.1' cannot be binary: it is no convolution, but batch_norm.default"),
        ("midle.0", r"'midle.0' matches no layer .* did you mean 'middle.0'\? Allowed are middle.0, last.0"),
        ("dee*", "'dee.' matches no layer"),
    ],
)
def test_a_layer_that_cannot_be_binary_says_why(layers, message, candidate, tmp_path) -> None:
    with pytest.raises(UserError, match=message):
        apply(candidate, tmp_path, layers=layers)


def test_globs_pass_over_what_cannot_be_binary(candidate) -> None:
    graph = programs.load(candidate.program).module()
    assert [layer_choice.name_of(n) for n in layer_choice.chosen(graph, "*")] == ["middle.0", "last.0"]
    assert [layer_choice.name_of(n) for n in layer_choice.chosen(graph, "last*, middle.0")] == [
        "middle.0",
        "last.0",
    ]
    assert [layer_choice.name_of(n) for n in layer_choice.chosen(graph, "last.?")] == ["last.0"]


def test_the_last_convolution_of_a_net_without_a_linear_layer_stays_float() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 4, 1)).eval()
    graph = torch.export.export(net, (torch.zeros(1, 3, 9, 9),)).module()
    assert [layer_choice.name_of(node) for node in layer_choice.chosen(graph, "")] == ["1"]
    with pytest.raises(UserError, match="it is the last layer"):
        layer_choice.chosen(graph, "2")


def test_a_net_without_a_middle_convolution_has_no_layer_to_binarize() -> None:
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 4, 1)).eval()
    graph = torch.export.export(net, (torch.zeros(1, 3, 9, 9),)).module()
    with pytest.raises(NotApplicable, match="no layer of this model can be binary: 0 is the first layer"):
        layer_choice.chosen(graph, "")


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(TaskError, match="'digits' has no training data; binarize needs"):
        apply(candidate, tmp_path, task(training=None))
    with pytest.raises(UserError, match=r"gradual is 1; allowed: at least 0, at most 0\.9"):
        binarize.Options(gradual=1)
    with pytest.raises(UserError, match="alpha is 2; allowed: at least 0, at most 1"):
        binarize.Options(alpha=2)
    bad = ek.Training(batches=[(IMAGES[:4, :, :4].expand(4, 3, 4, 8), LABELS[:4])], loss=F.cross_entropy)
    with pytest.raises(TaskError, match="the model cannot take the inputs of training batch 0"):
        apply(candidate, tmp_path, task(training=bad))
    assert not (tmp_path / "program.pt2").exists()
