"""The rows: every figure with its unit and its interval or n, and nothing invented."""

import msgspec
import pytest

from edgekit.records import Attempt, Decision, Recipe, Report
from edgekit.report import text
from edgekit.report.cells import latency_cell
from edgekit.report.table import footnotes, notes, refusals, rows

REPLACE = msgspec.structs.replace


def test_rows_say_all_in_words(report: Report) -> None:
    written = [[str(cell) for cell in (row.recipe, *(cell for _, cell in row.cells))] for row in rows(report)]
    elsewhere = "on x86_64 avx2, not the target"
    apple = "not measured on the target: Core ML runs on Apple hardware only"
    assert written == [
        [
            "ptq(mse)",
            "5.16 MB (0.28 of float)",
            "0.8900 (-0.0025), n=400",
            "98.50 % n=400",
            "0.65* [0.64, 0.67], 30 rounds",
            "38.1 MB* (0.45 of float)",
        ],
        [
            "ptq(mse)",
            "5.17 MB (0.28 of float)",
            "0.8905 (-0.0020), n=400",
            "98.75 % n=400",
            f"0.98 [0.97, 1.00], 30 rounds, {elsewhere}",
            f"38.1 MB (0.45 of float), {elsewhere}",
        ],
        ["fp16", "9.32 MB (0.50 of float)", "0.8925 (±0), n=400", "99.75 % n=400", apple, apple],
        [
            "ptq(mse)",
            "5.42 MB (0.29 of float)",
            "0.4100* (-0.4825), n=400",
            "45.20 %* n=400",
            f"1.04 [1.03, 1.06], 30 rounds, {elsewhere}",
            f"38.1 MB (0.45 of float), {elsewhere}",
        ],
    ]


def test_verdicts_and_reasons(report: Report) -> None:
    assert [(row.target, row.verdict, row.precision) for row in rows(report)] == [
        ("x86-server", "accepted", "int8"),
        ("arm-mobile", "accepted", "int8"),
        ("coreml-fp16", "accepted", "float16"),
        ("tflite-int8", "refused", "int8"),
    ]
    assert rows(report)[0].why == "metric within budget; 1.54 times as fast as float"
    assert rows(report)[3].why == (
        "all 2 recipes refused; ptq(mse): metric fell by 0.4825, allowed is 0.0050"
    )


def test_every_refused_recipe_has_its_reason_but_for_that_of_the_row(report: Report) -> None:
    assert [(item.target, item.recipes, item.why) for item in refusals(report)] == [
        ("x86-server", ("ptq(minmax)",), "metric fell by 0.0310, allowed is 0.0050"),
        (
            "tflite-int8",
            ("ptq(moving_average)",),
            "the export failed; litert-torch cannot lower aten.roll from block.3",
        ),
    ]


def test_footnotes_hold_reasons_and_doubts(report: Report) -> None:
    assert footnotes(rows(report)) == (
        "coreml-fp16: CPU time / float and Peak memory not measured: Core ML runs on Apple hardware only",
        "* x86-server: CPU time / float and Peak memory: 2 of 30 rounds ran beside another job",
        "* tflite-int8: Metric and Agreement: scored on 400 of 500 samples",
    )


def test_what_is_doubted_of_a_refused_recipe_is_told(report: Report) -> None:
    target = report.targets[0]
    refused = next(attempt for attempt in target.attempts if not attempt.decision.accepted)
    assert refused.candidate is not None
    odd = REPLACE(refused, candidate=REPLACE(refused.candidate, doubts=("calibration met NaN",)))
    attempts = tuple(odd if attempt is refused else attempt for attempt in target.attempts)
    changed = REPLACE(report, targets=(REPLACE(target, attempts=attempts), *report.targets[1:]))
    added = set(notes(changed, rows(changed))) - set(notes(report, rows(report)))
    assert added == {"* x86-server: ptq(minmax): calibration met NaN"}


def test_a_figure_of_another_machine_is_never_plain(report: Report) -> None:
    for row in rows(report)[1:]:
        for _, cell in row.cells[3:]:
            assert cell.state != "measured"
            assert "target" in cell.note


def test_a_failed_attempt_has_no_figures(report: Report) -> None:
    failed = Attempt(
        recipe=Recipe(name="fp16", precision="float16", steps=()),
        decision=Decision(accepted=False, reasons=()),
        error="the converter died",
    )
    target = REPLACE(report.targets[3], attempts=(failed,))
    (row,) = rows(REPLACE(report, targets=(target,)))
    assert {str(cell) for _, cell in row.cells} == {"not measured: the converter died"}
    assert row.why == "the converter died"


def test_a_target_without_attempts_says_why(report: Report) -> None:
    target = REPLACE(report.targets[3], attempts=(), summary="")
    (row,) = rows(REPLACE(report, targets=(target,)))
    assert row.why == "no recipe was tried (qat: no training data in the task)"
    assert {str(cell) for _, cell in row.cells} == {"not measured: no recipe was tried"}


def test_no_agreement_without_classes(report: Report) -> None:
    attempt = report.targets[1].attempts[0]
    assert attempt.verdict is not None
    parity = REPLACE(attempt.verdict.parity, agreement=None)
    changed = REPLACE(attempt, verdict=REPLACE(attempt.verdict, parity=parity))
    target = REPLACE(report.targets[1], attempts=(changed,), baseline=None)
    (row,) = rows(REPLACE(report, targets=(target,)))
    assert str(row.agreement) == "not measured: the first output holds no class scores"
    assert str(row.size) == "5.17 MB (no float file to compare)"


def test_latency_without_a_measurement_or_interval(report: Report) -> None:
    assert str(latency_cell(None, "no device")) == "not measured: no device"
    found = report.targets[0].attempts[1].measurement
    assert found is not None
    bare = REPLACE(found, cpu_ratio_low=None, doubts=())
    assert str(latency_cell(bare, "")) == "0.65 without an interval, 30 rounds"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (text.size(999), "999 bytes"),
        (text.size(1_500), "1.50 kB"),
        (text.size(372_000_000), "372 MB"),
        (text.seconds(0.00031), "310 µs"),
        (text.seconds(1234.0), "1234 s"),
        (text.change(-0.00001), "-1.0e-05"),
        (text.change(0.0025), "+0.0025"),
        (text.share(0.999999), "below 100 %"),
        (text.share(1.0), "100.00 %"),
        (text.number(25.0), "25"),
        (text.number(0.00012), "0.00012"),
        (text.times(0.004), "0.004"),
    ],
)
def test_numbers(written: str, expected: str) -> None:
    assert written == expected


def test_all_limits_of_a_budget(report: Report) -> None:
    assert report.budget is not None
    budget = REPLACE(report.budget, max_size_bytes=6_000_000, max_latency_s=0.02, max_memory_bytes=64_000_000)
    assert text.budget(budget) == (
        "metric drop at most 0.005",
        "at least 1.00 times as fast as float",
        "size at most 6.00 MB",
        "latency at most 20 ms",
        "peak memory at most 64.0 MB",
    )
