"""The main job on the embedded default: `edgekit demo` to four proven, measured artifacts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner.artifact import sha256

from edgekit.cli.demo_task import demo_reference
from edgekit.records import Report
from edgekit.report import load

pytestmark = pytest.mark.long

FILES = {
    "arm-mobile": "model.onnx",
    "coreml-fp16": "model.mlpackage",
    "tflite-int8": "model.tflite",
    "x86-server": "model.onnx",
}
PRECISIONS = {"arm-mobile": "int8", "coreml-fp16": "float16", "tflite-int8": "int8", "x86-server": "int8"}


def edgekit(*arguments: object, exit_code: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=570)
    assert result.returncode == exit_code, result.stderr
    return result


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="session")
def demo(place: Path) -> subprocess.CompletedProcess[str]:
    return edgekit("demo", "-o", place / "out", "--json")


@pytest.fixture(scope="session")
def out(place: Path, demo: object) -> Path:
    """The demo's folder; tests read it only."""
    return place / "out"


@pytest.fixture(scope="session")
def report(out: Path) -> Report:
    return load.read(out)


@pytest.fixture(scope="session")
def manifests(out: Path) -> dict[str, dict[str, Any]]:
    return {name: json.loads((out / name / "manifest.json").read_text()) for name in FILES}


def test_every_target_is_accepted(report: Report) -> None:
    assert report.task == "digits"
    assert {t.target: t.accepted for t in report.targets} == dict.fromkeys(FILES, True)
    assert report.float_metric > 0.97
    assert report.samples == 600
    assert 70_000 < report.parameters < 80_000


def test_stdout_is_one_json_document_and_stderr_the_progress(
    demo: subprocess.CompletedProcess[str], report: Report, out: Path
) -> None:
    assert json.loads(demo.stdout) == json.loads((out / "report.json").read_text())
    assert "all targets  trace: done in " in demo.stderr
    assert all(f"{name}  verify: done in " in demo.stderr for name in FILES)


def test_nothing_is_left_beside_the_output(out: Path) -> None:
    assert [p.name for p in out.parent.iterdir()] == ["out"]


@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_folder_of_a_target(name: str, file: str, out: Path) -> None:
    found = {p.name for p in (out / name).iterdir()}
    assert found == {file, "manifest.json", "golden.npz", "log.jsonl", "logs", "SHA256SUMS"}
    events = [json.loads(line) for line in (out / name / "log.jsonl").read_text().splitlines()]
    assert {e["target"] for e in events} == {"", name}
    assert "verify" in {e["stage"] for e in events}
    assert any(log.stat().st_size for log in (out / name / "logs").iterdir())


def test_pages(out: Path) -> None:
    page = (out / "report.html").read_text()
    assert all(name in page for name in FILES)
    assert {p.name for p in (out / "baselines").iterdir()} == {
        "model.onnx",
        "model.tflite",
        "model.mlpackage",
    }


@pytest.mark.parametrize("name", FILES)
def test_manifest(name: str, manifests: dict[str, Any], out: Path, report: Report) -> None:
    manifest = manifests[name]
    (entry,) = manifest["artifacts"]
    path = out / name / entry["path"]
    assert entry["sha256"] == sha256(path) == manifest["model"]["content_version"]
    assert manifest["golden"]["sha256"] == sha256(out / name / "golden.npz")
    assert manifest["model"]["name"] == "digits"
    assert manifest["target"]["name"] == name
    assert manifest["compression"]["precision"] == entry["precision"] == PRECISIONS[name]
    assert manifest["preprocessing"]["labels"] == [str(digit) for digit in range(10)]
    assert manifest["preprocessing"]["mean"] == [0.5]
    (image,) = manifest["signature"]["inputs"]
    assert sorted(image["shape"]) == [1, 1, 32, 32]
    accuracy = manifest["accuracy"]
    assert accuracy["float_metric"] == report.float_metric
    assert accuracy["float_metric"] - accuracy["metric"] <= 0.01
    assert accuracy["parity"]["samples"] == 600
    assert accuracy["parity"]["agreement"] >= 0.98
    assert manifest["lint"]["passed"]
    assert manifest["toolchain"]["torch"]


@pytest.mark.parametrize("name", FILES)
def test_golden_pair(name: str, manifests: dict[str, Any], out: Path) -> None:
    golden = np.load(out / name / "golden.npz", allow_pickle=False)
    assert golden["input_0"].size == 32 * 32
    assert golden["output_0"].shape == (1, 10)
    assert np.isfinite(golden["output_0"]).all()
    assert 0 < manifests[name]["golden"]["atol"] < np.abs(golden["output_0"]).max()


def test_sizes_and_structure(report: Report) -> None:
    for target in report.targets:
        chosen, baseline = target.chosen, target.baseline
        assert chosen is not None and chosen.artifact is not None and baseline is not None
        limit = 0.6 if chosen.artifact.precision == "float16" else 0.45
        assert chosen.artifact.size_bytes < limit * baseline.size_bytes
        assert chosen.verdict is not None
        assert chosen.verdict.lint.transposes == 0
        assert chosen.stages
        assert not Path(chosen.artifact.path).is_absolute()


def test_time_decides_only_where_it_was_measured_on_the_target(report: Report) -> None:
    for target in report.targets:
        chosen = target.chosen
        assert chosen is not None and chosen.measurement is not None
        speed = [text for text in chosen.decision.not_measured if text.startswith("speed against float")]
        if not chosen.measurement.on_target:
            assert len(speed) == 1
        else:  # a stronger machine than the serving level may refuse, but cannot vouch for that level
            assert all(text.startswith("speed against float on the serving level") for text in speed)
        if target.target in ("coreml-fp16", "arm-mobile", "tflite-int8") and os.uname().machine == "x86_64":
            assert not chosen.measurement.on_target
            assert "not measured on the target" in chosen.measurement.reason


def test_no_path_of_this_machine_is_written(out: Path) -> None:
    texts = [*out.glob("*/manifest.json"), out / "report.json", out / "report.html"]
    assert [p for p in texts if str(out.parent) in p.read_text()] == []


def test_verify(out: Path) -> None:
    shown = edgekit("verify", out).stdout.splitlines()
    assert [line.partition(":")[0] for line in shown] == sorted(FILES)
    assert all(": ok; checksums match, golden output within " in line for line in shown)


def test_verify_one_as_json(out: Path) -> None:
    found = json.loads(edgekit("verify", out / "tflite-int8", "--json").stdout)
    assert list(found) == ["tflite-int8"]
    assert found["tflite-int8"]["max_abs_error"] <= found["tflite-int8"]["golden_atol"]


def test_bench(out: Path) -> None:
    result = edgekit("bench", out / "x86-server", "--threads", "1,2", "--json", "--protocol", "quick")
    outcomes = json.loads(result.stdout.splitlines()[-1])
    assert [o["error"] for o in outcomes] == [None, None]
    assert [o["record"]["status"] for o in outcomes] == ["ok", "ok"]
    assert [line.rpartition("threads: ")[2] for line in result.stderr.splitlines()] == ["1", "2"]


def test_bench_of_a_file(out: Path) -> None:
    assert (
        "model.tflite" in edgekit("bench", out / "tflite-int8" / "model.tflite", "--protocol", "quick").stdout
    )


def test_report(out: Path, tmp_path: Path) -> None:
    shown = edgekit("report", out, "-o", tmp_path / "page.html").stdout
    assert shown.startswith("digits: 4 of 4 targets accepted; float metric ")
    assert all(name in shown for name in FILES)
    assert "digits" in (tmp_path / "page.html").read_text()


def test_report_as_json(out: Path) -> None:
    (single,) = json.loads(edgekit("report", out, "--json").stdout)
    assert single == json.loads((out / "report.json").read_text())


@pytest.fixture(scope="session")
def again(place: Path, out: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second export of two targets, over a folder that an earlier one wrote."""
    second = tmp_path_factory.mktemp("again") / "out"
    second.mkdir()
    (second / "report.json").write_text((out / "report.json").read_text())
    (second / "left-over.txt").write_text("of the earlier export")
    edgekit("export", demo_reference(), "-t", "x86-server", "-t", "tflite-int8", "-q", "-o", second)
    return second


@pytest.mark.slow
def test_a_second_export_replaces_the_first(again: Path) -> None:
    assert sorted(p.name for p in again.iterdir()) == [
        "SHA256SUMS", "baselines", "report.html", "report.json", "tflite-int8", "x86-server",
    ]  # fmt: skip
    assert [p.name for p in again.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["x86-server", "tflite-int8"])
@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(name: str, again: Path, report: Report) -> None:
    def hashes(found: Report) -> tuple[str, str]:
        target = next(t for t in found.targets if t.target == name)
        assert (
            target.chosen is not None and target.chosen.artifact is not None and target.baseline is not None
        )
        return target.chosen.artifact.sha256, target.baseline.sha256

    assert hashes(load.read(again)) == hashes(report)
