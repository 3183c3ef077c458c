"""The ONNX exporter: the arithmetic of the program, whole fusion by onnxruntime, the same bytes every time."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import old_runtimes
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, numpy_helper
from torch import nn
from torch.nn import functional as F

from edgekit.engine import beside
from edgekit.engine.specs import Context
from edgekit.errors import ConversionError
from edgekit.export import onnx as exporter
from edgekit.package import other_versions
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Artifact, Candidate, Precision, Quant, Recipe
from edgekit.techniques import ptq

pytestmark = pytest.mark.long

SHAPE = (1, 3, 17, 17)


class Net(nn.Module):
    """Both kinds of pad, a depthwise convolution, a residual sum, a gate, a pool and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.deep = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 8, 3, groups=8)
        self.gate, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, 80)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(F.pad(photo, [0, 1, 0, 1])))
        y = F.relu6(self.deep(F.pad(x, [1, 1, 1, 1])))
        y = y * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(y, 1)))
        return self.fc(F.adaptive_avg_pool2d(x + y, 1).flatten(1))


class Tokens(nn.Module):
    """Linear layers on a sequence [N, T, C], and a second input of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.up, self.down = nn.Embedding(10, 8), nn.Linear(8, 16), nn.Linear(16, 4)

    def forward(self, words: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.down(F.relu(self.up(self.table(words) * weight)))
        return y, y.mean(1)


def candidate(path: Path, precision: Precision, quant: Quant | None = None) -> Candidate:
    return Candidate(program=str(path), recipe=Recipe(name="t", precision=precision, steps=()), quant=quant)


def trace(model: nn.Module, inputs: tuple[torch.Tensor, ...], path: Path) -> None:
    prepared = prepare_graph(torch.export.export(model.eval(), inputs).module())
    programs.save(torch.export.export(prepared, inputs), path)


def samples(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(SHAPE, generator=generator) for _ in range(count)]


def quantize(folder: Path, activation: str) -> Candidate:
    quant = Quant(
        activation_dtype=activation, weight_bits=7, granularity="per_channel", symmetric_activations=False
    )
    task: Any = SimpleNamespace(calibration=samples(8))
    start = candidate(folder / "float.pt2", "int8", quant)
    return ptq.apply(start, task, ptq.Options(), Context(work=str(folder / activation)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Candidate, Artifact]]:
    """Every precision of Net, and int8 from both activation types."""
    folder = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    trace(Net(), (torch.randn(SHAPE),), folder / "float.pt2")
    cases = {
        "float32": candidate(folder / "float.pt2", "float32"),
        "float16": candidate(folder / "float.pt2", "float16"),
    }
    cases |= {activation: quantize(folder, activation) for activation in ("uint8", "int8")}
    return {
        name: (case, exporter.export(case, None, folder / f"{name}.onnx")) for name, case in cases.items()
    }  # type: ignore[arg-type]


def session(path: str, optimize: bool = True, save: Path | None = None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    if save:
        options.optimized_model_filepath = str(save)
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def run(artifact: Artifact, optimize: bool = True) -> np.ndarray:
    found = session(artifact.path, optimize)
    return np.concatenate([found.run(None, {"photo": x.numpy()})[0] for x in samples(12)])


def expected(case: Candidate) -> np.ndarray:
    graph_module = programs.load(case.program).module()
    with torch.no_grad():
        return np.concatenate([graph_module(x).numpy() for x in samples(12)])


def output_scale(path: str) -> float:
    model = onnx.load(path)
    constants = {t.name: t for t in model.graph.initializer}
    (last,) = [n for n in model.graph.node if "output_0" in n.output]
    return float(numpy_helper.to_array(constants[last.input[1]]))


@pytest.mark.parametrize(("name", "tolerance"), [("float32", 1e-5), ("float16", 2e-3)])
def test_float_files_compute_the_program(made, name: str, tolerance: float) -> None:
    case, artifact = made[name]
    np.testing.assert_allclose(run(artifact), expected(case), atol=tolerance)


@pytest.mark.parametrize("name", ["uint8", "int8"])
@pytest.mark.parametrize("optimize", [False, True])
def test_int8_files_compute_the_quantized_graph(made, name: str, optimize: bool) -> None:
    case, artifact = made[name]
    steps = np.abs(run(artifact, optimize) - expected(case)) / output_scale(artifact.path)
    assert steps.max() <= 2.01 and np.mean(steps < 0.01) > 0.9


@pytest.mark.parametrize("name", ["uint8", "int8"])
def test_onnxruntime_merges_everything(made, name: str, tmp_path: Path) -> None:
    session(made[name][1].path, save=tmp_path / "optimized.onnx")
    ops = Counter(node.op_type for node in onnx.load(str(tmp_path / "optimized.onnx")).graph.node)
    assert ops["QLinearConv"] == 3 and ops["QGemm"] == 1 and ops["QLinearGlobalAveragePool"] == 2
    assert (ops["QuantizeLinear"], ops["DequantizeLinear"], ops["Pad"]) == (1, 1, 0)
    assert not {"Conv", "Gemm", "MatMul", "Add", "Mul", "Clip", "Sigmoid", "ReduceMean"} & set(ops)


@pytest.mark.parametrize("name", ["uint8", "int8"])
def test_activations_are_unsigned_and_weights_are_narrow(made, name: str) -> None:
    model = onnx.load(made[name][1].path)
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[2]].data_type == TensorProto.UINT8
    weights = [
        numpy_helper.to_array(t)
        for t in constants.values()
        if t.data_type == TensorProto.INT8 and len(t.dims) > 1
    ]
    assert len(weights) == 4 and all(np.abs(w.astype(int)).max() == 63 for w in weights)


def test_files_shrink(made) -> None:
    sizes = {name: artifact.size_bytes for name, (_, artifact) in made.items()}
    assert sizes["float16"] < sizes["float32"]
    half = onnx.load(made["float16"][1].path)
    assert all(t.data_type != TensorProto.FLOAT or np.prod(t.dims) < 64 for t in half.graph.initializer)
    session(made["float16"][1].path)


def test_another_process_writes_the_same_bytes(made, tmp_path: Path) -> None:
    names = ("float32", "float16", "uint8")
    (tmp_path / "candidates.json").write_bytes(msgspec.json.encode({name: made[name][0] for name in names}))
    run = subprocess.run(
        [sys.executable, __file__, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    for name in names:
        assert (tmp_path / f"{name}.onnx").read_bytes() == Path(made[name][1].path).read_bytes()


def test_the_file_says_what_it_is_and_not_where_it_was_made(made) -> None:
    artifact = made["uint8"][1]
    model = onnx.load(artifact.path)
    properties = {p.key: p.value for p in model.metadata_props}
    assert properties["edgekit.precision"] == "int8" and "edgekit.version" in properties
    content = Path(artifact.path).read_bytes()
    assert b".py" not in content and str(Path.cwd()).encode() not in content
    assert not model.graph.value_info and not any(n.metadata_props or n.doc_string for n in model.graph.node)


def test_the_artifact_describes_the_file(made) -> None:
    artifact = made["uint8"][1]
    assert (artifact.format, artifact.precision, artifact.layout) == ("onnx", "int8", "NCHW")
    assert [(s.name, s.shape, s.dtype) for s in artifact.inputs] == [("photo", SHAPE, "float32")]
    assert [(s.name, s.shape) for s in artifact.outputs] == [("output_0", (1, 80))]
    assert artifact.size_bytes == Path(artifact.path).stat().st_size and len(artifact.sha256) == 64
    assert {"torch", "onnx", "onnxruntime"} <= set(artifact.toolchain)


def test_several_inputs_and_outputs_keep_their_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    words, weight = torch.randint(0, 10, (1, 5)), torch.randn(1, 5, 8)
    trace(Tokens(), (words, weight), tmp_path / "float.pt2")
    start = candidate(tmp_path / "float.pt2", "int8", Quant(
        activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False
    ))  # fmt: skip
    task: Any = SimpleNamespace(calibration=[(words, weight)])
    case = ptq.apply(start, task, ptq.Options(), Context(work=str(tmp_path)))
    artifact = exporter.export(case, None, tmp_path / "tokens.onnx")  # type: ignore[arg-type]
    assert [(s.name, s.dtype) for s in artifact.inputs] == [("words", "int64"), ("weight", "float32")]
    assert [s.name for s in artifact.outputs] == [
        "output_0",
        "output_1",
    ] and artifact.layout == "as the model"
    got = session(artifact.path, optimize=False).run(None, {"words": words.numpy(), "weight": weight.numpy()})
    for found, want in zip(got, programs.load(case.program).module()(words, weight), strict=True):
        np.testing.assert_allclose(found, want.detach().numpy(), atol=0.03)
    optimized = tmp_path / "optimized.onnx"
    session(artifact.path, save=optimized)
    ops = Counter(node.op_type for node in onnx.load(str(optimized)).graph.node)
    assert not {"MatMul", "Gemm"} & set(ops)


def test_a_weight_that_float16_cannot_hold_stays_float32(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    with torch.no_grad():
        model[0].weight[0, 0] = 1e6
    trace(model, (torch.randn(1, 16),), tmp_path / "float.pt2")
    artifact = exporter.export(candidate(tmp_path / "float.pt2", "float16"), None, tmp_path / "m.onnx")  # type: ignore[arg-type]
    kinds = Counter(t.data_type for t in onnx.load(artifact.path).graph.initializer if np.prod(t.dims) == 256)
    assert kinds == {TensorProto.FLOAT: 1, TensorProto.FLOAT16: 1}


def test_an_operator_without_translation_is_named_with_its_module(tmp_path: Path) -> None:
    class Bessel(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.special.bessel_j0(x)

    trace(nn.Sequential(nn.Linear(4, 4), Bessel()), (torch.randn(1, 4),), tmp_path / "float.pt2")
    with pytest.raises(ConversionError, match=r"bessel_j0\.default from 1 \(Bessel\)"):
        exporter.export(candidate(tmp_path / "float.pt2", "float32"), None, tmp_path / "m.onnx")  # type: ignore[arg-type]
    assert not (tmp_path / "m.onnx").exists()


if __name__ == "__main__":  # the child of test_another_process_writes_the_same_bytes
    folder = Path(sys.argv[1])
    cases = msgspec.json.decode((folder / "candidates.json").read_bytes(), type=dict[str, Candidate])
    for name, case in cases.items():
        exporter.export(case, None, folder / f"{name}.onnx")  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------- the oldest runtime named


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_runtimes.beside(tmp_path_factory.mktemp("oldest"), old_runtimes.ONNXRUNTIME)


@pytest.mark.parametrize("name", ["float32", "float16", "int8"])
def test_the_oldest_runtime_that_profiles_name_answers_the_same(
    made, oldest: Path, tmp_path: Path, name: str
) -> None:
    for profile in ("x86-server", "arm-mobile"):
        assert load_target(profile).deployment.min_runtime == "onnxruntime 1.17"
    artifact = next(artifact for key, (_, artifact) in made.items() if key.startswith(name))
    photo = samples(1)[0].numpy()
    np.save(tmp_path / "x.npy", photo)
    version, old = old_runtimes.answers(
        old_runtimes.IN_ONNXRUNTIME, artifact.path, tmp_path / "y.npy", str(tmp_path / "x.npy"), old=oldest
    )
    assert version == "1.17.3"
    present = session(artifact.path).run(None, {"photo": photo})[0].ravel()
    step = output_scale(artifact.path) if name == "int8" else 1e-4
    assert np.abs(old - present).max() <= step * 1.001
    if name == "int8":
        saved = tmp_path / "optimized.onnx"
        beside.run([oldest], other_versions.OPTIMIZE, artifact.path, str(saved))
        kinds = {node.op_type for node in onnx.load(saved).graph.node}
        assert "QLinearConv" in kinds and not kinds & {"Conv", "FusedConv"}
