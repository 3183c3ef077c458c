"""Sustained runs: where a series became slower for good, why as far as it shows, the plot, and real ones."""

import gc
import math
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from edgekit_runner import api, record
from edgekit_runner.cli import plot, table
from edgekit_runner.kinds import _timing, sustain
from edgekit_runner.stats import throttle
from runner_models import QUICK, cli, last_record
from test_runner_process import keys_without_unit

QUIET = {
    "wall_s": 1.0, "cpu_s": 1.0, "steal_s": 0.0, "cpu_pressure_s": 0.0, "run_queue_wait_s": 0.0,
    "involuntary_switches_count": 0, "major_faults_count": 0, "throttled_count": 0, "throttled_s": 0.0,
    "other_busy_s": 0.0, "frequency_start_hz": None, "frequency_end_hz": None,
    "temperature_start_celsius": None, "temperature_end_celsius": None, "usable_cpu_count": 2,
}  # fmt: skip


def buckets(
    wall: Sequence[float], cpu: Sequence[float] | None = None, **series: Sequence[Any]
) -> list[dict[str, Any]]:
    """One bucket a second; milliseconds in, and `hz`, `celsius` and `window` a bucket."""
    out = []
    for i, value in enumerate(wall):
        window = {**QUIET, **(series["window"][i] if "window" in series else {})}
        out.append(
            {
                "start_s": float(i), "duration_s": 1.0, "runs_count": 100, "wall_p50_s": value / 1e3,
                "cpu_p50_s": (value if cpu is None else cpu[i]) / 1e3, "window": window,
                "frequency_hz": series["hz"][i] if "hz" in series else None,
                "temperature_celsius": series["celsius"][i] if "celsius" in series else None,
            }
        )  # fmt: skip
    return out


STEP = [10.0] * 63 + [12.0] * 57


def found_in(given: Sequence[Mapping[str, Any]], limit_celsius: float | None = None) -> dict[str, Any]:
    return throttle.diagnose(given, 1, limit_celsius)


@pytest.mark.parametrize(
    ("series", "start"),
    [
        ([10.0] * 20, None),
        (STEP, 63),
        ([10.0] * 10 + [10.9] * 10, None),
        ([10.0] * 10 + [11.0 + 1e-9] * 10, 10),
        ([10.0] * 8 + [20.0] * 5 + [10.0] * 7, None),
        ([10.0] * 8 + [20.0] * 2 + [10.0] + [12.0] * 4, 11),
        ([10.0] * 18 + [20.0] * 2, None),
        ([10.0] * 17 + [20.0] * 3, 17),
        ([30.0, 10.0, 10.0, 10.0, 10.0] + [10.0] * 9, None),
        ([10.0, 10.0, 10.0] + [12.0] * 9, 3),
    ],
)
def test_the_throttle_point_is_where_a_slowdown_begins_that_lasts(
    series: list[float], start: int | None
) -> None:
    assert throttle.slower_from(series) == (None if start is None else start)


def test_a_slowdown_without_a_sensor_has_no_known_cause() -> None:
    found = found_in(buckets(STEP))
    assert found["throttle_point_s"] == 63.0 and found["throttle_causes"] == []
    assert found["throttle_reason"].startswith("slower from 63 s on (wall time +20 %, CPU time +20 %)")
    assert "no thermal sensor is readable, so the cause is unknown" in found["throttle_reason"]


def test_clock_and_heat_are_named_with_their_figures() -> None:
    hz, celsius = [2.4e9] * 63 + [1.8e9] * 57, [50.0] * 63 + [84.0] * 57
    found = found_in(buckets(STEP, hz=hz, celsius=celsius), 85.0)
    assert found["throttle_causes"] == ["clock", "heat"]
    assert "from 2.4 to 1.8 GHz" in found["throttle_reason"]
    assert "from 50 to 84 degrees Celsius (throttling begins at 85)" in found["throttle_reason"]


def test_heat_is_no_cause_while_the_clock_holds() -> None:
    found = found_in(buckets(STEP, hz=[2e9] * 120, celsius=[50.0] * 63 + [84.0] * 57))
    assert found["throttle_causes"] == [] and "no sensor shows why" in found["throttle_reason"]


def test_a_zone_at_its_limit_is_hot_without_having_warmed() -> None:
    found = found_in(buckets(STEP, celsius=[85.0] * 120), 85.0)
    assert found["throttle_causes"] == ["heat"]


def test_work_of_others_is_named_beside_a_falling_clock() -> None:
    busy = [{}] * 63 + [{"other_busy_s": 0.9, "run_queue_wait_s": 0.3}] * 57
    found = found_in(buckets(STEP, hz=[2.4e9] * 63 + [1.8e9] * 57, window=busy))
    assert found["throttle_causes"] == ["clock", "others"]
    assert "another possible cause" in found["throttle_reason"]
    assert "Other programs used 0.90 CPUs of 2" in found["throttle_reason"]


def test_wall_time_alone_is_waiting_and_not_a_slower_processor() -> None:
    busy = [{}] * 63 + [{"other_busy_s": 0.9, "run_queue_wait_s": 0.3}] * 57
    found = found_in(buckets(STEP, [10.0] * 120, window=busy))
    assert found["throttle_point_s"] == 63.0 and found["throttle_causes"] == ["others"]
    assert "a possible cause" in found["throttle_reason"] and "did not rise" in found["throttle_reason"]


def test_what_was_not_seen_is_not_called_absent() -> None:
    found = found_in(buckets([10.0] * 20))
    assert found["throttle_point_s"] is None and "no thermal sensor is readable" in found["throttle_reason"]
    assert "too few" in found_in(buckets([10.0] * 7))["throttle_reason"]


def test_the_clock_and_the_drift_are_no_disturbance_but_others_are() -> None:
    falling = [{"frequency_start_hz": 2.4e9, "frequency_end_hz": 1.2e9}] * 120
    assert throttle.judged(buckets(STEP, window=falling), 1).verdict == "ok"
    busy = [{"other_busy_s": 1.8}] * 120
    assert throttle.judged(buckets(STEP, window=busy), 1).verdict == "disturbed"


def test_windows_that_follow_each_other_add_up() -> None:
    first = {**QUIET, "steal_s": 0.5, "major_faults_count": 2, "frequency_start_hz": 3e9, "throttled_s": None}
    last = {**QUIET, "steal_s": 0.25, "major_faults_count": 1, "frequency_end_hz": 2e9}
    whole = throttle.merged([first, last])
    assert (whole["wall_s"], whole["steal_s"], whole["major_faults_count"]) == (2.0, 0.75, 3)
    assert (whole["frequency_start_hz"], whole["frequency_end_hz"]) == (3e9, 2e9)
    assert whole["usable_cpu_count"] == 2 and whole["throttled_s"] is None


@pytest.mark.parametrize(
    ("duration_s", "bucket_s"), [(0.5, 0.05), (10.0, 1.0), (120.0, 1.0), (600.0, 5.0), (3600.0, 30.0)]
)
def test_bucket_lengths(duration_s: float, bucket_s: float) -> None:
    assert sustain.bucket_length_s(duration_s) == pytest.approx(bucket_s)


class Slowing:
    """A session and a clock: each run lasts 10 ms, 15 ms after 12 s, all of it CPU time."""

    def __init__(self) -> None:
        self._ns = 0

    def perf_counter_ns(self) -> int:
        return self._ns

    process_time_ns = perf_counter_ns

    def invoke(self) -> None:
        self._ns += 10_000_000 if self._ns < 12_000_000_000 else 15_000_000


def test_a_session_that_slows_down_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Slowing()
    for module in (sustain, _timing):
        monkeypatch.setattr(module, "time", session)
    seen = sustain.watch(session, 20.0)  # type: ignore[arg-type]
    found = sustain.summarize(seen, 20.0, threads_count=1)
    assert len(seen) == 20 and found["throttle_point_s"] == pytest.approx(12.0, abs=0.1)
    assert found["slowdown_ratio"] == found["cpu_slowdown_ratio"] == pytest.approx(1.5)
    assert found["runs_count"] == pytest.approx(1200 + 8000 / 15, abs=2) and gc.isenabled()


def test_a_run_longer_than_the_duration_is_one_bucket() -> None:
    seen = sustain.watch(SimpleNamespace(invoke=lambda: time.sleep(0.05)), 0.01)  # type: ignore[arg-type]
    assert [bucket["runs_count"] for bucket in seen] == [1]


@pytest.fixture(scope="module")
def real(onnx_model: Path, onnx_golden: Path) -> record.AnyRecord:
    return api.sustain({**QUICK, "artifact": str(onnx_model), "golden": str(onnx_golden), "duration_s": 0.5})


def test_a_real_run_covers_its_time_in_buckets(real: record.AnyRecord) -> None:
    found = real["sustained"]
    assert real["status"] == "ok" and real["golden"]["status"] == "passed"
    assert 5 <= len(found["buckets"]) <= 11 and found["duration_s"] >= 0.5
    assert found["runs_count"] == sum(bucket["runs_count"] for bucket in found["buckets"])
    ends = [bucket["start_s"] + bucket["duration_s"] for bucket in found["buckets"]]
    starts = [bucket["start_s"] for bucket in found["buckets"]]
    assert all(end <= start for end, start in zip(ends, starts[1:], strict=False))
    assert real["validity"]["verdict"] in ("ok", "disturbed", "unknown")
    assert real["energy"]["status"] in ("measured", "unavailable")
    assert keys_without_unit(real) == [] and record.read(record.to_line(real)) == real


def test_a_wrong_output_is_not_watched(onnx_model: Path, onnx_golden: Path, tmp_path: Path) -> None:
    with np.load(onnx_golden) as arrays:
        np.savez(tmp_path / "wrong.npz", input_0=arrays["input_0"], output_0=arrays["output_0"] + 0.5)
    spec = {**QUICK, "artifact": str(onnx_model), "golden": str(tmp_path / "wrong.npz"), "duration_s": 0.2}
    found = api.sustain(spec)
    assert found["status"] == "refused" and found["sustained"] is None


def drawn(text: str) -> tuple[list[str], list[list[tuple[float, float]]]]:
    """The words and the polylines of an SVG; that it parses is part of the test."""
    space = "{http://www.w3.org/2000/svg}"
    root = ElementTree.fromstring(text)
    lines = [[tuple(map(float, pair.split(","))) for pair in line.get("points", "").split()] for line in root.iter(f"{space}polyline")]  # fmt: skip
    return [item.text or "" for item in root.iter(f"{space}text")], lines  # type: ignore[return-value]


def test_the_plot_has_units_and_the_mark_and_survives_any_name(real: record.AnyRecord) -> None:
    section = {"duration_s": 120.0, "buckets": buckets(STEP), **found_in(buckets(STEP))}
    artifact = {**real["artifact"], "path": '/a/<b>&"\x00.onnx'}
    words, lines = drawn(plot.svg({**real, "artifact": artifact, "sustained": section}))
    assert {"time since the start (s)", "median latency (ms)", "slower from 63 s on"} <= set(words)
    assert words[0].startswith('<b>&"?.onnx on ONNX Runtime')
    wall = lines[1]
    assert len(wall) == 120 and wall[0][1] == wall[62][1] > wall[63][1] == wall[-1][1]
    heights = (310 - wall[0][1]) / (310 - wall[-1][1])
    assert heights == pytest.approx(10 / 12, rel=1e-2)  # the axis begins at zero


@pytest.mark.parametrize("most", [1e-6, 0.7, 1.0, 14.2, 99.0, 3600.0])
def test_axis_ticks_are_few_round_and_enclose(most: float) -> None:
    found = plot.ticks(most)
    step = found[1]
    assert found[0] == 0 and found[-1] >= most * 0.999 and 3 <= len(found) <= 8
    assert step / 10 ** math.floor(math.log10(step) + 1e-9) == pytest.approx(round(step / 10 ** math.floor(math.log10(step) + 1e-9)))  # fmt: skip


def test_a_sparkline_has_a_mark_for_each_or_sixty() -> None:
    assert table.sparkline([1.0, 2.0, 3.0])[0] < table.sparkline([1.0, 2.0, 3.0])[2]
    assert len(table.sparkline(STEP)) == 60 and len(set(table.sparkline([5.0] * 9))) == 1


def test_the_verb_draws_and_tells(onnx_model: Path, tmp_path: Path) -> None:
    done = cli("sustain", onnx_model, "--minutes", 0.005, "--plot", tmp_path / "out.svg")
    assert done.returncode == 0, done.stderr
    assert "throttling" in done.stdout and "over time" in done.stdout
    assert "median latency (ms)" in drawn((tmp_path / "out.svg").read_text())[0]
    ascii_only = cli("sustain", onnx_model, "--minutes", 0.002, PYTHONIOENCODING="ascii")
    assert ascii_only.returncode == 0 and "over time" in ascii_only.stdout


def test_a_plot_that_cannot_be_written_is_said_first(onnx_model: Path, tmp_path: Path) -> None:
    done = cli("sustain", onnx_model, "--minutes", 100, "--plot", tmp_path / "none" / "out.svg")
    assert done.returncode == 2 and "cannot be written" in done.stderr


@pytest.mark.parametrize("minutes", ["0", "-1", "nan"])
def test_no_time_is_a_user_error(minutes: str, onnx_model: Path) -> None:
    done = cli("sustain", onnx_model, "--minutes", minutes, "--json")
    assert done.returncode == 2 and "duration_s" in done.stderr


def test_the_verb_prints_a_record(onnx_model: Path) -> None:
    found = last_record(cli("sustain", onnx_model, "--minutes", 0.002, "--json"))
    assert found["kind"] == "sustain" and found["protocol"]["duration_s"] == pytest.approx(0.12)
