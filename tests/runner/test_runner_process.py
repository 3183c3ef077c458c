"""Fresh workers: records of every ending, memory, isolation, light imports, the zipapp."""

import json
import os
import signal
import subprocess
import sys
import time
import zipapp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import api, record, spawn, spec
from runner_models import QUICK, RUNNER, write_onnx

pytestmark = pytest.mark.long

UNIT_SUFFIXES = ("_s", "_ns", "_bytes", "_ratio", "_count", "_hz", "_celsius", "_j", "_percent")
UNITLESS = {"schema_version", "seed", "shape", "scale", "zero_point", "atol", "max_abs_error"}
UNITLESS |= {"golden_atol", "baseline_golden_atol"}


def keys_without_unit(value: Any, key: str = "") -> list[str]:
    if isinstance(value, dict):
        return [bad for name, item in value.items() for bad in keys_without_unit(item, name)]
    if isinstance(value, list):
        return [bad for item in value for bad in keys_without_unit(item, key)]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return [key] if number and key not in UNITLESS and not key.endswith(UNIT_SUFFIXES) else []


def bench(path: Path, **more: Any) -> record.AnyRecord:
    return api.bench({**QUICK, "artifact": str(path), **more})


@pytest.fixture(scope="module")
def good(onnx_model: Path, onnx_golden: Path) -> record.AnyRecord:
    return bench(onnx_model, golden=str(onnx_golden))


def test_bench_record(good: record.AnyRecord) -> None:
    assert (good["status"], good["reason"], good["error_kind"]) == ("ok", None, None)
    assert good["golden"]["status"] == "passed" and good["golden"]["max_abs_error"] < 1e-4
    assert good["latency"]["runs_count"] >= 20 and 0 < good["latency"]["p50_s"] < 0.1
    assert good["phases"]["warmup_runs_count"] >= 3
    assert good["latency"]["processes_count"] == 2 and good["samples"] is None
    assert (
        good["validity"]["converged"] is None and "6 are the fewest" in good["validity"]["converged_reason"]
    )
    assert set(good["memory"]["phases"]) == {"baseline", "import", "load", "first_inference", "warmup"}
    assert good["memory"]["peak_bytes"] > good["memory"]["peak_over_baseline_bytes"] > 1 << 20
    assert good["runtime"]["placement"]["providers"] == ["CPUExecutionProvider"]
    assert record.read(record.to_line(good)) == good


def test_every_number_carries_its_unit(good: record.AnyRecord, onnx_model: Path) -> None:
    assert keys_without_unit(good) == []
    pair = api.compare({**QUICK, "artifact": str(onnx_model), "baseline": str(onnx_model), "rounds_count": 6})
    assert keys_without_unit(pair) == []
    assert keys_without_unit({"latency": 1}) == ["latency"]


def test_int8_tflite(tflite_model: Path, tflite_golden: Path) -> None:
    found = bench(tflite_model, golden=str(tflite_golden))
    assert found["status"] == "ok", found["reason"]
    assert found["golden"]["atol"] == pytest.approx(0.1) and "steps" in found["golden"]["atol_source"]
    assert found["inputs"][0]["dtype"] == "int8" and found["inputs"][0]["zero_point"] == 3


def test_a_wrong_output_is_not_timed(onnx_model: Path, onnx_golden: Path, tmp_path: Path) -> None:
    with np.load(onnx_golden) as arrays:
        wrong = {key: arrays[key] for key in arrays.files}
    wrong["output_0"] = wrong["output_0"] + 0.5
    np.savez(tmp_path / "wrong.npz", **wrong)
    found = bench(onnx_model, golden=str(tmp_path / "wrong.npz"))
    assert (found["status"], found["error_kind"], found["latency"]) == ("refused", "verification", None)
    assert "differs from golden by 0.5" in found["reason"] and record.exit_code(found) == 1
    tolerant = bench(onnx_model, golden=str(tmp_path / "wrong.npz"), golden_atol=0.6)
    assert tolerant["status"] == "ok" and tolerant["golden"]["atol_source"] == "given"


def test_nan_outputs_are_refused(tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    path = tmp_path / "nan.onnx"
    write_onnx(path)
    model = onnx.load(path)
    nan = numpy_helper.from_array(np.full((64, 64), np.nan, np.float32), "w")
    model.graph.initializer[0].CopyFrom(nan)
    model.graph.node.pop()  # relu would hide it: max(NaN, 0) is up to the runtime
    model.graph.output[0].name = "m0"
    onnx.save(model, path)
    found = bench(path)
    assert found["status"] == "refused" and "NaN" in found["reason"] and found["latency"] is None


def test_without_golden_the_record_doubts_its_output(onnx_model: Path) -> None:
    found = bench(onnx_model)
    assert found["golden"]["status"] == "absent"
    assert any("random input (seed 0)" in doubt for doubt in found["doubts"])
    assert any("warm page cache" in doubt for doubt in found["doubts"])


def test_compare_sees_which_is_faster(tmp_path: Path) -> None:
    write_onnx(tmp_path / "one.onnx", width=128, repeat=2)
    write_onnx(tmp_path / "four.onnx", width=128, repeat=8)
    paths = {"artifact": str(tmp_path / "one.onnx"), "baseline": str(tmp_path / "four.onnx")}
    found = api.compare({**QUICK, **paths, "rounds_count": 12})
    result = found["comparison"]
    assert found["status"] == "ok", found["reason"]
    assert result["rounds_count"] == 12 and result["verdict"] == "faster"
    assert (
        result["cpu_p50_ci95_low_ratio"]
        <= result["cpu_p50_ratio"]
        <= result["cpu_p50_ci95_high_ratio"]
        < 0.95
    )
    assert result["cpu_p10_ratio"] <= result["cpu_p50_ratio"] <= result["cpu_p90_ratio"]
    for whose in ("artifact", "baseline"):
        rounds_s = result[f"{whose}_wall_rounds_s"]
        assert (
            len(rounds_s) == 12
            and sorted(rounds_s)[5] <= result[f"{whose}_wall_p50_s"] <= sorted(rounds_s)[6]
        )
    assert found["artifact_memory"]["peak_bytes"] > 0 and found["baseline_memory"]["peak_bytes"] > 0


def test_compare_refuses_when_the_baseline_is_wrong(
    onnx_model: Path, tflite_model: Path, onnx_golden: Path
) -> None:
    found = api.compare(
        {
            **QUICK,
            "artifact": str(onnx_model),
            "baseline": str(tflite_model),
            "baseline_golden": str(onnx_golden),
        }
    )
    assert found["status"] == "refused" and found["reason"].startswith("baseline: ")
    assert found["comparison"] is None and found["baseline"]["format"] == "tflite"


@pytest.mark.skipif(sys.platform != "linux", reason="signals and VmHWM")
def test_a_big_caller_does_not_show_in_the_record(onnx_model: Path, good: record.AnyRecord) -> None:
    ballast = bytearray(b"x") * (256 << 20)
    found = bench(onnx_model)
    del ballast
    assert abs(found["memory"]["peak_bytes"] - good["memory"]["peak_bytes"]) < 24 << 20


def worker_that(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawn, "BOOTSTRAP", code)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_crash_becomes_a_record(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    number = int(getattr(signal, name))
    code = "import os, sys; print('last words', file=sys.stderr, flush=True); os.kill(os.getpid(), NUMBER)"
    worker_that(code.replace("NUMBER", str(number)), monkeypatch)
    found = api.bench({"artifact": "m.onnx"})
    assert (found["status"], found["error_kind"]) == ("failed", "crash")
    assert name in found["reason"] and "last words" in found["reason"] and record.exit_code(found) == 1


@pytest.mark.parametrize("code", ["pass", "print('{}')", "print('[1')", "raise SystemExit(7)"])
def test_a_worker_without_a_record_becomes_one(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    worker_that(code, monkeypatch)
    found = api.bench({"artifact": "m.onnx"})
    assert found["error_kind"] == "crash" and "no record" in found["reason"]


def test_a_hanging_worker_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    worker_that("import time; time.sleep(60)", monkeypatch)
    start = time.monotonic()
    found = api.bench({"artifact": "m.onnx", "timeout_s": 0.3})
    assert found["error_kind"] == "timeout" and time.monotonic() - start < 10


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    found = bench(tmp_path / "none.onnx")
    assert found["error_kind"] == "user" and "no artifact" in found["reason"] and record.exit_code(found) == 2
    assert found["environment"]["isa"]


def test_worker_reads_a_spec_file_and_prints_one_record(onnx_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(
        json.dumps(spec.from_dict({"schema_version": 2, **QUICK, "artifact": str(onnx_model)}).to_dict())
    )
    command = [sys.executable, "-m", "edgekit_runner.worker", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(RUNNER)}
    )
    assert done.returncode == 0
    assert record.read(done.stdout)["status"] == "ok"


@pytest.mark.parametrize("text", ["", "{", '{"schema_version": 9, "artifact": "m.onnx"}'])
def test_worker_refuses_a_bad_spec_with_a_record(text: str) -> None:
    command = [sys.executable, "-m", "edgekit_runner.worker", "-"]
    env = {**os.environ, "PYTHONPATH": str(RUNNER)}
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=env)
    assert done.returncode == 2 and record.read(done.stdout)["error_kind"] == "user"


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that a statement loads in a fresh, isolated interpreter."""
    code = f"import sys; sys.path.insert(0, {str(RUNNER)!r}); before = set(sys.modules)\n{statement}\n"
    code += "print('MODULES', *sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.strip().splitlines()[-1].split()[1:])


HELP = """
import contextlib, io
from edgekit_runner.__main__ import main
for verb in ([], ['bench'], ['compare'], ['run'], ['info'], ['selftest']):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        main([*verb, '--help'])
"""


@pytest.mark.parametrize(
    "statement",
    ["import edgekit_runner", HELP, "import edgekit_runner.host.environment", "import edgekit_runner.api"],
)
def test_light_imports(statement: str) -> None:
    heavy = loaded_by(statement) - set(sys.stdlib_module_names)
    assert heavy == {"edgekit_runner"}


def test_the_worker_loads_only_numpy_before_the_runtime() -> None:
    modules = "import edgekit_runner.worker, edgekit_runner.kinds._phases, edgekit_runner.kinds._ab_worker\n"
    modules += "from edgekit_runner import backends\nfor name in backends.names(): backends.load(name)"
    assert loaded_by(modules) - set(sys.stdlib_module_names) == {"edgekit_runner", "numpy"}


def test_one_file_is_enough(tmp_path: Path, onnx_model: Path) -> None:
    archive = tmp_path / "edgekit-runner.pyz"
    zipapp.create_archive(
        RUNNER, archive, main="edgekit_runner.__main__:main", filter=lambda p: p.suffix == ".py"
    )
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [
        sys.executable,
        str(archive),
        "bench",
        str(onnx_model),
        "--protocol",
        "quick",
        "--runs",
        "5",
        "--seconds",
        "0.01",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert record.read(done.stdout.splitlines()[-1])["latency"]["runs_count"] >= 5


def test_a_file_in_the_current_folder_shadows_nothing(
    tmp_path: Path, onnx_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "uuid.py").write_text("raise RuntimeError('shadowed')")
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    monkeypatch.chdir(tmp_path)
    assert bench(onnx_model)["status"] == "ok"
