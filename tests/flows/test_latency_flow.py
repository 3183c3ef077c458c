"""Pruning for latency through the whole flow: a table is measured, widths are chosen, the result is timed, the gate decides."""

from pathlib import Path

import pytest
from edgekit_runner.host.environment import local_isa

import edgekit as ek
from edgekit.engine.machine import machine_facts
from edgekit.profile.reading import load_target
from edgekit.records import TargetReport

WIDE = str(Path(__file__).parents[1] / "task_files" / "wide.py")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        not load_target("x86-server").admits(machine_facts()["machine"], local_isa()),
        reason="this machine is none of x86-server's: nothing is measured",
    ),
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "edgekit" / "width-tables"


def walked(out: Path, *recipes: str, **budget: float) -> TargetReport:
    asked = {"max_drop": 0.9, "min_speedup": 0.0, **budget}
    report = ek.deploy(f"{WIDE}:task", ["x86-server"], out, budget=asked, recipes=recipes, explore=True)
    return report.targets[0]


@pytest.mark.slow
def test_a_network_is_cut_to_the_time_that_is_asked_for(tmp_path: Path, own_cache: Path) -> None:
    found = walked(tmp_path / "out", "prune(scope=latency, speedup=1.5, multiple=32)")
    (attempt,) = found.attempts
    assert attempt.error is None and attempt.candidate is not None and attempt.measurement is not None
    stages = [stage.stage for stage in attempt.stages]
    assert (
        stages.index("files of widths")
        < stages.index("time widths")
        < stages.index("prune")
        < stages.index("time plan")
        < stages.index("measure")
    )
    figures = {figure.name: figure.value for figure in attempt.candidate.figures}
    assert figures["time asked for"] == pytest.approx(1 / 1.5, rel=0.05)
    assert figures["floor"] <= figures["predicted time"] <= figures["time asked for"] * 1.001
    assert figures["entries measured"] > 0 and figures["groups of channels"] == 2
    assert attempt.measurement.cpu_ratio is not None and attempt.measurement.cpu_ratio < 0.9
    assert len(list(own_cache.iterdir())) == 1


@pytest.mark.slow
def test_what_cannot_be_is_a_refused_rung_with_its_sentence(tmp_path: Path) -> None:
    found = walked(
        tmp_path / "out",
        "prune(scope=latency, speedup=50, multiple=32)",
        "prune(scope=latency, multiple=32)",
        "float32",
    )
    floor, nothing, last = found.attempts
    assert floor.error is not None and "is below the floor" in floor.error
    assert nothing.error is not None and "there is nothing to prune for" in nothing.error
    assert last.decision.accepted
