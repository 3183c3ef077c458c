"""The Pareto front, and how an explored run is shown."""

import itertools
import re

import msgspec
import pytest
from builders import FLOAT, tried

from edgekit.ladder import pareto
from edgekit.records import Artifact, Attempt, ParetoPoint, Report
from edgekit.report import html, markdown, plot, terminal
from edgekit.report.table import rows
from edgekit.report.tried import ON_FRONT
from edgekit.report.tried import tried as tried_rows

REPLACE = msgspec.structs.replace


def front(*attempts: Attempt, baseline: Artifact | None = FLOAT) -> list[str]:
    return [point.name for point in pareto.points(attempts, baseline) if point.on_front]


def test_what_is_worse_in_everything_is_not_on_the_front() -> None:
    assert front(tried("a", 1000, 0.5, 0.01), tried("b", 1100, 0.6, 0.02)) == ["a", "float file"]


def test_the_best_in_one_thing_is_on_the_front() -> None:
    small, quick, right = tried("s", 500, 0.9, 0.02), tried("q", 900, 0.3, 0.02), tried("r", 900, 0.9, -0.001)
    assert front(small, quick, right) == ["s", "q", "r"], "the float file is worse than r in everything"


def test_equals_are_both_on_the_front() -> None:
    assert front(tried("a", 1000, 0.5, 0.01), tried("b", 1000, 0.5, 0.01), baseline=None) == ["a", "b"]


def test_a_refused_artifact_is_a_point_and_a_failed_one_is_not() -> None:
    refused = tried("a", 100, 0.1, 0.5)
    failed = REPLACE(refused, artifact=None, verdict=None, measurement=None)
    assert not refused.decision.accepted
    assert front(refused, failed) == ["a", "float file"]


def test_without_a_time_the_others_decide_and_it_is_said() -> None:
    found = pareto.points((tried("a", 1000, None, 0.01), tried("b", 900, None, 0.0)), FLOAT)
    assert [(p.name, p.on_front, p.missing) for p in found] == [
        ("a", False, ("CPU time",)),
        ("b", True, ("CPU time",)),
        ("float file", False, ()),
    ]


def test_the_float_recipe_is_the_float_file() -> None:
    untouched = REPLACE(tried("float32", 4000, 1.0, 0.0), artifact=FLOAT)
    assert [(p.name, p.attempt) for p in pareto.points((untouched,), FLOAT)] == [("float32", 0)]


def test_the_front_is_exactly_what_nothing_dominates() -> None:
    """On a grid with holes: nothing on the front is beaten, and all else is beaten by something."""
    grid = itertools.product((500, 900), (0.5, 0.9), (0.0, 0.02))
    attempts = [tried(f"{i}", *figures) for i, figures in enumerate(grid) if i not in (0, 3)]
    found = pareto.points(attempts, None)
    for point in found:
        better = [other.name for other in found if _better(other, point)]
        assert point.on_front == (not better), (point, better)
    assert {p.name for p in found if p.on_front} == {"1", "2", "4"}


def _better(a: ParetoPoint, b: ParetoPoint) -> bool:
    mine, theirs = ((p.size_bytes, p.cpu_ratio, p.drop) for p in (a, b))
    return mine != theirs and all(x <= y for x, y in zip(mine, theirs, strict=True))  # type: ignore[operator]


# -- an explored run


@pytest.fixture
def explored(report: Report) -> Report:
    """Three recipes for one target; the last is shipped, the first refused, the middle one slower."""
    attempts = (
        tried("ptq(mse)", 1000, 0.4, 0.1),
        tried("fp16", 2000, 0.98, 0.0),
        tried("mixed", 1100, 0.5, 0.004),
    )
    target = REPLACE(
        report.targets[0],
        attempts=attempts,
        shipped=2,
        explored=True,
        baseline=FLOAT,
        points=pareto.points(attempts, FLOAT),
    )
    return REPLACE(report, targets=(target, *report.targets[1:]))


def test_every_recipe_is_a_row_smallest_first(explored: Report) -> None:
    assert [row.cells for row in tried_rows(explored)] == [
        (ON_FRONT, "x86-server", "ptq(mse)", "1.00 kB", "-0.1000", "0.40", "refused"),
        (ON_FRONT, "x86-server", "mixed", "1.10 kB", "-0.0040", "0.50", "shipped"),
        (ON_FRONT, "x86-server", "fp16", "2.00 kB", "±0", "0.98", "accepted"),
        ("", "x86-server", "float file", "4.00 kB", "±0", "1.00", "reference"),
    ]


def test_a_run_that_stopped_at_the_first_has_no_such_table(report: Report) -> None:
    assert tried_rows(report) == ()
    assert ON_FRONT not in terminal.text(report) + markdown.text(report) + html.page([report])


def test_names_are_no_markup_of_a_terminal(explored: Report) -> None:
    odd = REPLACE(explored.targets[0], target="[/red]")
    assert "[/red]" in terminal.text(REPLACE(explored, targets=(odd,)))


def test_terminal_and_pages_show_the_front(explored: Report) -> None:
    lines = [line.split() for line in terminal.text(explored).splitlines()]
    assert [ON_FRONT, "x86-server", "mixed", "1.10", "kB", "-0.0040", "0.50", "shipped"] in lines
    assert f"| {ON_FRONT} | x86-server | mixed | 1.10 kB | -0.0040 | 0.50 | shipped |" in markdown.text(
        explored
    )
    page = html.page([explored])
    assert len(re.findall(rf'<td data-name="[^"]+">{ON_FRONT}</td>', page)) == 2
    assert len(re.findall(rf'<td data-name="[^"]+" class="figure">{ON_FRONT}</td>', page)) == 1
    assert page.count('class="ring') == 3 and page.count("<polyline") == 1


def test_the_row_of_the_target_is_the_shipped_attempt(explored: Report) -> None:
    assert rows(explored)[0].recipe.figure == "mixed"


def test_the_plot_joins_the_front_in_the_order_of_size(explored: Report) -> None:
    drawn = plot.plot(explored)
    assert drawn is not None
    (line,) = drawn.fronts
    ringed = sorted((p.x, p.y) for p in drawn.points if p.front)
    assert line.points == " ".join(f"{x},{y}" for x, y in ringed)
    assert len(ringed) == 3
    assert plot.plot(REPLACE(explored, targets=explored.targets[1:])).fronts == ()  # type: ignore[union-attr]


def test_the_front_crosses_json(explored: Report) -> None:
    again = msgspec.json.decode(msgspec.json.encode(explored), type=Report)
    assert [p.on_front for p in again.targets[0].points] == [True, True, True, False]
