"""Sweeps of `bench`, their table, CSV, and the profile that a process of its own takes."""

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import api, record, spawn
from edgekit_runner.backends import onnxruntime
from edgekit_runner.cli import arguments, output, sweep, table
from edgekit_runner.errors import UserError
from edgekit_runner.spec import Spec
from runner_models import QUICK, cli, write_onnx

pytestmark = pytest.mark.long

QUICKLY = ("--protocol", "quick", "--runs", "5", "--seconds", "0.01")


@pytest.fixture(scope="module")
def free(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with a free batch dimension."""
    path = tmp_path_factory.mktemp("free") / "free.onnx"
    write_onnx(path, batch="n")
    return path


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """`api.bench` that measures nothing; the specs it was given."""
    seen: list[dict[str, Any]] = []

    def bench(spec: dict[str, Any], listener: record.Listener) -> record.AnyRecord:
        seen.append(spec)
        return record.fail(record.blank("bench"), "it crashed.", "crash")

    monkeypatch.setattr(api, "bench", bench)
    return seen


def test_each_combination_has_a_record_on_a_line_of_its_own(free: Path) -> None:
    done = cli("bench", free, *QUICKLY, "--threads", "1,2", "--batch", "4", "--json")
    assert done.returncode == 0, done.stderr
    found = [record.read(line) for line in done.stdout.splitlines()]
    settings = [(each["protocol"]["threads_count"], each["protocol"]["batch_count"]) for each in found]
    assert settings == [(1, 4), (2, 4)]
    assert all(each["status"] == "ok" for each in found)


def test_the_table_has_a_row_each_and_a_failure_keeps_its_own(tflite_model: Path) -> None:
    done = cli("bench", tflite_model, *QUICKLY, "--batch", "1,4", "--sweep", "xnnpack")
    assert done.returncode == 2, done.stdout
    about, header, *lines = done.stdout.splitlines()
    assert "LiteRT" in about and "sha256" in about
    assert header.split()[:4] == ["batch", "xnnpack", "samples", "a"] and "interval" in header
    assert lines[0].startswith("1      True") and "MiB" in lines[0] and " in 2 " in lines[0]
    assert lines[1].startswith("1      False")
    for line, option in zip(lines[2:4], ("True", "False"), strict=True):
        assert line.split()[:3] == ["4", option, "failed:"] and "fixed batch of 1" in line
    assert done.stderr.count("error: batch 4, xnnpack") == 2
    assert any(line.startswith("doubt: This is") or "random input" in line for line in lines[4:])


def test_one_value_of_each_is_no_sweep(free: Path) -> None:
    done = cli("bench", free, *QUICKLY, "--threads", "2", "--batch", "4", "--affinity", "all", "--json")
    assert len(done.stdout.splitlines()) == 1
    found = record.read(done.stdout)
    assert found["protocol"]["affinity"] == "all" and found["protocol"]["batch_count"] == 4


def test_a_wrong_value_is_said_before_anything_runs(faked: list[dict[str, Any]]) -> None:
    for axes in ({"threads_count": [1, 0]}, {"batch_count": [1, -2]}, {"affinity": ["0", ""]}):
        with pytest.raises(UserError):
            sweep.product({"artifact": "m.onnx"}, axes, {})
    assert faked == []


def test_options_are_swept_beside_those_that_were_given(faked: list[dict[str, Any]]) -> None:
    spec = {"artifact": "m.onnx", "options": {"optimize": False, "providers": "X"}}
    made = sweep.product(spec, {"threads_count": [1, 1, 2]}, {"providers": ("A", "B")})
    assert [one.label for one in made] == [
        "threads 1, providers A: ", "threads 1, providers B: ", "threads 2, providers A: ",
        "threads 2, providers B: ",
    ]  # fmt: skip
    found = list(sweep.run(made))
    assert [each["options"] for each in faked] == [
        {"optimize": False, "providers": name} for name in ("A", "B", "A", "B")
    ]
    assert [each["protocol"]["threads_count"] for each in found] == [1, 1, 2, 2]  # stated for a crash too
    shown = sweep.render(made, found).splitlines()
    assert shown[0] == "nothing was measured" and shown[2].split()[:3] == ["1", "A", "failed:"]


def test_an_option_that_is_not_to_be_swept_lists_those_that_are(free: Path, tflite_model: Path) -> None:
    done = cli("bench", tflite_model, *QUICKLY, "--sweep", "threads")
    assert done.returncode == 2 and "'threads'" in done.stderr and "allowed: xnnpack." in done.stderr
    assert sweep.choices({"artifact": str(free)}, []) == {}
    providers = sweep.choices({"artifact": str(free)}, ["providers"])["providers"]
    assert "CPUExecutionProvider" in providers


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (["big,little"], ["big", "little"]), (["0,2-3"], ["0,2-3"]), (["0;1"], ["0", "1"]),
        (["0,1; big", "2-3"], ["0,1", "big", "2-3"]), (["all"], ["all"]), ([""], [""]),
    ],
)  # fmt: skip
def test_affinities_are_divided_by_semicolons_and_words_by_commas(given: list[str], parts: list[str]) -> None:
    assert arguments.affinities(given) == parts


@pytest.mark.parametrize("option", ["--threads", "--batch"])
@pytest.mark.parametrize("value", ["a", "", "1,,2", "0", "1,-1", "1.5"])
def test_bad_lists_exit_2(free: Path, option: str, value: str) -> None:
    done = cli("bench", free, f"{option}={value}")
    assert done.returncode == 2 and "Traceback" not in done.stderr and done.stdout == ""


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_has_units_in_its_header_and_a_row_each(tflite_model: Path, tflite_golden: Path) -> None:
    done = cli(
        "bench", tflite_model, *QUICKLY, "--golden", tflite_golden, "--batch", "1,4", "--csv",
        "--option", "xnnpack=false",
    )  # fmt: skip
    assert done.returncode == 2
    first, second = rows_of(done.stdout)
    assert first["status"] == "ok" and first["golden.status"] == "passed"
    assert json.loads(first["protocol.options"]) == {"xnnpack": False}
    assert float(first["latency.cpu_p50_s"]) > 0 and int(first["memory.peak_bytes"]) > 1 << 20
    assert int(first["doubts_count"]) > 0
    assert (second["status"], second["protocol.batch_count"], second["latency.min_s"]) == ("failed", "4", "")
    assert "fixed batch" in second["reason"]


def test_csv_of_a_spec(free: Path, tmp_path: Path) -> None:
    spec = {"schema_version": 2, **QUICK, "artifact": str(free)}
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    done = cli("run", tmp_path / "spec.json", "--csv")
    assert done.returncode == 0 and rows_of(done.stdout)[0]["runtime.name"] == "ONNX Runtime"
    (tmp_path / "spec.json").write_text(json.dumps({**spec, "kind": "check"}))
    done = cli("run", tmp_path / "spec.json", "--csv")
    assert done.returncode == 2 and "kind bench, not 'check'" in done.stderr
    assert cli("bench", free, "--csv", "--json").returncode == 2


@pytest.fixture(scope="module")
def measured(free: Path) -> record.AnyRecord:
    found = api.bench({**QUICK, "artifact": str(free), "profile": True})
    assert found["status"] == "ok", found["reason"]
    return found


def test_a_disturbed_median_is_neither_in_the_csv_nor_in_the_table(measured: record.AnyRecord) -> None:
    spec = {"artifact": "m.onnx"}
    made = sweep.product(spec, {"threads_count": [1, 2]}, {})
    for valid in (True, False):
        latency = {**measured["latency"], "p50_valid": valid, "p50_s": 5.0, "min_s": 0.0456}
        found = {**measured, "latency": latency, "reason": 'a, b\n"c"'}
        (row,) = rows_of(output.csv_text([found]))
        assert row["latency.p50_s"] == ("5.0" if valid else "") and row["latency.min_s"] == "0.0456"
        assert (row["latency.mean_s"] == "") != valid and row["reason"] == found["reason"]
        line = sweep.render(made, [found, found]).splitlines()[2]
        assert ("5000 ms" in line) == valid and ("at least 45.6 ms" in line) != valid


def test_a_profile_is_taken_after_the_timing_and_shown(measured: record.AnyRecord) -> None:
    found = measured["profile"]
    assert {op["op"] for op in found["ops"]} == {"MatMul", "Relu"}
    assert sum(op["share_ratio"] for op in found["ops"]) == pytest.approx(1)
    assert measured["runtime"]["placement"]["nodes"] == {"CPUExecutionProvider": 2}
    assert measured["runtime"]["placement"]["nodes_source"] == "profiler of ONNX Runtime"
    shown = table.render(measured)
    assert "profile           2 of 2 operators" in shown
    assert shown.count("on CPUExecutionProvider") == 2 and "MatMul" in shown


def test_only_the_top_ten_operators_are_shown(measured: record.AnyRecord) -> None:
    op = {"name": "n", "op": "Add", "where": "CPU", "calls_count": 1, "total_s": 1.0, "share_ratio": 0.05}
    many = {**measured, "profile": {**measured["profile"], "ops": [op] * 25}}
    shown = table.render(many)
    assert "10 of 25 operators" in shown and shown.count("  Add  n  on CPU") == 10


def test_a_runtime_without_a_profiler_says_so(tflite_model: Path) -> None:
    found = api.bench({**QUICK, "artifact": str(tflite_model), "profile": True})
    assert found["status"] == "ok" and found["profile"]["source"] == "unavailable"
    assert "profile           unavailable: LiteRT" in table.render(found)


def test_without_the_flag_there_is_no_profile(free: Path) -> None:
    assert api.bench({**QUICK, "artifact": str(free)})["profile"] is None


def test_a_profile_that_crashes_leaves_the_measurement_and_a_doubt(
    free: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = spawn.run

    def run(spec: Spec) -> record.AnyRecord:
        if spec.kind == "check":
            return record.fail(record.blank("check"), "the worker was killed by SIGSEGV.", "crash")
        return plain(spec)

    monkeypatch.setattr(spawn, "run", run)
    found = api.bench({**QUICK, "artifact": str(free), "profile": True})
    assert found["status"] == "ok" and found["latency"]["p50_s"] > 0 and found["profile"] is None
    assert "There is no profile: the worker was killed by SIGSEGV." in found["doubts"]


def test_a_record_comes_out_as_soon_as_it_is_there(faked: list[dict[str, Any]]) -> None:
    made = sweep.product({"artifact": "m.onnx"}, {"threads_count": [1, 2]}, {})
    found = sweep.run(made)
    next(found)
    assert len(faked) == 1


@pytest.mark.skipif(os.name != "posix", reason="elsewhere an open file keeps its name")
def test_a_profile_that_is_killed_leaves_no_file(
    free: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it runs, the runtime's file has no name that could stay behind."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    seen: list[list[Path]] = []
    plain = onnxruntime.OnnxSession.invoke

    def invoke(session: onnxruntime.OnnxSession) -> None:
        seen.append(list(tmp_path.iterdir()))
        plain(session)

    monkeypatch.setattr(onnxruntime.OnnxSession, "invoke", invoke)
    feeds = {"x": np.ones((1, 64), np.float32)}
    calls = onnxruntime.profile(str(free), 1, {}, feeds, 3)
    assert len(calls) == 6 and seen == [[]] * 4 and list(tmp_path.iterdir()) == []
