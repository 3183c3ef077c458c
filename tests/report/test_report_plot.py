"""The geometry of the plot: what is drawn where, filled or hollow, and what is not drawn."""

import msgspec
import pytest

from edgekit.records import Report
from edgekit.report.drawing import Plot
from edgekit.report.plot import _nice, plot

REPLACE = msgspec.structs.replace


@pytest.fixture
def drawn(report: Report) -> Plot:
    found = plot(report)
    assert found is not None
    return found


def test_points(drawn: Plot) -> None:
    assert [(point.kind, point.off_scale) for point in drawn.points] == [
        ("refused", False),
        ("accepted", False),
        ("accepted", False),
        ("accepted", False),
        ("refused", True),
        ("float", False),
        ("float", False),
        ("float", False),
    ]
    assert drawn.points[0].title == (
        "x86-server, ptq(minmax): 5.16 MB, 0.8615, refused: metric fell by 0.0310, allowed is 0.0050"
    )
    assert drawn.points[5].title == "float model as onnx: 18.6 MB, 0.8925"
    for point in drawn.points:
        assert drawn.left <= point.x <= drawn.right
        assert drawn.top <= point.y <= drawn.bottom


def test_budget_line_lies_between_accepted_and_refused(drawn: Plot) -> None:
    (budget,) = [line for line in drawn.lines if line.kind == "budget"]
    assert budget.label == "budget: at least 0.8875"
    for point in drawn.points:
        assert (point.y > budget.at) == (point.kind == "refused")


def test_budgets_of_profiles_and_sizes(report: Report) -> None:
    own = REPLACE(report.targets[0].plan.budget, max_drop=0.02, max_size_bytes=6_000_000)
    first = REPLACE(report.targets[0], plan=REPLACE(report.targets[0].plan, budget=own))
    found = plot(REPLACE(report, budget=None, targets=(first, *report.targets[1:])))
    assert found is not None
    assert [line.label for line in found.lines] == [
        "float model",
        "budget: at least 0.8725 (x86-server)",
        "budget: at most 6.00 MB (x86-server)",
        "budget: at least 0.8875 (arm-mobile, coreml-fp16, tflite-int8)",
    ]


def test_what_has_no_figures_is_named(drawn: Plot) -> None:
    assert drawn.left_out == (
        "tflite-int8, ptq(moving_average): "
        "the export failed; litert-torch cannot lower aten.roll from block.3",
    )


def test_points_on_one_spot_share_a_label(drawn: Plot) -> None:
    assert [label.words for label in drawn.labels] == ["1", "2, 3", "4", "5", "6, 7, 8"]


def test_one_artifact_equal_to_float_still_has_a_scale(report: Report) -> None:
    target = REPLACE(report.targets[2], baseline=None)
    assert report.budget is not None
    budget = REPLACE(report.budget, max_drop=0.0)
    found = plot(REPLACE(report, targets=(target,), budget=budget))
    assert found is not None
    assert len(found.points) == 1
    assert len({tick.label for tick in found.y_ticks}) == len(found.y_ticks) > 0


def test_ticks_are_round() -> None:
    assert _nice(0, 20.2) == [0, 5, 10, 15, 20]
    assert _nice(0.8477, 0.8973) == [0.85, 0.86, 0.87, 0.88, 0.89]
