"""Two exports side by side, from the flips that their reports hold."""

from pathlib import Path

import msgspec
import pytest
from builders import FLIP_SAMPLES as N
from builders import FLOAT, GOOD, accepted, flips, target_report
from commands import edgekit

from edgekit.errors import UserError
from edgekit.records import Flips, Report, TargetReport
from edgekit.report import load
from edgekit.report.model_comparison import compare_models
from edgekit.trace.paired import drop_interval


def target(name: str, found: Flips | None, metric: float) -> TargetReport:
    verdict = msgspec.structs.replace(GOOD, metric=metric, float_metric=0.9, samples=N, flips=found)
    made = target_report(accepted(FLOAT, verdict=verdict), target=name)
    return msgspec.structs.replace(made, folder=name)


def write(folder: Path, *targets: TargetReport) -> str:
    folder.mkdir()
    report = Report(
        schema_version=2,
        edgekit_version="0",
        task="t",
        created="",
        machine={},
        float_metric=0.9,
        samples=N,
        parameters=1,
        targets=targets,
    )
    load.dump(report, folder / load.NAME)
    return str(folder)


def test_samples_of_both_are_set_side_by_side(tmp_path: Path) -> None:
    """Sample 1 is lost by a, 2 gained by b, 3 lost by both (to one class), 4 answered otherwise by both, to no one's gain."""
    a = write(tmp_path / "a", target("x", flips((1, 5, -1), (3, 7, -1), (4, 2, 0)), 0.9 - 2 / N))
    b = write(tmp_path / "b", target("x", flips((2, 6, 1), (3, 7, -1), (4, 3, 0)), 0.9))
    found = compare_models(a, b)
    assert [(x.sample, x.a_class, x.b_class, x.right) for x in found.answers] == [
        (1, 5, 0, "b"),
        (2, 0, 6, "b"),
        (4, 2, 3, ""),
    ]
    assert (found.only_a, found.only_b, found.exact) == (0, 2, True)
    assert (found.low, found.high) == drop_interval(0, 2, N) and found.p_value == 0.5
    assert found.difference == pytest.approx(-2 / N) and "chance" in found.conclusion
    assert compare_models(b, a).only_a == 2


def test_the_float_model_is_one_side(tmp_path: Path) -> None:
    lost = flips(*((i, 1, -1) for i in range(12)))
    write(tmp_path / "a", target("x", lost, 0.87), target("y", None, 0.9))
    found = compare_models("float", str(tmp_path / "a" / "x"))
    assert (found.only_a, found.only_b, found.conclusion) == (12, 0, "a is better, and not by chance")
    assert (found.low, found.high) == (lost.drop_low, lost.drop_high)
    told = edgekit("compare-models", tmp_path / "a" / "x", "float").output
    assert "b is better, and not by chance" in told and "sample 11: a 1, b 0; b is right" in told
    assert "older edgekit" in compare_models(str(tmp_path / "a" / "y"), "float").conclusion


def test_what_was_not_looked_at_counts_as_changed(tmp_path: Path) -> None:
    a = write(tmp_path / "a", target("x", flips((1, 5, -1), (2, 5, None), (3, 5, None)), 0.9 - 1 / N))
    found = compare_models(a, "float")
    assert (found.only_a, found.only_b, found.exact) == (1, 2, False)


def test_exports_of_other_samples_and_of_nothing_are_refused(tmp_path: Path) -> None:
    a = write(tmp_path / "a", target("x", flips(), 0.9), target("y", flips(), 0.9))
    b = write(tmp_path / "b", target("x", flips(reference="other"), 0.9))
    with pytest.raises(UserError, match="not of one float model"):
        compare_models(f"{a}/x", b)
    with pytest.raises(UserError, match="holds 2 targets; give the folder of one"):
        compare_models(a, b)
    with pytest.raises(UserError, match="both are 'float'"):
        compare_models("float", "float")
    assert edgekit("compare-models", tmp_path / "none", "float").exit_code == 2
