"""What native programs and phones print, read; what is not understood is refused."""

from pathlib import Path

import native_outputs as said
import pytest

from edgekit import native
from edgekit.device import phone
from edgekit.errors import UserError
from edgekit.native import Unknown, benchmark_model, executor_runner, onnxruntime_perf_test


def test_litert_with_percentiles_and_a_delegate() -> None:
    found = benchmark_model.parse(said.LITERT)
    assert (found.runs, found.mean_s, found.median_s) == (25, 0.145528, 0.141253)
    assert (found.load_s, found.first_s, found.memory_bytes) == (0.092318, 0.187533, 73_410_200)
    assert (found.delegated, found.delegate) == ((60, 64), "TfLiteXNNPackDelegate")
    assert found.typical_s == 0.141253


def test_an_old_build_tells_means_alone() -> None:
    found = benchmark_model.parse(said.TFLITE_OLD)
    assert (found.runs, found.mean_s, found.median_s, found.min_s) == (50, 2.95034, None, 2.727568)
    assert found.delegated is None and found.typical_s == 2.95034


def test_onnxruntime_of_two_generations() -> None:
    found = onnxruntime_perf_test.parse(said.PERF_TEST)
    assert (found.runs, found.median_s, found.load_s, found.first_s) == (1000, 0.005871, 0.512, 0.012)
    assert found.mean_s == pytest.approx(0.00588053) and found.memory_bytes == 123456789
    old = onnxruntime_perf_test.parse(said.PERF_TEST_OLD)
    assert (old.runs, old.median_s, old.min_s, old.first_s) == (10, 0.1445, 0.140, None)


def test_executorch_tells_all_executions_together() -> None:
    found = executor_runner.parse(said.EXECUTORCH)
    assert (found.runs, found.median_s) == (50, None) and found.mean_s == pytest.approx(0.01225)


@pytest.mark.parametrize("name", native.names())
@pytest.mark.parametrize("text", ["", said.CRASH, said.EXECUTORCH_OLD, said.THERMAL])
def test_another_text_is_refused_by_each(name: str, text: str) -> None:
    with pytest.raises(Unknown, match="no line"):
        native.of(Path(name)).parse(text)


def test_a_program_is_known_by_its_name() -> None:
    for path in ("/x/benchmark_model", "android_aarch64_benchmark_model", "benchmark_model_plus_flex"):
        assert native.of(Path(path)) is benchmark_model
    with pytest.raises(
        UserError, match="allowed are benchmark_model, executor_runner, onnxruntime_perf_test"
    ):
        native.of(Path("bench"))


def test_a_phone_tells_its_heat_and_its_battery() -> None:
    found = phone.read(said.THERMAL.format(status=0), said.BATTERY.format(usb="false", charge=3_456_000))
    assert (found.thermal, found.skin_celsius) == (
        "none",
        35.3,
    )  # neither the cached reading nor a sensor that is absent
    assert (found.battery_percent, found.battery_celsius, found.plugged) == (87, 25.1, False)
    assert phone.read(said.THERMAL.format(status=3), "").thermal == "severe"
    assert phone.read("", "") == phone.Phone()


def test_energy_is_the_batterys_own_counter_or_no_figure() -> None:
    before, after, plugged = (
        phone.read("", said.BATTERY.format(usb=usb, charge=charge))
        for usb, charge in (("false", 3_456_000), ("false", 3_455_000), ("true", 3_455_000))
    )
    joules, why = phone.energy_j(before, after)
    assert joules == pytest.approx(14.4) and why == ""  # 1 mAh at 4 V
    assert phone.energy_j(before, plugged) == (
        None,
        "the phone is being charged; unplug it and use adb over the network",
    )
    assert "did not move" in phone.energy_j(before, before)[1]
    assert "no charge counter" in phone.energy_j(phone.Phone(), after)[1]
