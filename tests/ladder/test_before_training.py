"""A recipe that trains is timed before it does: which file stands in for it, and what is refused."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from edgekit.errors import ConversionError
from edgekit.ladder import before_training
from edgekit.ladder.recipe_parser import parse
from edgekit.measure.comparison import unmeasured
from edgekit.records import Budget, Measurement, Recipe, Step


def recipe_of(text: str) -> Recipe:
    rung = parse(text)
    steps = tuple(Step(technique=step.technique, options=step.options) for step in rung.steps)
    return Recipe(name=text, precision=rung.precision, steps=steps)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("prune(macs=0.5) > distill > qat", ["prune", "ptq"]),
        ("prune(macs=0.5) > distill > fp16", ["prune", "fp16"]),
        ("prune(macs=0.5) > distill", ["prune"]),
        ("prune(macs=0.5) > qat", ["prune", "ptq"]),
        ("prune(macs=0.5) > ptq", None),
        ("qat", None),
        ("distill > ptq", None),
        ("prune > lottery > ptq", None),
        ("distill(student='nets.py:small') > prune > qat", None),
    ],
)
def test_what_is_as_fast_without_training(text: str, found: list[str] | None) -> None:
    recipe = before_training.untrained(recipe_of(text))
    assert (recipe and [step.technique for step in recipe.steps]) == found
    assert recipe is None or recipe.precision == recipe_of(text).precision


def timed(ratio: float) -> Measurement:
    return msgspec.structs.replace(
        unmeasured("until now"),
        on_target=True,
        measured_on="x86_64 avx2",
        cpu_ratio=ratio,
        cpu_ratio_low=0.97 * ratio,
        cpu_ratio_high=1.03 * ratio,
        rounds=40,
    )


def asked(measured: Any, text: str = "prune > distill > qat", explore: bool = False, **limits: float) -> Any:
    notes = list[str]()
    context: Any = SimpleNamespace(
        recipe=recipe_of(text),
        plan=SimpleNamespace(budget=Budget(**limits)),
        request=SimpleNamespace(explore=explore),
        note=notes.append,
        of=lambda recipe: recipe.name,
    )
    return before_training.refusal(context, measured, (ConversionError,)), notes


def test_it_is_refused_before_it_trains_where_its_file_is_too_slow() -> None:
    refused, notes = asked(lambda of: timed(0.57), min_speedup=3.0)
    assert refused is not None and not refused.accepted
    assert refused.reasons[0].startswith("not trained, which changes no time: too slow: 0.57 of float's")
    assert [shortfall.limit for shortfall in refused.shortfalls] == ["min_speedup"] and len(notes) == 1


def test_it_is_trained_where_that_may_help() -> None:
    def fails(of: str) -> Measurement:
        raise ConversionError("no such operator")

    def never(of: str) -> Measurement:
        raise AssertionError(of)

    assert asked(lambda of: timed(0.3), min_speedup=3.0)[0] is None
    assert asked(lambda of: unmeasured("no machine"), min_speedup=3.0)[0] is None
    assert asked(never)[0] is None, "no limit of time"
    assert asked(never, explore=True, min_speedup=3.0)[0] is None
    refused, notes = asked(fails, min_speedup=3.0)
    assert refused is None and "nothing is known before its training: no such operator" in notes[1]
