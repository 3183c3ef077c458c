"""The ladder on nets with planted trouble: refused, blamed, kept in float where needed, accepted."""

import tomllib
from pathlib import Path

import pytest
from commands import without_ladder
from edgekit_runner.host.environment import local_isa

import edgekit as ek
from edgekit.profile.reading import load_target, profile_dir
from edgekit.records import Report, TargetReport

pytestmark = pytest.mark.long

PLANTED = str(Path(__file__).parents[1] / "task_files" / "planted.py")
CULPRITS = {"spread (Conv2d)", "gather (Conv2d)"}


def shortened(name: str, folder: Path) -> str:
    """The profile with the first recipe of each technique alone."""
    entries = tomllib.loads((profile_dir() / f"{name}.toml").read_text(encoding="utf-8"))["ladder"]
    names = [entry if isinstance(entry, str) else entry["use"] for entry in entries]
    first: dict[str, str] = {}
    for rung, shared in zip(load_target(name).ladder, names, strict=True):
        first.setdefault(rung.technique, shared)
    path = folder / f"{name}.toml"
    path.write_text(f"ladder = {list(first.values())}\n{without_ladder(name)}")
    return str(path)


def walked(task: str, target: str, out: Path) -> TargetReport:
    budget = {"max_drop": 0.45, "min_speedup": 0.0}
    report: Report = ek.deploy(f"{PLANTED}:{task}", [target], out, budget=budget)
    (found,) = report.targets
    return found


@pytest.mark.parametrize("name", ["x86-server", pytest.param("tflite-int8", marks=pytest.mark.slow)])
def test_an_outlier_channel(name: str, tmp_path: Path) -> None:
    found = walked("outlier", shortened(name, tmp_path), tmp_path / "out")
    first, chosen = found.attempts[0], found.chosen
    assert first.recipe.name == "ptq(mse)" and not first.decision.accepted
    assert first.blame is not None and first.blame.degraded_layer is not None
    assert first.blame.degraded_layer.module == "spread (Conv2d)"
    assert chosen is not None and chosen.recipe.name == "mixed(mse)" and chosen.candidate is not None
    kept = {layer.origin: layer for layer in chosen.candidate.float_layers}
    assert set(kept) >= CULPRITS
    others = [kept[origin].reason for origin in set(kept) - CULPRITS]
    assert all("float is faster" in reason or "borders" in reason for reason in others), others
    assert sum(layer.macs_ratio or 1 for layer in kept.values()) < 0.1
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Layers that stay float" in page and "Layer blame" in page


@pytest.mark.slow
def test_layer_times_are_measured_where_the_target_admits_this_machine(tmp_path: Path) -> None:
    found = walked("outlier", shortened("x86-server", tmp_path), tmp_path / "out")
    assert "time layers" in [stage.stage for stage in found.attempts[1].stages]
    chosen = found.chosen
    assert chosen is not None and chosen.candidate is not None
    units = {figure.name: figure.unit for figure in chosen.candidate.figures}
    assert units["predicted cost of float"] == "s", local_isa()


def test_float16_overflow(tmp_path: Path) -> None:
    found = walked("overflow", "coreml-fp16", tmp_path / "out")
    assert [a.recipe.name for a in found.attempts] == ["fp16", "mixed_half"]
    chosen = found.chosen
    assert chosen is not None and chosen.candidate is not None and chosen.verdict is not None
    assert {layer.origin for layer in chosen.candidate.float_layers} == CULPRITS
    assert chosen.verdict.metric >= 0.95
    assert chosen.verdict.lint.ops_float > 0
