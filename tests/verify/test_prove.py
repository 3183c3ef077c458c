"""Proving artifacts in ONNX Runtime: a faithful one, and each way in which one is not what it claims to be."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_nets import described

from edgekit.engine.specs import TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec, RecheckSpec
from edgekit.errors import MissingRuntime, TaskError, VerificationError
from edgekit.golden import FLOAT_CAP_DB
from edgekit.quant import program as programs
from edgekit.quant import tensors
from edgekit.records import Artifact, Precision, TensorSpec, Traced, Verdict
from edgekit.trace.stage import trace
from edgekit.verify.backends import load_backend
from edgekit.verify.golden_check import recheck
from edgekit.verify.prove import prove

SMALL = Path(__file__).parents[1] / "task_files" / "small.py"
INPUT = TensorSpec(name="x", shape=(1, 3, 8, 8), dtype="float32")
OUTPUT = TensorSpec(name="y", shape=(1, 10), dtype="float32")
Weights = dict[str, np.ndarray]


def source(function: str = "task") -> TaskSource:
    return TaskSource(name=function, reference=f"{SMALL}:{function}")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return trace(TraceSpec(source=source(), work=str(tmp_path_factory.mktemp("traced"))))


@pytest.fixture(scope="module")
def weights() -> Weights:
    task = source().load()
    return {name.replace(".", "_"): p.detach().numpy() for name, p in task.model().named_parameters()}


def write(weights: Weights, path: Path, precision: Precision = "float32") -> Artifact:
    """The small net as an ONNX file, by hand."""
    stored = {**weights, "axes": np.array([2, 3])}
    nodes = [
        helper.make_node("Conv", ["x", "conv_weight", "conv_bias"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("ReduceMean", ["b", "axes"], ["c"], keepdims=0),
        helper.make_node("Gemm", ["c", "head_weight", "head_bias"], ["y"], transB=1),
    ]
    sides = [[helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape)] for s in (INPUT, OUTPUT)]
    initial = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    graph = helper.make_graph(nodes, "small", *sides, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return describe(path, precision)


def describe(path: Path, precision: Precision = "float32") -> Artifact:
    return described(path, precision, INPUT, OUTPUT)


def failing(path: Path) -> Artifact:
    """A file that opens, and picks a place that its input does not have."""
    nodes = [
        helper.make_node("Gather", ["x", "place"], ["a"], axis=3),
        helper.make_node("Gather", ["a", "sizes"], ["b"], axis=2),
        helper.make_node("ReduceMean", ["b"], ["c"], keepdims=0, axes=[1, 2, 3]),
        helper.make_node("Expand", ["c", "shape"], ["y"]),
    ]
    given = {"place": np.array([99]), "sizes": np.array([0]), "shape": np.array([1, 10])}
    sides = [[helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape)] for s in (INPUT, OUTPUT)]
    initial = [numpy_helper.from_array(value, name) for name, value in given.items()]
    graph = helper.make_graph(nodes, "failing", *sides, initial)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return describe(path)


@pytest.fixture
def prove_it(traced: Traced, tmp_path: Path) -> Callable[..., Verdict]:
    def call(artifact: Artifact, function: str = "task", exact: bool = False, program: str = "") -> Verdict:
        return prove(
            ProveSpec(
                artifact=artifact,
                traced=traced,
                source=source(function),
                runtime="onnxruntime",
                isa="avx2",
                host_isa="avx2",
                golden=str(tmp_path / "golden.npz"),
                exact=exact,
                program=program,
            )
        )

    return call


def changed(weights: Weights, **values: float) -> Weights:
    """The weights with one element of each named tensor set."""
    copies = {name: value.copy() for name, value in weights.items()}
    for name, value in values.items():
        copies[name].flat[0] = value
    return copies


def test_a_file_that_its_runtime_cannot_run_is_refused_in_one_sentence(prove_it, tmp_path: Path) -> None:
    with pytest.raises(
        VerificationError, match=r"onnxruntime cannot run the onnx artifact: .*Gather.*; replace the operator"
    ):
        prove_it(failing(tmp_path / "m.onnx"))


def test_a_file_of_a_changed_program_is_held_to_that_program(
    prove_it: Callable[..., Verdict], weights: Weights, traced: Traced, tmp_path: Path
) -> None:
    """As pruning and sparsity change it; the float model is then what the figures are beside, and no judge."""
    program = programs.load(traced.program)
    graph = program.module()
    tensors.write(graph, "head.bias", tensors.read(graph, "head.bias") + 3.0)
    path = tmp_path / "changed.pt2"
    programs.save(programs.export(graph, program), path)
    artifact = write({**weights, "head_bias": weights["head_bias"] + 3}, tmp_path / "model.onnx")
    with pytest.raises(VerificationError, match="does not compute the model's function"):
        prove_it(artifact)
    verdict = prove_it(artifact, program=str(path))
    assert verdict.parity.max_abs_error == pytest.approx(3, abs=1e-4), "against the float model"
    assert verdict.program_parity is not None
    assert verdict.program_parity.max_abs_error < 1e-4, "against what it was made of"
    with pytest.raises(VerificationError, match="does not compute the model's function"):
        prove_it(write(weights, tmp_path / "other.onnx"), program=str(path))


def test_a_faithful_artifact(prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path) -> None:
    verdict = prove_it(write(weights, tmp_path / "model.onnx"))
    assert (verdict.metric, verdict.float_metric, verdict.drop) == (1.0, 1.0, 0.0)
    assert verdict.parity.samples == 16
    assert verdict.parity.agreement == 1.0
    assert 0 <= verdict.parity.max_abs_error < 1e-5
    assert verdict.parity.rms_error <= verdict.parity.max_abs_error
    assert verdict.parity.snr_db is None or verdict.parity.snr_db > 100
    assert verdict.lint.passed
    assert verdict.lint.ops_in_precision >= 2
    assert verdict.saturation is None
    assert verdict.program_parity is None
    assert verdict.doubts == ()


def test_the_golden_pair_is_the_first_sample_and_the_answer_here(
    prove_it: Callable[..., Verdict], weights: Weights, traced: Traced, tmp_path: Path
) -> None:
    prove_it(write(weights, tmp_path / "model.onnx"))
    golden = np.load(tmp_path / "golden.npz", allow_pickle=False)
    samples = np.load(traced.samples_file, allow_pickle=False)
    assert sorted(golden.files) == ["float_0", "float_min_snr_db", "input_0", "output_0"]
    np.testing.assert_array_equal(golden["float_0"], samples["output_0"][:1])
    assert golden["float_min_snr_db"] == [FLOAT_CAP_DB]  # a float file is nearer; more is asked of none
    np.testing.assert_array_equal(golden["input_0"], samples["input_0"][:1])
    np.testing.assert_allclose(golden["output_0"], samples["output_0"][:1], atol=1e-5)


def test_an_exact_run_says_so(prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path) -> None:
    verdict = prove_it(write(weights, tmp_path / "model.onnx"), exact=True)
    assert verdict.metric == 1.0
    assert verdict.doubts[0].startswith("scored with graph optimizations off: ")


def test_other_weights_in_a_float32_file_are_refused(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    scaled = {**weights, "conv_weight": weights["conv_weight"] * np.float32(1.05)}
    with pytest.raises(VerificationError, match=r"does not compute the model's function: SNR \d\d\.\d dB"):
        prove_it(write(scaled, tmp_path / "model.onnx"))


def test_the_same_error_is_scored_where_the_precision_allows_it(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    scaled = {**weights, "conv_weight": weights["conv_weight"] * np.float32(1.05)}
    verdict = prove_it(write(scaled, tmp_path / "model.onnx", "float16"))
    assert verdict.parity.snr_db is not None and 10 < verdict.parity.snr_db < 50
    assert not verdict.lint.passed
    assert "weight bytes are float16" in verdict.lint.findings[0]


def test_a_float_file_that_claims_to_be_int8_fails_the_lint(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    verdict = prove_it(write(weights, tmp_path / "model.onnx", "int8"))
    assert not verdict.lint.passed
    assert verdict.lint.findings
    assert verdict.lint.ops_in_precision == 0


def test_a_metric_that_falls_is_in_the_verdict(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    broken = changed(weights, head_bias=100.0)
    verdict = prove_it(write(broken, tmp_path / "model.onnx", "float16"))
    assert verdict.drop > 0.5
    assert verdict.parity.agreement == verdict.metric
    assert verdict.parity.max_abs_error == pytest.approx(100, abs=1)


def test_nan_is_refused(prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match="answers NaN or infinity in onnxruntime on the first sample"):
        prove_it(write(changed(weights, head_bias=np.nan), tmp_path / "model.onnx"))
    assert not (tmp_path / "golden.npz").exists()


def test_an_altered_file_is_refused(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    artifact = write(weights, tmp_path / "model.onnx")
    write(changed(weights, head_bias=0.5), tmp_path / "model.onnx")
    with pytest.raises(
        VerificationError, match=r"was altered after export: its sha256 is [0-9a-f]{16}\.\.\."
    ):
        prove_it(artifact)


def test_a_missing_file_is_refused(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    artifact = write(weights, tmp_path / "model.onnx")
    (tmp_path / "model.onnx").unlink()
    with pytest.raises(VerificationError, match="does not exist"):
        prove_it(artifact)


def test_a_metric_with_other_samples_each_time(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    with pytest.raises(TaskError, match="asked for 4 samples the float model was never asked"):
        prove_it(write(weights, tmp_path / "model.onnx"), "metric_random")


def test_a_metric_that_raises(prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match=r"raised ZeroDivisionError: division by zero \(small\.py, line \d+\)"
    ):
        prove_it(write(weights, tmp_path / "model.onnx"), "metric_raises")


# -- proving again what was exported


def recheck_spec(artifact: Artifact, golden: Path, atol: float = 1e-3) -> RecheckSpec:
    return RecheckSpec(artifact=artifact, runtime="onnxruntime", golden=str(golden), golden_atol=atol)


def test_recheck(prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path) -> None:
    artifact = write(weights, tmp_path / "model.onnx")
    prove_it(artifact)
    found = recheck(recheck_spec(artifact, tmp_path / "golden.npz"))
    assert found.max_abs_error == 0
    assert found.findings == ()


def test_recheck_of_a_file_that_was_wrong_from_the_start(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    """It answers its golden output to the last bit, and is still not what the float model answers."""
    artifact = write(weights, tmp_path / "model.onnx")
    prove_it(artifact)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as pair:
        other = {**pair, "float_0": pair["float_0"] * -1}
    np.savez(tmp_path / "golden.npz", **other)
    with pytest.raises(
        VerificationError,
        match=r"output y keeps -6\.0 dB to the float model's answer; it was proven with at least 40\.0 dB",
    ):
        recheck(recheck_spec(artifact, tmp_path / "golden.npz"))


@pytest.mark.parametrize("bias", [0.5, np.nan, np.inf])
def test_recheck_of_another_function(
    bias: float, prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    prove_it(write(weights, tmp_path / "model.onnx"))
    other = write(changed(weights, head_bias=bias), tmp_path / "other.onnx")
    with pytest.raises(VerificationError, match=r"differs from its golden output by .*; allowed is 0\.001"):
        recheck(recheck_spec(other, tmp_path / "golden.npz"))


def test_recheck_finds_nan_in_a_second_output(
    prove_it: Callable[..., Verdict], weights: Weights, tmp_path: Path
) -> None:
    artifact = write(weights, tmp_path / "model.onnx")
    prove_it(artifact)
    golden = dict(np.load(tmp_path / "golden.npz", allow_pickle=False))
    second = {"output_1": np.full((1, 10), np.nan, np.float32), "float_1": golden["float_0"]}
    limits = golden["float_min_snr_db"].repeat(2)
    np.savez(tmp_path / "golden.npz", **{**golden, **second, "float_min_snr_db": limits})
    twice = msgspec.structs.replace(artifact, outputs=(OUTPUT, OUTPUT))
    with pytest.raises(VerificationError, match="differs from its golden output by nan"):
        recheck(recheck_spec(twice, tmp_path / "golden.npz"))


def test_a_backend_whose_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise ModuleNotFoundError("No module named 'ai_edge_litert'", name="ai_edge_litert")

    monkeypatch.setattr("edgekit.verify.backends.importlib.import_module", absent)
    with pytest.raises(MissingRuntime, match="pip install ai-edge-litert"):
        load_backend("litert")
