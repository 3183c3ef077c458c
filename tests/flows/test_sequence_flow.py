"""Sequence models through the whole flow: the LSTM by dynamic quantization, the transformer by calibrated integers."""

from pathlib import Path

import pytest

import edgekit as ek
from edgekit.records import Report, TargetReport

pytestmark = pytest.mark.long

SEQUENCES = str(Path(__file__).parents[1] / "task_files" / "sequences.py")
BUDGET = {"max_drop": 0.3, "min_speedup": 0.0}


@pytest.fixture(scope="module")
def lstm(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    out = tmp_path_factory.mktemp("lstm") / "out"
    targets = ["x86-server", "tflite-int8", "arm-mobile"]
    return ek.deploy(f"{SEQUENCES}:lstm", targets, out, budget=BUDGET), out


@pytest.mark.slow
def test_an_lstm_is_quantized_dynamically_on_every_integer_target(lstm: tuple[Report, Path]) -> None:
    for found in lstm[0].targets:
        (attempt,) = found.attempts
        assert attempt.recipe.name == "dynamic" and found.accepted, found.summary
        assert attempt.artifact is not None and attempt.artifact.scheme == "dynamic"
        assert attempt.verdict is not None and attempt.verdict.lint.passed
        assert {s.technique for s in found.plan.skipped} >= {"ptq(mse)", "mixed(mse)"}


@pytest.mark.slow
def test_what_runs_in_integers(lstm: tuple[Report, Path]) -> None:
    ops = {found.target: _ops(found) for found in lstm[0].targets}
    assert ops["x86-server"]["DynamicQuantizeLSTM:uint8"] == 1
    assert ops["tflite-int8"]["FULLY_CONNECTED:hybrid"] > 8


@pytest.mark.slow
def test_seven_bit_weights_cannot_saturate_and_eight_are_for_arm(lstm: tuple[Report, Path]) -> None:
    found = {t.target: t.attempts[0].verdict for t in lstm[0].targets}
    x86, arm = found["x86-server"], found["arm-mobile"]
    assert x86 is not None and x86.saturation is not None and x86.saturation.bound_holds
    assert arm is not None and arm.saturation is not None and not arm.saturation.bound_holds
    assert not arm.saturation.can_saturate


@pytest.mark.slow
def test_the_report_names_it(lstm: tuple[Report, Path]) -> None:
    page = (lstm[1] / "report.html").read_text()
    assert "ranged at run time" in page
    assert "calibrated integers do not reach into recurrent cells" in page


def _ops(found: TargetReport) -> dict[str, int]:
    verdict = found.attempts[0].verdict
    assert verdict is not None
    return verdict.lint.ops


@pytest.mark.parametrize("target", ["x86-server", pytest.param("tflite-int8", marks=pytest.mark.slow)])
def test_a_transformer_of_tokens_takes_calibrated_integers(target: str, tmp_path: Path) -> None:
    report = ek.deploy(f"{SEQUENCES}:attention", [target], tmp_path / "out", budget=BUDGET)
    (found,) = report.targets
    assert found.chosen is not None and found.chosen.recipe.name == "ptq(mse)", found.summary
    layers = {
        op for op in _ops(found) if op.startswith(("QGemm", "QLinearMatMul", "FULLY_CONNECTED:int8->int8"))
    }
    assert layers, _ops(found)
    (dtype,) = {spec.dtype for spec in found.chosen.artifact.inputs} if found.chosen.artifact else {""}
    assert dtype in ("int64", "int32")
