"""Dynamic quantization from program to file: what each runtime's quantizer reaches, and what is refused."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgekit.engine.specs import Context
from edgekit.errors import NotApplicable, UserError
from edgekit.export import onnx as exporter
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Artifact, Candidate, Quant, Recipe, TensorSpec
from edgekit.techniques import dynamic
from edgekit.verify.backends import onnxruntime as backend
from edgekit.verify.predict import Predictor

pytestmark = pytest.mark.long

WORDS, LENGTH, WIDTH = 200, 8, 32
QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)
X86 = load_target("x86-server")
INT16_MAX = 32767


class Recurrent(nn.Module):
    """[1, 8] tokens -> [1, 4], by two directions of one kind of cell."""

    def __init__(self, kind: str, width: int = WIDTH) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, width)
        self.cells = getattr(nn, kind)(width, width, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        states, _ = self.cells(self.table(words))
        return self.head(states.amax(1))


class Attentive(nn.Module):
    """The same by an encoder layer that masks padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, WIDTH)
        self.layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, batch_first=True)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(self.table(words), src_key_padding_mask=words == 0).mean(1))


class Convolving(nn.Module):
    """Half convolution, half linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(4, 16, 1), nn.Linear(128, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(x)).flatten(1))


WORDS_IN = torch.tensor([[5, 17, 99, 3, 150, 42, 0, 0]])
NETS = {
    "LSTM": (lambda: Recurrent("LSTM"), WORDS_IN),
    "wide LSTM": (lambda: Recurrent("LSTM", 96), WORDS_IN),  # weights beyond what torch's converter folds
    "GRU": (lambda: Recurrent("GRU"), WORDS_IN),
    "wide GRU": (lambda: Recurrent("GRU", 96), WORDS_IN),
    "integer GRU": (lambda: Recurrent("GRU", 320), WORDS_IN),
    "RNN": (lambda: Recurrent("RNN"), WORDS_IN),
    "attention": (Attentive, WORDS_IN),
    "convolution": (Convolving, torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(1))),
    "convolution alone": (lambda: nn.Conv1d(4, 16, 1), torch.zeros(1, 4, 8)),
}


def saved(name: str, folder: Path, quant: Quant | None = QUANT) -> tuple[nn.Module, torch.Tensor, Candidate]:
    make, x = NETS[name]
    torch.manual_seed(0)
    model = make().eval()  # type: ignore[no-untyped-call]
    graph = prepare_graph(torch.export.export(model, (x,)).module())
    programs.save(torch.export.export(graph, (x,)), folder / "float.pt2")
    recipe = Recipe(name="dynamic", precision="int8", steps=())
    return model, x, Candidate(program=str(folder / "float.pt2"), recipe=recipe, quant=quant)


def apply(candidate: Candidate, target: str = "x86-server") -> Candidate:
    context = Context(work=".", target=load_target(target))
    return dynamic.apply(candidate, None, dynamic.Options(), context)  # type: ignore[arg-type]


def exported(candidate: Candidate, path: Path) -> Artifact:
    """As the export stage would."""
    made = exporter.export(candidate, X86, path)
    layers = len(candidate.float_layers)
    return msgspec.structs.replace(made, scheme=candidate.scheme, float_layers=layers)


@pytest.mark.parametrize(
    ("name", "kernel", "left", "reached"),
    [
        ("LSTM", "DynamicQuantizeLSTM:uint8", [], 1.0),
        ("wide LSTM", "DynamicQuantizeLSTM:uint8", [], 1.0),
        ("GRU", "DynamicQuantizeMatMul:uint8", ["cells (GRU)"], 0.0),
        ("wide GRU", "DynamicQuantizeMatMul:uint8", ["cells (GRU)"], 0.0),
        ("integer GRU", "DynamicQuantizeMatMul:uint8", [], 1.0),
        ("RNN", "DynamicQuantizeMatMul:uint8", ["cells (RNN)"], 0.0),
        ("attention", "DynamicQuantizeMatMul:uint8", [], 0.94),
        ("convolution", "DynamicQuantizeMatMul:uint8", ["conv (Conv1d)"], 0.94),
    ],
)
def test_what_onnx_runtime_multiplies_in_integers(
    name: str, kernel: str, left: list[str], reached: float, tmp_path: Path
) -> None:
    model, x, candidate = saved(name, tmp_path)
    made = apply(candidate)
    assert made.scheme == "dynamic" and made.program == candidate.program
    assert [layer.origin for layer in made.float_layers] == left
    figures = {figure.name: figure.value for figure in made.figures}
    assert figures["multiply-accumulates in integers"] == pytest.approx(reached, abs=0.02)
    artifact = exported(made, tmp_path / "model.onnx")
    lint = backend.lint(artifact)
    assert lint.passed, lint.findings
    assert lint.ops.get(kernel, 0) > 0, lint.ops
    if name == "integer GRU":
        assert lint.called == "int8" and lint.share is not None and lint.share > 0.98, (
            "the loop's work counts"
        )
        assert 0 < backend.pair_bound(artifact.path) <= INT16_MAX
    assert artifact.float_layers == len(left) and artifact.inputs[0].dtype != "uint8"
    inputs = (TensorSpec(name="x", shape=tuple(x.shape), dtype=str(x.dtype).removeprefix("torch.")),)
    (got,) = Predictor(backend.open_session(artifact.path), artifact, inputs).run([x.numpy()])
    with torch.no_grad():
        want = model(x).numpy()
    assert np.abs(got - want).max() < 0.05 * np.abs(want).max()


@pytest.mark.parametrize("name", ["LSTM", "wide LSTM", "wide GRU", "attention"])
def test_the_file_is_small_the_same_each_time_and_cannot_saturate(name: str, tmp_path: Path) -> None:
    _, _, candidate = saved(name, tmp_path)
    small = exported(apply(candidate), tmp_path / "a.onnx")
    full = exporter.export(
        msgspec.structs.replace(candidate, recipe=Recipe(name="float32", precision="float32", steps=())),
        X86,
        tmp_path / "float.onnx",
    )
    assert small.size_bytes < 0.4 * full.size_bytes
    assert (tmp_path / "a.onnx").read_bytes() == Path(
        exported(apply(candidate), tmp_path / "b.onnx").path
    ).read_bytes()
    assert 0 < backend.pair_bound(small.path) <= INT16_MAX, "7-bit weights"
    eight = msgspec.structs.replace(QUANT, weight_bits=8)
    wide = exported(apply(msgspec.structs.replace(candidate, quant=eight)), tmp_path / "c.onnx")
    assert backend.pair_bound(wide.path) > INT16_MAX, "8-bit weights"


def test_a_convolution_is_left_as_it_was(tmp_path: Path) -> None:
    _, _, candidate = saved("convolution", tmp_path)
    graph = onnx.load(exported(apply(candidate), tmp_path / "model.onnx").path).graph
    assert [node.op_type for node in graph.node if "Conv" in node.op_type] == ["Conv"]


def test_tflite_unrolls_cells_so_that_none_stays_float(tmp_path: Path) -> None:
    _, _, candidate = saved("GRU", tmp_path, msgspec.structs.replace(QUANT, weight_bits=8))
    assert apply(candidate, "tflite-int8").float_layers == ()


@pytest.mark.parametrize(
    ("name", "quant", "target", "kind", "text"),
    [
        (
            "convolution alone",
            QUANT,
            "x86-server",
            NotApplicable,
            "has no layer that this runtime quantizes (its layers: conv1d)",
        ),
        (
            "LSTM",
            QUANT,
            "tflite-int8",
            UserError,
            "the profile asks for 7-bit weights; TFLite's quantizer stores 8 bits",
        ),
        ("LSTM", None, "x86-server", UserError, "dynamic needs a target with a [quant] table"),
        (
            "LSTM",
            QUANT,
            "coreml-fp16",
            UserError,
            "Core ML has no dynamic quantization; allowed formats: onnx, tflite",
        ),
        (
            "LSTM",
            msgspec.structs.replace(QUANT, weight_bits=4),
            "x86-server",
            UserError,
            "the profile asks for 4-bit weights; allowed are 7 and 8",
        ),
    ],
)
def test_refused(
    name: str, quant: Quant | None, target: str, kind: type[Exception], text: str, tmp_path: Path
) -> None:
    _, _, candidate = saved(name, tmp_path, quant)
    with pytest.raises(kind) as caught:
        apply(candidate, target)
    assert text in str(caught.value)
