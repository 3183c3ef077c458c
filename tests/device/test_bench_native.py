"""Programs without Python on a phone: stand-ins that print what real ones print, behind a stand-in for adb and the real adbd."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import native_outputs as said
import pytest
from click.testing import CliRunner
from conftest import Fakes
from device_servers import SERIAL, start_adb_server, start_adbd
from device_world import World
from runner_models import write_tflite

from edgekit.bench import native_programs
from edgekit.cli.main import main
from edgekit.engine import kept_texts
from edgekit.errors import UserError

PHONE = "adb:0123456789ABCDEF"


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_tflite(tmp_path / "model.tflite")
    return tmp_path / "model.tflite"


def program(place: Path, text: str, code: int = 0, name: str = "benchmark_model") -> Path:
    """Prints a text, checks that it was given a model that is there, and counts its calls."""
    place.joinpath("said.txt").write_text(text)
    path = place / name
    path.write_text(
        '#!/bin/sh\nfor each in "$@"; do case "$each" in --graph=*) [ -s "${each#--graph=}" ] || exit 9;; esac; done\n'
        f"cat <<'EDGEKIT_END'\n{text}EDGEKIT_END\nexit {code}\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def dumpsys(folder: Path, status: int = 0, usb: str = "false") -> None:
    """A stand-in for Android's dumpsys on the device's PATH; its battery loses 1 mAh a call."""
    state = folder / "charge"
    text = said.BATTERY.format(usb=usb, charge="$charge")
    (folder / "dumpsys").write_text(
        f"#!/bin/sh\ncase \"$1\" in\nthermalservice) cat <<'END'\n{said.THERMAL.format(status=status)}END\n;;\n"
        f"battery) charge=$(cat {state} 2>/dev/null || echo 3456000); charge=$((charge - 1000)); echo $charge >{state}\n"
        f"cat <<END\n{text}END\n;;\nesac\n"
    )
    (folder / "dumpsys").chmod(0o755)


@pytest.fixture
def phone(fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the PATH of the stand-in for a phone."""
    folder = tmp_path / "phone"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def bench(model: Path, program: Path, protocol: str = "quick") -> native_programs.NativeRecord:
    (record,) = native_programs.bench(PHONE, model, program, 1, protocol)
    return record


def test_a_phone_without_python_is_measured(phone: Path, model: Path, tmp_path: Path, fakes: Fakes) -> None:
    dumpsys(phone)
    record = bench(model, program(tmp_path, said.LITERT), "default")
    assert (record.status, record.verdict, record.p50_s) == ("ok", "ok", 0.141253)
    assert (record.p50_low_s, record.p50_high_s, len(record.processes)) == (0.141253, 0.141253, 6)
    assert record.findings == (
        "4 of 64 nodes were left to the CPU's own kernels, 60 run in TfLiteXNNPackDelegate",
    )
    assert native_programs.NO_PROOF in record.doubts
    assert record.energy_j == pytest.approx(14.4)
    assert not any("python3" in call for call in fakes.calls())  # none is looked for


def test_what_is_there_is_not_sent_again(phone: Path, model: Path, tmp_path: Path, fakes: Fakes) -> None:
    own = program(tmp_path, said.LITERT)
    bench(model, own)
    bench(model, own)
    pushes = [call for call in fakes.calls() if " push " in call]
    assert len(pushes) == 2
    assert {path.name[:64] for path in fakes.cache("adb").iterdir()} == {
        bench(model, own).program_sha256, bench(model, own).artifact_sha256
    }  # fmt: skip


def test_a_hot_phone_is_disturbed_and_a_charged_one_doubted(phone: Path, model: Path, tmp_path: Path) -> None:
    dumpsys(phone, status=2, usb="true")
    record = bench(model, program(tmp_path, said.LITERT))
    assert record.verdict == "disturbed" and record.energy_j is None
    assert record.causes[0] == "the phone was throttled before: thermal status moderate"
    assert "the phone is being charged, which warms it" in record.doubts


def test_a_phone_that_tells_nothing_is_unknown(phone: Path, model: Path, tmp_path: Path) -> None:
    record = bench(model, program(tmp_path, said.TFLITE_OLD))
    assert record.verdict == "unknown" and record.before.thermal is None
    assert "the program tells means alone, which every disturbance raises" in record.doubts


def test_an_unknown_output_is_kept_quoted_and_refused(phone: Path, model: Path, tmp_path: Path) -> None:
    text = "benchmark_model 9.0\nlatency: 3 ms \x1b[31m\n"
    record = bench(model, program(tmp_path, text))
    assert record.status == "refused" and record.p50_s is None
    assert "'benchmark_model 9.0 latency: 3 ms" in record.reason and "\x1b" not in record.reason
    (kept,) = (tmp_path / "cache" / "edgekit" / kept_texts.OUTPUTS).iterdir()
    assert str(kept) in record.reason and kept.read_text().startswith(text)


def test_without_a_cache_it_is_told_all_the_same(
    phone: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    record = bench(model, program(tmp_path, "benchmark_model 9.0\n"))
    assert record.status == "refused" and "cannot be kept: " in record.reason


def test_a_clock_that_jumped_is_refused(phone: Path, model: Path, tmp_path: Path) -> None:
    text = said.LITERT.replace("avg=145528", "avg=0").replace("(avg): 145528", "(avg): 0")
    record = bench(model, program(tmp_path, text))
    assert record.status == "refused" and "did the clock jump?" in record.reason


def test_a_program_that_crashes_is_a_failure_with_its_last_words(
    phone: Path, model: Path, tmp_path: Path
) -> None:
    record = bench(model, program(tmp_path, said.CRASH, 134))
    assert record.status == "failed"
    assert "exit code 134" in record.reason and "could not open the model" in record.reason


def test_processes_that_slow_down_are_seen() -> None:
    from edgekit.device.phone import Phone

    cool = Phone(thermal="none")
    assert native_programs._causes([1.0, 1.0, 1.0], cool, cool) == []
    (why,) = native_programs._causes([1.0, 1.1, 1.2], cool, cool)
    assert why == "the last processes took 1.20 of the first ones' time"


def test_a_file_that_the_program_does_not_open(model: Path, tmp_path: Path) -> None:
    own = program(tmp_path, said.PERF_TEST, name="onnxruntime_perf_test")
    with pytest.raises(UserError, match=r"onnxruntime_perf_test opens \.onnx, \.ort; .* holds model\.tflite"):
        bench(model, own)
    with pytest.raises(UserError, match="does not exist"):
        bench(model, tmp_path / "away" / "benchmark_model")


def test_the_command_line(phone: Path, model: Path, tmp_path: Path) -> None:
    dumpsys(phone)
    own = program(tmp_path, said.LITERT)
    command = ["bench", str(model), "--device", PHONE, "--native", str(own), "--protocol", "quick"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 0, done.output
    assert "placement         60 of 64 nodes in TfLiteXNNPackDelegate" in done.output
    assert "finding: 4 of 64 nodes were left to the CPU" in done.output
    (data,) = json.loads(CliRunner().invoke(main, [*command, "--json"]).output)
    assert data["kind"] == "native" and data["verdict"] == "ok"
    own.write_text("#!/bin/sh\nexit 1\n")
    assert CliRunner().invoke(main, command).exit_code == 1


@pytest.fixture(scope="module")
def adbd(world: World) -> Iterator[World]:
    before = os.environ["PATH"]
    start_adb_server(world)
    start_adbd(world)
    os.environ["PATH"] = f"{world.base / 'bin'}{os.pathsep}{before}"
    yield world
    os.environ["PATH"] = before


@pytest.mark.long
def test_behind_a_real_adbd(adbd: World, model: Path, tmp_path: Path) -> None:
    adbd.write("opt/bin/dumpsys", f"#!/bin/sh\ncat <<'END'\n{said.THERMAL.format(status=0)}END\n")
    (record,) = native_programs.bench(f"adb:{SERIAL}", model, program(tmp_path, said.LITERT), 1, "quick")
    assert (record.status, record.verdict, record.p50_s) == ("ok", "ok", 0.141253), record.reason
    crashed = program(tmp_path, said.CRASH, 134)
    (record,) = native_programs.bench(f"adb:{SERIAL}", model, crashed, 1, "quick")
    assert record.status == "failed" and "exit code 134" in record.reason
