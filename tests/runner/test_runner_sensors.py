"""Clock, heat, waiting, power and energy on trees that a test wrote."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from edgekit_runner.cli import tools
from edgekit_runner.host import sensors
from edgekit_runner.host.sensors import EnergyCounter, Reading
from machine_tree import write_tree
from runner_models import RUNNER

linux = pytest.mark.skipif(sys.platform != "linux", reason="off Linux psutil answers instead")
ZONE = "sys/class/thermal/thermal_zone"
RAPL = "sys/class/powercap/intel-rapl:"
SUPPLY = "sys/class/power_supply/"


def test_nothing_readable_gives_none_and_never_zero(tmp_path: Path) -> None:
    assert sensors.frequency_hz(tmp_path) is None
    assert sensors.temperature_celsius(tmp_path) is None
    assert sensors.throttle_limit_celsius(tmp_path) is None
    assert sensors.run_queue_wait_s(tmp_path) is None
    assert set(sensors.available(tmp_path).values()) == {"unknown"}


def test_what_a_tree_shows_is_called_readable(tmp_path: Path) -> None:
    write_tree(tmp_path, {
        "proc/pressure/cpu": "some avg10=0.00 total=1", "proc/stat": "cpu 1 2 3 4",
        "proc/self/task/7/schedstat": "5 6 7", "proc/self/smaps_rollup": "Rss: 1 kB",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1000",
        f"{ZONE}0/temp": "40000", f"{ZONE}0/trip_point_0_type": "passive", f"{ZONE}0/trip_point_0_temp": "95000",
        f"{RAPL}0/name": "package-0", f"{RAPL}0/energy_uj": "0",
        f"{SUPPLY}BAT1/type": "Battery", f"{SUPPLY}BAT1/capacity": "0",
    })  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sensors, "usable_cpus", lambda: (0,))
        assert set(sensors.available(tmp_path).values()) == {"readable"}


def test_info_lists_the_sensors_of_this_machine() -> None:
    found = tools.describe_machine()
    assert found["sensors"] == sensors.available()
    assert set(found["sensors"].values()) <= {"readable", "unknown"}
    json.dumps(found)


def test_the_clock_is_the_highest_of_the_cpus_we_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for cpu, kilohertz in enumerate(("1800000", "2400000", "3600000", "0")):
        write_tree(tmp_path, {f"sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq": f"{kilohertz}\n"})
    monkeypatch.setattr(sensors, "usable_cpus", lambda: (0, 1, 3, 9))
    assert sensors.frequency_hz(tmp_path) == 2.4e9
    monkeypatch.setattr(sensors, "usable_cpus", lambda: None)
    assert sensors.frequency_hz(tmp_path) is None


def test_the_hottest_zone_of_the_processor_is_read_and_impossible_values_are_not(tmp_path: Path) -> None:
    write_tree(tmp_path, {
        f"{ZONE}0/type": "battery", f"{ZONE}0/temp": "60000",
        f"{ZONE}1/type": "cpu-0-0", f"{ZONE}1/temp": "48500",
        f"{ZONE}2/type": "cpu-0-1", f"{ZONE}2/temp": "51250",
        f"{ZONE}3/type": "cpu-unused", f"{ZONE}3/temp": "-274000",
        f"{ZONE}4/type": "soc", f"{ZONE}4/temp": "999000",
    })  # fmt: skip
    assert sensors.temperature_celsius(tmp_path) == Reading(label="cpu-0-1", value=51.25)


def test_without_a_zone_of_the_processor_all_zones_count(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{ZONE}0/type": "acpitz", f"{ZONE}0/temp": "41000", f"{ZONE}1/temp": "30000"})
    assert sensors.temperature_celsius(tmp_path) == Reading(label="acpitz", value=41.0)


def test_the_throttle_limit_is_the_lowest_passive_trip_point(tmp_path: Path) -> None:
    write_tree(tmp_path, {
        f"{ZONE}0/type": "cpu-thermal",
        f"{ZONE}0/trip_point_0_type": "critical", f"{ZONE}0/trip_point_0_temp": "70000",
        f"{ZONE}0/trip_point_1_type": "passive", f"{ZONE}0/trip_point_1_temp": "85000",
        f"{ZONE}0/trip_point_2_type": "passive", f"{ZONE}0/trip_point_2_temp": "80000",
        f"{ZONE}0/trip_point_3_type": "passive", f"{ZONE}0/trip_point_3_temp": "0",
    })  # fmt: skip
    assert sensors.throttle_limit_celsius(tmp_path) == Reading(label="cpu-thermal", value=80.0)


def test_run_queue_wait_is_the_sum_over_threads(tmp_path: Path) -> None:
    tasks = {"7": "9000000 1500000000 3", "8": "1 500000000 1", "9": "0 0 0"}
    write_tree(tmp_path, {f"proc/self/task/{task}/schedstat": words for task, words in tasks.items()})
    assert sensors.run_queue_wait_s(tmp_path) == 2.0


def test_a_kernel_that_does_not_account_waiting_is_not_read_as_no_waiting(tmp_path: Path) -> None:
    write_tree(tmp_path, {"proc/self/task/7/schedstat": "0 0 0\n"})
    assert sensors.run_queue_wait_s(tmp_path) is None


@linux
@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, ("unknown", None)),
        ({"AC/type": "Mains", "AC/online": "1"}, ("mains", None)),
        ({"AC/type": "Mains", "AC/online": "0"}, ("unknown", None)),
        (
            {"B/type": "Battery", "B/status": "Discharging", "B/capacity": "73", "AC/type": "USB", "AC/online": "1"},
            ("battery", 73),
        ),
        ({"B/type": "Battery", "B/status": "Full", "B/capacity": "100"}, ("mains", 100)),
        (
            {"mouse/type": "Battery", "mouse/scope": "Device", "mouse/status": "Discharging", "mouse/capacity": "5"},
            ("unknown", None),
        ),
    ],
)  # fmt: skip
def test_power_state(tmp_path: Path, files: dict[str, str], wanted: tuple[str, int | None]) -> None:
    write_tree(tmp_path, {SUPPLY + name: words for name, words in files.items()})
    assert sensors.power_state(tmp_path) == wanted


def test_rapl_counts_packages_only_and_makes_a_wrap_good(tmp_path: Path) -> None:
    write_tree(tmp_path, {
        f"{RAPL}0/name": "package-0", f"{RAPL}0/energy_uj": "1000000", f"{RAPL}0/max_energy_range_uj": "10000000",
        f"{RAPL}1/name": "package-1", f"{RAPL}1/energy_uj": "9000000", f"{RAPL}1/max_energy_range_uj": "10000000",
        f"{RAPL}0:0/name": "core", f"{RAPL}0:0/energy_uj": "0", f"{RAPL}2/name": "psys", f"{RAPL}2/energy_uj": "0",
    })  # fmt: skip
    counter = EnergyCounter(tmp_path)
    counter.begin()
    write_tree(tmp_path, {
        f"{RAPL}0/energy_uj": "3500000", f"{RAPL}1/energy_uj": "500000", f"{RAPL}0:0/energy_uj": "7",
        f"{RAPL}2/energy_uj": "7",
    })  # fmt: skip
    found = counter.end()
    assert found["status"] == "measured" and found["reason"] is None
    assert found["energy_j"] == pytest.approx(2.5 + 1.5)
    assert found["source"] == "RAPL of 2 CPU package(s)" and found["wall_s"] > 0


def test_a_wrap_of_unknown_range_is_no_figure(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{RAPL}0/name": "package-0", f"{RAPL}0/energy_uj": "5"})
    counter = EnergyCounter(tmp_path)
    counter.begin()
    write_tree(tmp_path, {f"{RAPL}0/energy_uj": "4"})
    found = counter.end()
    assert found["status"] == "unavailable" and "could not be read" in found["reason"]


def test_energy_without_any_counter_says_why(tmp_path: Path) -> None:
    counter = EnergyCounter(tmp_path)
    counter.begin()
    found = counter.end()
    assert found["status"] == "unavailable" and found["energy_j"] is None and found["source"] is None
    assert found["reason"] == "no RAPL counter of a CPU package here; no battery."


def test_energy_that_may_not_be_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mode is faked, because root may read everything."""
    write_tree(tmp_path, {f"{RAPL}0/name": "package-0"})
    monkeypatch.setattr(sensors.os, "access", lambda path, mode: False)
    counter = EnergyCounter(tmp_path)
    counter.begin()
    assert "this user may not read" in counter.end()["reason"]


def _battery(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, **later: str
) -> dict[str, object]:
    """A window of `seconds` on a battery whose files change to `later` meanwhile."""
    names = {SUPPLY + "BAT0/" + name: words for name, words in later.items()}
    counter = EnergyCounter(tmp_path)
    counter.begin()
    write_tree(tmp_path, names)
    begin = counter._begin
    monkeypatch.setattr(sensors.time, "perf_counter", lambda: begin + seconds)
    return counter.end()


@pytest.mark.parametrize(
    ("first", "later", "joules"),
    [
        ({"energy_now": "50000000"}, {"energy_now": "49900000"}, 360.0),
        ({"charge_now": "4000000", "voltage_now": "4000000"}, {"charge_now": "3990000"}, 144.0),
        ({"charge_counter": "4000000", "voltage_now": "4000000"}, {"charge_counter": "3990000"}, 144.0),
    ],
)
def test_a_battery_that_discharges_gives_energy_of_a_long_window(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    first: dict[str, str],
    later: dict[str, str],
    joules: float,
) -> None:
    files = {"type": "Battery", "status": "Discharging", **first}
    write_tree(tmp_path, {SUPPLY + "BAT0/" + name: words for name, words in files.items()})
    found = _battery(tmp_path, monkeypatch, 90.0, **later)
    assert found["status"] == "measured" and found["source"] == "battery gauge"
    assert found["energy_j"] == pytest.approx(joules) and found["wall_s"] == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("status", "seconds", "later", "reason"),
    [
        ("Discharging", 2.0, {"energy_now": "1"}, "too short for a battery gauge"),
        ("Discharging", 90.0, {"energy_now": "50000000"}, "did not move"),
        ("Discharging", 90.0, {"energy_now": "1", "status": "Charging"}, "does not discharge"),
        ("Charging", 90.0, {"energy_now": "1"}, "does not discharge"),
    ],
)
def test_a_battery_that_cannot_tell_gives_the_reason(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: str,
    seconds: float,
    later: dict[str, str],
    reason: str,
) -> None:
    files = {"type": "Battery", "status": status, "energy_now": "50000000"}
    write_tree(tmp_path, {SUPPLY + "BAT0/" + name: words for name, words in files.items()})
    found = _battery(tmp_path, monkeypatch, seconds, **later)
    assert found["status"] == "unavailable" and found["energy_j"] is None
    assert reason in str(found["reason"])


def test_window_validity_and_sensors_load_nothing_that_the_worker_does_without() -> None:
    """Whatever they import beside the package's own small files is already there for `environment`."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import ctypes, dataclasses, os, pathlib, platform, typing\n"
        "before = set(sys.modules)\n"
        "import edgekit_runner.stats.window, edgekit_runner.stats.validity, edgekit_runner.host.sensors\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    out = subprocess.check_output([sys.executable, "-I", "-c", code, str(RUNNER)], text=True)
    ours = {
        "",
        ".stats",
        ".stats.window",
        ".stats.validity",
        ".host",
        ".host.sensors",
        ".host.environment",
        ".host.isa",
    }
    assert set(out.split()) <= {"edgekit_runner" + name for name in ours}
