"""What explain says: layers by their shares, what would win, and what nobody measured."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from builders import tried
from commands import edgekit

from edgekit.ladder import pareto
from edgekit.records import (
    Attempt,
    Budget,
    Candidate,
    FloatLayer,
    LayerCost,
    Recipe,
    Report,
    TargetReport,
)
from edgekit.report import explained, html, load
from edgekit.report.explanation import Explanation, explanation, explanations

REPLACE = msgspec.structs.replace
FIRST = LayerCost(name="a", origin="stem (Conv2d)", macs=100, weights=10)
WIDE = LayerCost(name="b", origin="body (Conv2d)", macs=300, weights=30)
HEAD = LayerCost(name="c", origin="head (Linear)", macs=600, weights=160)
MODEL = (FIRST, WIDE, HEAD)
MEASURED = (
    REPLACE(FIRST, noise_ratio=1e-3, int8_s=30e-6, float_s=20e-6),
    REPLACE(WIDE, noise_ratio=8e-3, int8_s=60e-6, float_s=90e-6),
    REPLACE(HEAD, noise_ratio=1e-3, int8_s=10e-6, float_s=12e-6, is_float=True),
)


def made(attempt: Attempt, layers: tuple[LayerCost, ...] = (), floats: tuple[str, ...] = ()) -> Attempt:
    kept = tuple(FloatLayer(name=o, origin=o, macs_ratio=None, reason="loud") for o in floats)
    recipe: Recipe = attempt.recipe
    return REPLACE(attempt, candidate=Candidate(program="", recipe=recipe, layers=layers, float_layers=kept))


def report(folder: Path, report: Report, *attempts: Attempt, shipped: int) -> Report:
    """The x86 target of the shared report, with other attempts; on disk too."""
    given: TargetReport = report.targets[0]
    plan = REPLACE(
        given.plan,
        recipes=(*(a.recipe for a in attempts), Recipe(name="distill", precision="int8", steps=())),
    )
    target = REPLACE(
        given,
        attempts=attempts,
        shipped=shipped,
        plan=plan,
        points=pareto.points(attempts, None),
    )
    found = REPLACE(report, targets=(target,), layers=MODEL)
    load.dump(found, folder / load.NAME)
    return found


@pytest.fixture
def walked(report: Report, tmp_path: Path) -> Explanation:
    return explanation(_walked(tmp_path, report).targets[0], _walked(tmp_path, report))


def _walked(folder: Path, given: Report) -> Report:
    mixed = made(tried("mixed", 1100, 0.7, 0.002), MEASURED, ("head (Linear)",))
    return report(folder, given, made(tried("ptq", 1000, 0.6, 0.05)), mixed, shipped=1)


def test_shares_of_work_stored_numbers_time_and_noise(walked: Explanation) -> None:
    assert (walked.recipe, walked.measured_by) == ("mixed", "mixed")
    assert [row.work for row in walked.layers] == pytest.approx([0.1, 0.3, 0.6])
    assert [row.stored for row in walked.layers] == pytest.approx([0.05, 0.15, 0.8])
    assert [row.noise for row in walked.layers] == pytest.approx([0.1, 0.8, 0.1])
    assert [row.time for row in walked.layers] == pytest.approx([30 / 102, 60 / 102, 12 / 102])
    assert [row.is_float for row in walked.layers] == [False, False, True]
    assert walked.layers[0].snr_db == pytest.approx(30.0)


def test_wins_are_measured_predicted_or_not_known(walked: Explanation) -> None:
    measured, slower, loud, untried = walked.wins
    assert measured.startswith(
        "ptq would win 9% of the size and 14% of the CPU time; it costs 0.0480 of the metric; refused: "
    )
    assert "1 layer slower in integers than in float, 11% of the layers' time" in slower
    assert "skip='stem'" in slower
    assert "body (Conv2d) makes 80% of the noise of integers with 30.0% of the work" in loud
    assert untried == "not tried, so not known: distill; edgekit export ... --explore tries every recipe"


def test_what_was_not_measured_is_said_with_what_measures_it(report: Report, tmp_path: Path) -> None:
    plain = _plain(tmp_path, report, measurement=None)
    (found,) = explanations(plain)
    assert not found.measured_by and all(row.time is row.noise is None for row in found.layers)
    told = "\n".join(found.missing)
    assert "time of each layer: not measured; edgekit export ... --explore measures it" in told
    assert "noise of each layer: not measured" in told and "interval of the drop" in told
    assert "time of the file" in told and "--device" in told
    assert [row.work for row in found.layers] == pytest.approx([0.1, 0.3, 0.6])


def _plain(folder: Path, given: Report, **changed: Any) -> Report:
    attempt = REPLACE(made(tried("ptq", 1000, 0.6, 0.001, Budget())), **changed)
    return report(folder, given, attempt, shipped=0)


def test_the_command(report: Report, tmp_path: Path) -> None:
    _walked(tmp_path, report)
    told = edgekit("explain", tmp_path).output
    assert "x86-server: mixed, shipped" in told and "head (Linear)" in told and "next: ptq would win" in told
    assert told == "".join(f"{line}\n" for line in explained.lines(explanations(load.read(tmp_path))[0]))
    data = msgspec.json.decode(edgekit("explain", tmp_path, "--json", "-t", "x86-server").output)
    assert data[0]["layers"][1]["noise"] == pytest.approx(0.8)
    refused = edgekit("explain", tmp_path, "-t", "arm")
    assert refused.exit_code == 2 and "no target 'arm'; it has x86-server" in refused.output


def test_the_page_maps_the_layers(report: Report, tmp_path: Path) -> None:
    page = html.page([_walked(tmp_path, report)])
    assert page.count("the 3 foremost of 3") == 1
    assert (
        "body (Conv2d), int8: 30.0% of multiply-accumulates, 15.0% of stored numbers, 58.8% of the layers&#39; time, "
        "80.0% of noise in integers; alone" in page
    )
    assert "head (Linear), float32: " in page and "float32: 1 layer, 60.0% of multiply-accumulates" in page
    plain = html.page([_plain(tmp_path, report)])
    assert "int8: 3 layers, 100.0% of multiply-accumulates" in plain and "of noise in integers" not in plain
