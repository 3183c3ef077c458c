"""Where the time went: each stage once, the slowest first, what was reused at the end and without a share."""

import msgspec

from edgekit.records import Report, StageTime
from edgekit.report import timings


def with_times(report: Report, first: list[StageTime], second: list[StageTime]) -> Report:
    """The report with these stages as those of its first two targets' first attempts."""
    targets = []
    for target, times in zip(report.targets[:2], (first, second), strict=True):
        stages = [times, *[[]] * (len(target.attempts) - 1)]
        attempts = [
            msgspec.structs.replace(attempt, stages=tuple(own))
            for attempt, own in zip(target.attempts, stages, strict=True)
        ]
        targets.append(msgspec.structs.replace(target, attempts=tuple(attempts)))
    trace = StageTime(stage="trace", wall_s=10.0, cpu_s=8.0)
    return msgspec.structs.replace(report, targets=tuple(targets), stages=(trace,))


def test_each_stage_once_the_slowest_first(report: Report) -> None:
    shared = StageTime(stage="export float32 onnx", wall_s=4.0)
    slow, reused = (
        StageTime(stage="verify", wall_s=6.0),
        StageTime(stage="ptq", wall_s=90.0, reused=True),
    )
    rows = timings.timed(with_times(report, [shared, slow], [shared, reused]))
    assert [(row.time.stage, row.share) for row in rows] == [
        ("trace", 0.5), ("verify", 0.3), ("export float32 onnx", 0.2), ("ptq", 0.0),
    ]  # fmt: skip
    assert [row.target for row in rows][:3] == ["", report.targets[0].target, ""]


def test_the_table_in_words(report: Report) -> None:
    many = [StageTime(stage=f"s{i}", wall_s=1.0) for i in range(20)]
    lines = timings.lines(with_times(report, many, [StageTime(stage="ptq", wall_s=90.0, reused=True)]))
    assert lines[0] == "stages run: 21, 30 s of wall time side by side; reused: 1"
    assert lines[1] == "   33%      10 s wall, 8 s CPU  all targets: trace"
    assert lines[-1] == "             9 s wall  9 more"


def test_a_run_that_did_nothing_itself(report: Report) -> None:
    only = [StageTime(stage="ptq", wall_s=90.0, reused=True)]
    found = msgspec.structs.replace(with_times(report, only, []), stages=())
    assert timings.lines(found) == ["stages run: 0; reused: 1"]
