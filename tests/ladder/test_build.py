"""What a recipe's steps are run on: in the order written, each on what the one before it left."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from builders import TRACED

from edgekit import technique
from edgekit.engine.catalogue import Stage
from edgekit.engine.specs import CompressSpec
from edgekit.engine.task_source import TaskSource
from edgekit.ladder.build import ArtifactBuilder
from edgekit.ladder.planner import plan
from edgekit.ladder.recipe_parser import with_recipes
from edgekit.profile.reading import load_target
from edgekit.records import Candidate, Record

FACTS = TRACED.facts


class Context:
    """A RecipeContext whose stages only note what they were asked."""

    def __init__(self, recipe: str, target: str) -> None:
        self.target = with_recipes(load_target(target), [recipe])
        self.plan = plan(FACTS, self.target)
        (self.recipe,) = self.plan.recipes
        source = TaskSource(name="t", reference="t.py:task")
        self.request = SimpleNamespace(traced=TRACED, seed=0, source=source, host_isa="avx2")
        self.executed: list[
            tuple[str, str, bool]
        ] = []  # technique, program that it worked on, for all targets
        self.stages = SimpleNamespace(once=lambda key, make: make(), observed="observed")

    def run(
        self,
        stage: Stage[Any, Any],
        spec: Callable[[Path], Record],
        *,
        label: str = "",
        name: str = "",
        shared: bool = False,
    ) -> Candidate:
        asked = spec(Path("work"))
        assert isinstance(asked, CompressSpec)
        assert (asked.context.target is None) == shared, "what targets share knows of none"
        self.executed.append((asked.step.technique, asked.candidate.program, shared))
        program = f"{asked.candidate.program}+{asked.step.technique}"
        return msgspec.structs.replace(asked.candidate, program=program)


def built(recipe: str, target: str = "x86-server") -> tuple[Context, ArtifactBuilder, Candidate]:
    context = Context(recipe, target)
    builder = ArtifactBuilder(context, None)  # type: ignore[arg-type]
    return context, builder, builder.candidate()


@pytest.fixture
def nudge(monkeypatch: pytest.MonkeyPatch) -> None:
    """A technique added by the guide: a file, and a row."""
    rows = {**technique.TECHNIQUES, "nudge": technique.Technique(name="nudge")}
    monkeypatch.setattr(technique, "TECHNIQUES", rows)
    monkeypatch.setattr("edgekit.ladder.recipe_parser.TECHNIQUES", rows)
    monkeypatch.setattr("edgekit.target.TECHNIQUES", rows)
    monkeypatch.setattr("edgekit.ladder.planner.TECHNIQUES", rows)


@pytest.mark.usefixtures("nudge")
def test_a_technique_of_ones_own_runs_where_it_is_written() -> None:
    context, _, candidate = built("prune > nudge > distill > ptq")
    assert context.recipe.name == "prune > nudge > distill > ptq"
    assert [name for name, _, _ in context.executed] == ["prune", "nudge", "distill", "ptq"]
    assert candidate.program == "float+prune+nudge+distill+ptq"


def test_each_step_works_on_what_the_one_before_left_and_float_is_what_integers_are_made_of() -> None:
    context, builder, candidate = built("prune > distill > qat")
    assert context.executed == [
        ("prune", "float", True),
        ("distill", "float+prune", True),
        ("qat", "float+prune+distill", False),
    ]
    assert builder.float_program == "float+prune+distill"
    assert candidate.recipe == context.recipe and candidate.quant is not None


def test_what_the_exporter_does_runs_no_stage() -> None:
    context, _, candidate = built("sparsify > fp16", "coreml-fp16")
    assert [name for name, _, _ in context.executed] == ["sparsify"]
    assert candidate.recipe == context.recipe and candidate.quant is None
