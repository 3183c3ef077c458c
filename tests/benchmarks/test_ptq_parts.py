"""Parts of the comparison with peers: the task and its samples, what a stage costs, the table."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import edgekit as ek

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import peers
import ptq_task
from peers import _stage, _table
from peers._records import Job, Result, Results, Row, Score, Settings, StageRun, Timing
from peers._samples import Samples

from edgekit.engine.task_source import TaskSource
from edgekit.records import Artifact, Parity, TaskFacts, Traced


def test_the_task_takes_as_many_samples_as_it_was_told() -> None:
    task = ptq_task.task("digits", calibrate=25)
    samples = list(Samples(task, ["x"], "NHWC"))
    assert len(samples) == 25
    assert samples[0]["x"].shape == (1, 32, 32, 1)
    whole = np.concatenate([np.asarray(batch[0]) for batch in task.calibration or ()])
    assert np.array_equal(samples[24]["x"][0, :, :, 0], whole[24, 0])


def test_a_task_that_cannot_be_is_refused() -> None:
    with pytest.raises(
        ek.TaskError, match=r"unknown model 'lite9'; allowed: lite0, digits, torchvision:NAME"
    ):
        ptq_task.task("lite9")
    with pytest.raises(ek.TaskError, match="calibrate=0, score=400; each must be at least 1"):
        ptq_task.task("digits", calibrate=0)


def job(tmp_path: Path) -> Job:
    facts = TaskFacts(name="digits", calibration=True, training=True)
    traced = Traced(
        facts=facts, preprocessing=ek.Preprocessing(), program="", predictions="", samples_file="", inputs=(),
        outputs=(), metric=1.0, samples=1, parameters=1,
    )  # fmt: skip
    artifact = Artifact(
        path="", format="onnx", precision="float32", size_bytes=1, sha256="", inputs=(), outputs=(),
        layout="NCHW", toolchain={},
    )  # fmt: skip
    source = TaskSource(
        name="digits", reference=f"{Path(ptq_task.__file__)}:task", settings={"model": "digits"}
    )
    return Job(
        module="fake", name="fake", stage="calibrate", row=Row(runtime="onnxruntime", summary=""), source=source,
        traced=traced, float_file=artifact, isa=None, work=str(tmp_path), out=str(tmp_path / "out"),
    )  # fmt: skip


def test_only_the_call_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (
        256 << 20
    )  # what other threads of a long test process give back meanwhile (28 MB were seen) hardly shows
    kept: list[Any] = []

    def calibrate(_: Job) -> Any:
        kept.append(np.ones(size, np.uint8))  # what is loaded before does not count

        def call() -> str:
            np.ones(size, np.uint8)
            return "a note"

        return call

    monkeypatch.setattr(peers, "load", lambda _: SimpleNamespace(calibrate=calibrate))
    for name in _stage.NO_TELEMETRY:
        monkeypatch.setenv(name, "")
    run = _stage.run(job(tmp_path))
    assert run.note == "a note"
    assert run.extra_peak_bytes is not None
    assert 0.8 * size < run.extra_peak_bytes < 1.4 * size
    assert run.rss_before_bytes is not None
    assert run.rss_before_bytes > size


def stage(name: str, wall_s: float, extra: int | None) -> StageRun:
    return StageRun(stage=name, wall_s=wall_s, cpu_s=2 * wall_s, rss_before_bytes=1, extra_peak_bytes=extra)


def test_the_table_shows_medians_and_says_what_is_missing() -> None:
    parity = Parity(samples=200, max_abs_error=1, rms_error=1, snr_db=20.04, agreement=0.965)
    judged = peers._records.Judged(native=Score(metric=0.88, parity=parity), emulated=None, doubts=())
    times = (3.0, 1.0, 2.0)
    stages = tuple((stage("calibrate", t, 10_000_000), stage("export", 5.0, 30_000_000)) for t in times)
    timings = (
        Timing(against="litert", cpu_ratio=0.5, low=0.4, high=0.6, rounds=9, cpu_s=1.0, float_cpu_s=2.0),
        Timing(
            against="onnxruntime", cpu_ratio=0.75, low=0.7, high=0.8, rounds=9, cpu_s=1.0, float_cpu_s=2.0
        ),
    )
    rows = (
        Result(name="a", status="ok", runtime="litert", stages=stages, size_bytes=5_250_000, judged=judged,
               timings=timings, doubts=("shared", "load 1.5 on 2 CPUs", "load 0.75 on 2 CPUs"), summary="how"),
        Result(name="b", status="missing", reason="pip install b"),
        Result(name="c", status="failed", reason="it crashed", doubts=("shared", "load 12.25 on 2 CPUs")),
    )  # fmt: skip
    settings = Settings(
        model="lite0", photos="", calibrate=100, score=200, isa="avx2", emulator="", rounds=9, processes=3,
        repeat=3, seed=0,
    )  # fmt: skip
    results = Results(
        settings=settings, machine={"machine": "x86_64", "isa": "avx2", "cpu_usable_count": "2"}, float_metric=0.9,
        samples=200, float_sizes={"tflite": 18_000_000}, float_sha256="", rows=rows,
    )  # fmt: skip
    text = _table.render(results)
    cells = next(
        [c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| a ")
    )
    assert cells == [
        "a", "88.00", "+2.00", "96.50", "20.0", "0.500 [0.400, 0.600]", "0.750", "2.00 (4.00)", "7.00", "10 / 30", "5.25",
    ]  # fmt: skip
    assert "One sample is 0.5 points." in text
    assert "- b: not installed: pip install b" in text
    assert "- c: failed: it crashed" in text
    assert "doubt (a, c): shared" in text
    assert "doubt (a, c): load 0.75 to 12.25 on 2 CPUs" in text
