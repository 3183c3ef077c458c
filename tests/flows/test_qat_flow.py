"""The ladder with training: calibrating alone refused, training accepted in the runtime; one that diverges is a refused rung."""

from pathlib import Path

import pytest
from commands import without_ladder

import edgekit as ek
from edgekit.records import TargetReport

pytestmark = pytest.mark.long

COARSE = str(Path(__file__).parents[1] / "task_files" / "coarse.py")
LADDER = """
[[ladder]]
technique = "ptq"
precision = "int8"
needs = ["calibration"]
reason = "calibrating alone"

[[ladder]]
technique = "qat"
precision = "int8"
options = { images = 6400, learning_rate = 0.001 }
needs = ["calibration", "training"]
reason = "training"

[[ladder]]
technique = "float32"
precision = "float32"
reason = "something right"

"""


def two_bits(name: str, folder: Path) -> str:
    """The profile with two-bit weights and a short ladder."""
    head = "\n".join(
        "weight_bits = 2" if line.startswith("weight_bits") else line
        for line in without_ladder(name).split("\n")
    )
    head = head.replace("avx2 = { weight_bits = 7 }", "avx2 = {}")
    path = folder / f"{name}.toml"
    path.write_text(head + LADDER)
    return str(path)


def walked(task: str, target: str, out: Path) -> TargetReport:
    budget = {"max_drop": 0.15, "min_speedup": 0.0}
    (found,) = ek.deploy(f"{COARSE}:{task}", [target], out, budget=budget).targets
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x86-server", "tflite-int8"])
def test_training_wins_back_what_calibrating_lost(name: str, tmp_path: Path) -> None:
    found = walked("task", two_bits(name, tmp_path), tmp_path / "out")
    first, chosen = found.attempts[0], found.chosen
    assert first.verdict is not None and first.verdict.drop > 0.15 and not first.decision.accepted
    assert chosen is not None and chosen.recipe.steps[0].technique == "qat"
    assert chosen.verdict is not None and chosen.candidate is not None
    figures = {figure.name: figure.value for figure in chosen.candidate.figures}
    assert chosen.verdict.metric == pytest.approx(figures["metric converted"], abs=0.02), (
        "the artifact's own figure"
    )
    assert chosen.verdict.parity.agreement is not None and not list((tmp_path / "out").rglob("checkpoint"))
    assert "conversion gap" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_a_training_that_diverges_is_a_refused_rung(tmp_path: Path) -> None:
    found = walked("nan", two_bits("x86-server", tmp_path), tmp_path / "out")
    assert [a.recipe.steps[0].technique for a in found.attempts if a.recipe.steps][:2] == ["ptq", "qat"]
    assert "the training diverged: the loss became nan after 0 steps" in (found.attempts[1].error or "")
    assert found.chosen is not None and found.chosen.recipe.precision == "float32"
