"""`edgekit bench` and `edgekit compare` with devices: side by side, one table, and exit codes for pipelines."""

import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from commands import edgekit
from conftest import Fakes
from edgekit_runner import record as records
from runner_models import write_onnx

from edgekit.bench import on_devices
from edgekit.bench.figures import cells, text
from edgekit.bench.on_devices import Outcome, bench_on, exit_code
from edgekit.errors import DeviceError, MissingRuntime, UserError

pytestmark = pytest.mark.long

SSH, ADB = "ssh:pi@board.local", "adb:emulator-5554"


def measured(device: str, threads: int = 1, **changes: Any) -> Outcome:
    """An outcome as far as the table reads it."""
    record = {
        **records.blank("bench"),
        "status": "ok",
        "reason": None,
        "error_kind": None,
        "artifact": {"path": "/build/x86-server/model.onnx"},
        "protocol": {"threads_count": threads},
        "runtime": {"name": "ONNX Runtime", "version": "1.2.3"},
        "environment": {"machine": "aarch64", "cpu_model": "Cortex-A76", "isa": "arm-dotprod"},
        "latency": {
            "p50_s": 0.0123, "p50_valid": True, "p50_ci95_low_s": 0.0121, "p50_ci95_high_s": 0.0126,
            "cpu_p50_s": 0.0122, "min_s": 0.0119, "runs_count": 640, "processes_count": 6,
        },
        "memory": {"peak_bytes": 80 * 1024 * 1024},
        "validity": {"verdict": "ok"},
        "doubts": ["the clock wandered."],
        **changes,
    }  # fmt: skip
    return Outcome(device=device, record=record, error=record["reason"], exit_code=records.exit_code(record))


def failed(device: str, sentence: str, code: int = 1) -> Outcome:
    return Outcome(device=device, record=None, error=sentence, exit_code=code)


# -------------------------------------------------------------------------------------------------- side by side


def test_devices_are_measured_at_the_same_time(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both runs must be under way before either ends."""
    barrier = threading.Barrier(2, timeout=30)

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            pass

    def run(device: Fake, spec: dict[str, Any], runner: Path, timeout_s: float) -> dict[str, Any]:
        barrier.wait()
        assert runner.is_file()
        return {**records.blank("bench"), "reason": device.name, "protocol": spec}

    monkeypatch.setattr(on_devices, "open_device", lambda name, python: Fake(name))
    monkeypatch.setattr(on_devices.run, "run", run)
    found = bench_on([SSH, "local"], model, [1, 2])
    assert [(o.device, o.record and o.record["protocol"]["threads_count"]) for o in found] == [
        (SSH, 1), (SSH, 2), ("local", 1), ("local", 2),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("error", "code"),
    [(DeviceError("it vanished"), 1), (MissingRuntime("old Python"), 3), (UserError("bad"), 2)],
)
def test_a_device_that_fails_does_not_lose_the_rows_of_others(
    model: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    class Fake:
        def __init__(self, name: str) -> None:
            self.name, self.closed = name, False
            opened.append(self)

        def close(self) -> None:
            self.closed = True

    opened: list[Fake] = []
    good = measured("local").record

    def run(device: Fake, spec: dict[str, Any], *_: object) -> Any:
        if device.name == ADB and spec["threads_count"] == 2:
            raise error
        return good

    monkeypatch.setattr(on_devices, "open_device", lambda name, python: Fake(name))
    monkeypatch.setattr(on_devices.run, "run", run)
    found = bench_on(["local", ADB], model, [1, 2, 4])
    assert [(o.device, o.error) for o in found] == [("local", None)] * 3 + [(ADB, None), (ADB, str(error))]
    assert exit_code(found) == code
    assert [device.closed for device in opened] == [True, True]


def test_exit_codes_of_several() -> None:
    def of(*codes: int) -> int:
        return exit_code([failed("local", "x", code) for code in codes])

    assert [of(0, 0), of(0, 3), of(3, 3), of(1, 3), of(2, 3, 0)] == [0, 3, 3, 1, 1]


def test_the_same_device_twice_is_refused(model: Path) -> None:
    result = edgekit("bench", model, "--device", "local", "--device", "local")
    assert result.exit_code == 2
    assert "device 'local' is given twice" in result.stderr


def test_an_unknown_device_stops_all_before_anything_runs(model: Path, fakes: Fakes) -> None:
    for verb in (["bench", model], ["compare", model, model]):
        result = edgekit(*verb, "--device", "toaster")
        assert result.exit_code == 2
        assert (
            "device 'toaster' is not known; allowed: adb:SERIAL, local, ssh:user@host[:port]" in result.stderr
        )
    assert edgekit("bench", model, "--device", SSH, "--device", "toaster").exit_code == 2
    assert fakes.calls() == []


# ------------------------------------------------------------------------------------------------------- the table


def test_a_row_says_figure_spread_and_count_with_their_units() -> None:
    assert cells(measured(SSH, threads=2)) == (
        SSH, "x86-server/model.onnx", "2", "12.3 ms [12.1 ms to 12.6 ms]", "12.2 ms", "80.0 MiB",
        "640 runs, 6 processes", "ok",
    )  # fmt: skip


def test_a_disturbed_row_shows_lower_bounds_only() -> None:
    one = measured("local")
    assert one.record is not None
    latency = {**one.record["latency"], "p50_valid": False}
    row = cells(measured("local", latency=latency, validity={"verdict": "disturbed"}))
    assert row[3:5] == ("at least 11.9 ms", "at least 12.2 ms")
    assert row[-1] == "disturbed"
    assert "12.3" not in " ".join(row)


def test_a_row_without_an_interval_and_without_memory() -> None:
    one = measured("local")
    assert one.record is not None
    latency = {**one.record["latency"], "p50_ci95_low_s": None, "p50_ci95_high_s": None}
    row = cells(measured("local", latency=latency, memory={"peak_bytes": None}))
    assert row[3] == "12.3 ms [no interval]"
    assert row[5] == "unknown"


def test_failures_are_sentences_in_the_table() -> None:
    refused = {"status": "refused", "reason": "the output differs.", "error_kind": "verification"}
    shown = text([measured(SSH), failed(ADB, f"{ADB}: login refused"), measured("local", **refused)], 200)
    assert "failed: login refused" in shown
    assert "refused: the output differs." in shown
    assert f"{SSH}: aarch64, Cortex-A76, isa arm-dotprod, ONNX Runtime 1.2.3" in shown


def test_doubts_are_said_once_with_the_rows_they_are_about() -> None:
    shown = text(
        [
            measured(SSH),
            measured(SSH, 2, doubts=["the clock wandered.", "hot."]),
            measured("local", doubts=["hot."]),
        ],
        200,
    )
    assert f"doubt ({SSH}): the clock wandered." in shown
    assert f"doubt ({SSH}, x86-server/model.onnx, threads: 2; local): hot." in shown


def test_a_narrow_terminal_loses_no_words() -> None:
    shown = text([measured(SSH), failed(ADB, "a sentence of some length about what happened")], 60)
    assert max(map(len, shown.split("\n\n")[0].splitlines())) <= 60


# --------------------------------------------------------------------------------------------------- whole commands


def test_bench_on_two_devices(model: Path, fakes: Fakes) -> None:
    arguments = [
        "bench",
        model,
        "--device",
        "local",
        "--device",
        SSH,
        "--protocol",
        "quick",
        "--python",
        sys.executable,
    ]
    result = edgekit(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [(each["device"], each["error"], each["record"]["status"]) for each in found] == [
        ("local", None, "ok"),
        (SSH, None, "ok"),
    ]
    assert {each["record"]["artifact"]["path"] for each in found} == {str(model)}
    assert f"{SSH}  {model}, threads: 1" in result.stderr


def test_bench_where_one_device_is_not_there(model: Path, fakes: Fakes) -> None:
    fakes.fault("refused", "adb: device 'emulator-5554' not found", 1)
    result = edgekit("bench", model, "--device", ADB, "--device", "local", "--protocol", "quick")
    assert result.exit_code == 1
    shown = " ".join(result.stdout.split())
    assert "failed:" in shown
    assert "1 thread(s)" not in shown, "one table for both, not the record of one"
    assert " processes" in shown, "the other's row is there"


def test_bench_of_one_shows_its_record_in_full(model: Path) -> None:
    result = edgekit("bench", model, "--protocol", "quick")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{'device':<18}local\n{'artifact':<18}{model}")


@pytest.fixture(scope="module")
def slower(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many times the work of `model`."""
    path = tmp_path_factory.mktemp("slower") / "slower.onnx"
    write_onnx(path, width=256, repeat=8)
    return path


@pytest.mark.parametrize(("order", "code", "verdict"), [(1, 0, "faster"), (-1, 1, "slower")])
def test_compare_tells_by_its_exit_code(
    model: Path, slower: Path, order: int, code: int, verdict: str
) -> None:
    a, b = (model, slower)[::order]
    result = edgekit("compare", a, b, "--protocol", "quick", "--json")
    record = json.loads(result.stdout)
    assert (result.exit_code, record["comparison"]["verdict"]) == (code, verdict)
    assert (record["artifact"]["path"], record["baseline"]["path"]) == (str(a), str(b))


def test_compare_over_ssh_within_a_wide_tolerance_is_inconclusive(model: Path, fakes: Fakes) -> None:
    options = ["--protocol", "quick", "--tolerance", "0.9", "--python", sys.executable, "--threads", "2"]
    result = edgekit("compare", model, model, "--device", SSH, *options)
    assert result.exit_code == 4, result.output
    assert "inconclusive (tolerance 0.9)" in result.stdout


def test_compare_with_errors(model: Path, fakes: Fakes, tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"this is no model")
    broken = edgekit("compare", model, tmp_path / "broken.onnx", "--protocol", "quick")
    assert broken.exit_code == 2
    assert "FAILED: baseline: " in broken.stdout
    assert edgekit("compare", model, tmp_path / "none.onnx").exit_code == 2
    assert edgekit("compare", model, model, "--threads", "0").exit_code == 2
    assert edgekit("compare", model, model, "--tolerance", "-1").exit_code == 2
    fakes.fault("refused", "pi@board.local: Permission denied (publickey).")
    refused = edgekit("compare", model, model, "--device", SSH)
    assert refused.exit_code == 1
    assert refused.stdout == ""
    assert f"edgekit: {SSH}: login refused" in refused.stderr
