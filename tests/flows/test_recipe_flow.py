"""Recipes of several steps, end to end: a pruned net that learned from the whole one, proven on every target."""

from pathlib import Path

import pytest

import edgekit as ek
from edgekit.engine.events import Event
from edgekit.errors import UserError

pytestmark = pytest.mark.long

COARSE = str(Path(__file__).parents[1] / "task_files" / "coarse.py")
SMALLER = "prune(macs=0.6, recalibrate=256) > distill(images=3200, learning_rate=0.003)"
TARGETS = ("x86-server", "tflite-int8", "coreml-fp16")
BUDGET = {"max_drop": 0.2, "min_speedup": 0.0}


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[ek.Report, list[Event], Path]:
    events: list[Event] = []
    out = tmp_path_factory.mktemp("recipe") / "out"
    asked = [f"{SMALLER} > ptq", f"{SMALLER} > fp16"]
    report = ek.deploy(f"{COARSE}:task", TARGETS, out, budget=BUDGET, recipes=asked, on_event=events.append)
    return report, events, out


def test_every_target_gets_the_smaller_net_proven(walked: tuple[ek.Report, list[Event], Path]) -> None:
    report, _, out = walked
    for target in report.targets:
        chosen = target.chosen
        assert chosen is not None and chosen.verdict is not None and chosen.candidate is not None, (
            target.summary
        )
        last = "fp16" if target.target == "coreml-fp16" else "ptq"
        assert [step.technique for step in chosen.recipe.steps] == ["prune", "distill", last]
        figures = {(f.step, f.name): f.value for f in chosen.candidate.figures}
        assert 0.4 < figures["prune", "MACs kept"] < 0.8
        assert figures["distill", "metric after"] > figures["prune", "metric before recalibration"]
        assert chosen.verdict.metric == pytest.approx(figures["distill", "metric after"], abs=0.03)
        assert (out / target.target / "manifest.json").is_file()
    page = (out / "report.html").read_text()
    assert "MACs kept" in page and "metric after" in page


def test_what_knows_no_target_is_done_once(walked: tuple[ek.Report, list[Event], Path]) -> None:
    done = [(event.target, event.stage) for event in walked[1] if event.state == "done"]
    assert done.count(("", "prune")) == 1 and done.count(("", "distill")) == 1
    assert not [stage for target, stage in done if target and stage in ("prune", "distill")]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("prune(macs=1.5) > ptq", "macs is 1.5; allowed: above 0, at most 1"),
        pytest.param("prune(ignore=1.weight) > ptq", "1.weight", marks=pytest.mark.slow),
        ("prune(ratio=0.5) > ptq", "allowed options: macs"),
        ("distill(features='0=nothing:hint') > ptq", "nothing"),
        pytest.param(
            "distill(teachers=before) > ptq", "no step before this one pruned", marks=pytest.mark.slow
        ),
    ],
)
def test_what_a_recipe_cannot_ask_for(recipe: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        ek.deploy(f"{COARSE}:task", ["x86-server"], tmp_path / "out", budget=BUDGET, recipes=[recipe])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_student_that_diverges_is_a_refused_rung(tmp_path: Path) -> None:
    report = ek.deploy(
        f"{COARSE}:nan",
        ["x86-server"],
        tmp_path / "out",
        budget=BUDGET,
        recipes=["distill(images=320, alpha=0.5) > ptq", "ptq"],
    )
    first, second = report.targets[0].attempts
    assert "diverged" in (first.error or "") or "finite loss" in (first.error or "")
    assert second.decision.accepted


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (
            "prune(mcas=0.5) > ptq",
            r"prune has no option 'mcas'; did you mean 'macs'\? allowed options: macs, depth",
        ),
        ("prune(macs=0) > ptq", r"macs is 0; allowed: above 0"),
        ("fp16(images=3)", "fp16 has no option 'images'; allowed options: none"),
    ],
)
def test_options_are_checked_before_any_work(tmp_path: Path, recipe: str, message: str) -> None:
    events: list[Event] = []
    with pytest.raises(UserError, match=message):
        ek.deploy(f"{COARSE}:task", TARGETS, tmp_path / "out", recipes=[recipe], on_event=events.append)
    assert events == []
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_would_be_too_slow_is_not_trained(tmp_path: Path) -> None:
    events: list[Event] = []
    report = ek.deploy(
        f"{COARSE}:task",
        ["x86-server"],
        tmp_path / "out",
        budget={**BUDGET, "min_speedup": 50.0},
        recipes=["prune(macs=0.6, recalibrate=256) > distill(images=3200) > qat(images=3200)"],
        on_event=events.append,
    )
    (attempt,) = report.targets[0].attempts
    seen = {event.stage for event in events}  # the pruning may be another test's, and is reused then
    assert attempt.decision.reasons[0].startswith("not trained, which changes no time: too slow")
    assert attempt.artifact is None and "prune" in seen and not {"distill", "qat"} & seen
