"""A cut to measured widths: timed after it is made, and made once more where it missed; without a machine, with the reason."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edgekit.engine.catalogue import Stage
from edgekit.engine.measure_specs import PlanTime, WidthFiles, WidthTableSpec
from edgekit.engine.task_source import TaskSource
from edgekit.ladder import timed_pruning
from edgekit.ladder.timed_pruning import LatencyPruning
from edgekit.profile.reading import load_target
from edgekit.records import Candidate, Figure, Recipe, Record, Step, WidthTable

RECIPE = Recipe(name="prune", precision="float32", steps=())
TABLE = WidthTable(conditions={}, rows=(), base_s=1.0, float_s=1.0)


class RecipeContext:
    """Its stages answer at once; `share` is what the timed networks take."""

    def __init__(self, share: float, reason: str = "") -> None:
        self.target, self.recipe = load_target("x86-server"), RECIPE
        self.plan = SimpleNamespace(isa="avx2")
        self.request = SimpleNamespace(source=TaskSource(name="t", reference="t.py:t"), host_isa="avx2")
        self.share, self.reason = share, reason
        self.specs: list[WidthTableSpec] = []
        self.stages: list[str] = []
        self.notes: list[str] = []

    def run(self, stage: Stage[Any, Any], spec: Callable[[Path], Record], *, label: str) -> Any:
        made = spec(Path("work"))
        assert isinstance(made, WidthTableSpec)
        self.specs.append(made)
        self.stages.append(label)
        assert stage.alone == (label in ("time widths", "time plan"))
        return {
            WidthFiles: WidthFiles(whole=(), conditions={}, reason=self.reason),
            WidthTable: TABLE,
            PlanTime: PlanTime(pruned_s=self.share * 2, base_s=2.0),
        }[stage.result]

    def note(self, message: str) -> None:
        self.notes.append(message)


class Cut:
    """Makes candidates that foretell .72 where .75 is asked for."""

    def __init__(self) -> None:
        self.tables: list[WidthTable] = []

    def __call__(self, table: WidthTable) -> Candidate:
        self.tables.append(table)
        figures = (
            Figure(step="prune", name="predicted time", value=0.72, unit="ratio"),
            Figure(step="prune", name="time asked for", value=0.75, unit="ratio"),
        )
        return Candidate(program=f"cut {len(self.tables)}", recipe=RECIPE, figures=figures)


@pytest.fixture(autouse=True)
def x86(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_pruning, "machine", lambda: "x86_64")


def cut_on(context: RecipeContext, cut: Cut, **options: Any) -> Candidate:
    step = Step(technique="prune", options={"scope": "latency", **options})
    return LatencyPruning(context, Candidate(program="whole", recipe=RECIPE), step).run(cut)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.6, 0.75, 0.76])
def test_what_takes_the_time_asked_for_is_kept(share: float) -> None:
    context, cut = RecipeContext(share), Cut()
    assert cut_on(context, cut).program == "cut 1"
    assert context.stages == ["files of widths", "time widths", "time plan"]
    assert cut.tables == [TABLE] and context.notes == []
    assert context.specs[-1].pruned is not None and context.specs[-1].pruned.program == "cut 1"


def test_what_misses_is_cut_once_more_to_less() -> None:
    context, cut = RecipeContext(0.81), Cut()
    assert cut_on(context, cut).program == "cut 2"
    assert cut.tables[1].correction == pytest.approx(0.81 / 0.72)
    assert msgspec.structs.replace(cut.tables[1], correction=1.0) == TABLE
    assert context.stages.count("time plan") == 1  # the measure stage tells of the second
    assert context.notes == ["prune: takes 0.810 of the time, 0.750 was asked; widths are chosen again"]


def test_a_machine_of_another_target_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_pruning, "machine", lambda: "aarch64")
    context, cut = RecipeContext(0.5), Cut()
    cut_on(context, cut)
    assert context.stages == [] and "is not one of x86-server's; give device" in cut.tables[0].reason


def test_a_device_is_asked_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timed_pruning, "machine", lambda: "arm64")
    context, cut = RecipeContext(0.5), Cut()
    cut_on(context, cut, device="ssh:me@server")
    assert {spec.device for spec in context.specs} == {"ssh:me@server"}


def test_a_device_of_another_target_gives_its_reason() -> None:
    context, cut = RecipeContext(0.5, reason="ssh:pi is a aarch64"), Cut()
    cut_on(context, cut, device="ssh:pi")
    assert cut.tables[0].reason == "ssh:pi is a aarch64" and context.stages == ["files of widths"]
