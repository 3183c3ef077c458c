"""The command line: exit codes, one-sentence errors, selftest of a bundle."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgekit_runner import artifact
from edgekit_runner.__main__ import main
from runner_models import cli, last_record

pytestmark = pytest.mark.long

QUICKLY = ("--protocol", "quick", "--runs", "5", "--seconds", "0.01")


def one_sentence(stderr: str) -> bool:
    return (
        "Traceback" not in stderr and stderr.startswith("error: ") and len(stderr.strip().splitlines()) == 1
    )


def test_bench_prints_a_table_and_json(onnx_model: Path, onnx_golden: Path) -> None:
    done = cli("bench", onnx_model, "--golden", onnx_golden, *QUICKLY)
    assert done.returncode == 0 and "median" in done.stdout and "doubt: " in done.stdout
    found = last_record(
        cli("bench", onnx_model, *QUICKLY, "--json", "--option", "optimize=false", "--threads", "2")
    )
    assert found["status"] == "ok" and found["protocol"]["options"] == {"optimize": False}
    assert found["protocol"]["threads_count"] == 2 and any("2 threads" in doubt for doubt in found["doubts"])


def test_compare_prints_a_verdict(onnx_model: Path, tflite_model: Path) -> None:
    done = cli("compare", onnx_model, tflite_model, "--rounds", "6", "--protocol", "quick")
    assert done.returncode in (0, 1, 4), done.stderr
    assert "verdict" in done.stdout and "95 % interval" in done.stdout


VERBS = ("bench", "compare", "sustain", "throughput", "loadgen", "check", "run", "info", "schema", "selftest")


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([verb, "--help"])
    assert f"usage: edgekit-runner {verb}" in capsys.readouterr().out


def test_info() -> None:
    found = last_record(cli("info", "--json"))
    runtimes = {entry["format"]: entry for entry in found["backends"]}
    assert set(runtimes) == {"coreml", "onnx", "tflite"} and runtimes["onnx"]["available"]
    assert found["environment"]["isa"] in cli("info").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("bench", "no-such.onnx"), ("bench", __file__), ("bench", "m.onnx", "--runs", "0"),
        ("bench", "m.onnx", "--threads", "-1"), ("bench", "m.onnx", "--seconds", "nan"),
        ("bench", "m.onnx", "--option", "x"),
        ("compare", "a.onnx", "b.onnx"), ("selftest", "no-such-folder"),
    ],
)  # fmt: skip
def test_user_errors_exit_2_in_one_sentence(arguments: tuple[str, ...]) -> None:
    done = cli(*arguments)
    assert done.returncode == 2, done.stderr
    assert one_sentence(done.stderr), done.stderr


def test_unknown_verb_exits_2() -> None:
    assert cli("fly").returncode == 2


def test_not_a_model_exits_2(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model" * 20)
    done = cli("bench", tmp_path / "m.onnx", "--json")
    assert done.returncode == 2 and one_sentence(done.stderr)
    assert last_record(done)["status"] == "failed"


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML exists here")
def test_core_ml_here_exits_3(tmp_path: Path) -> None:
    (tmp_path / "m.mlpackage" / "Data").mkdir(parents=True)
    (tmp_path / "m.mlpackage" / "Data" / "model.mlmodel").write_bytes(b"x")
    done = cli("bench", tmp_path / "m.mlpackage")
    assert done.returncode == 3 and "Core ML runs on macOS only" in done.stderr


def test_a_missing_runtime_exits_3_with_the_pip_line(onnx_model: Path, tmp_path: Path) -> None:
    """A package of that name that imports like an absent one, ahead on the caller's path."""
    (tmp_path / "site").mkdir()
    blocker = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError("No module named " + name, name=name)
sys.meta_path.insert(0, Block())
"""
    shadow = tmp_path / "site" / "edgekit_runner"
    shutil.copytree(Path(artifact.__file__).parent, shadow, ignore=shutil.ignore_patterns("__pycache__"))
    with (shadow / "__init__.py").open("a") as stream:
        stream.write(blocker)
    done = cli("bench", onnx_model, PYTHONPATH=str(tmp_path / "site"))
    assert done.returncode == 3 and "pip install onnxruntime" in done.stderr and one_sentence(done.stderr)


@pytest.fixture
def bundle(tmp_path: Path, onnx_model: Path, onnx_golden: Path) -> Path:
    shutil.copy(onnx_model, tmp_path / "model.onnx")
    shutil.copy(onnx_golden, tmp_path / "golden.npz")
    write_manifest(tmp_path)
    return tmp_path


def write_manifest(folder: Path, **changes: Any) -> None:
    model, golden = folder / "model.onnx", folder / "golden.npz"
    entry = {"path": "model.onnx", "role": "model", "format": "onnx", "bytes": model.stat().st_size}
    manifest = {
        "schema_version": 2,
        "artifacts": [{**entry, "sha256": artifact.sha256(model)}],
        "golden": {"path": "golden.npz", "atol": 1e-3, "sha256": artifact.sha256(golden)},
        **changes,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_selftest_passes(bundle: Path) -> None:
    done = cli("selftest", bundle, "--json")
    assert done.returncode == 0, done.stderr
    found = last_record(done)
    assert (found["kind"], found["golden"]["status"], found["golden"]["atol"]) == ("check", "passed", 1e-3)
    assert "latency" not in found


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_selftest_sees_a_changed_file(bundle: Path, name: str) -> None:
    with (bundle / name).open("ab") as stream:
        stream.write(b"x")
    done = cli("selftest", bundle)
    assert done.returncode == 1 and "sha256" in done.stderr and one_sentence(done.stderr)


def test_selftest_sees_a_wrong_output(bundle: Path) -> None:
    with np.load(bundle / "golden.npz") as arrays:
        wrong = {key: arrays[key] for key in arrays.files}
    np.savez(bundle / "golden.npz", **{**wrong, "output_0": wrong["output_0"] + 1})
    write_manifest(bundle)
    done = cli("selftest", bundle)
    assert done.returncode == 1 and "differs from golden" in done.stderr


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"schema_version": 1}, 2), ({"artifacts": []}, 2), ({"artifacts": 3}, 2), ({"golden": 3}, 2),
        ({"artifacts": [{"path": "../model.onnx", "role": "model"}]}, 2),
        ({"artifacts": [{"path": "/etc/hostname", "role": "model"}]}, 2),
        ({"artifacts": [{"path": "gone.onnx", "role": "model", "sha256": "0"}]}, 1),
    ],
)  # fmt: skip
def test_selftest_of_a_bad_manifest(bundle: Path, changes: dict[str, Any], code: int) -> None:
    write_manifest(bundle, **changes)
    done = cli("selftest", bundle)
    assert done.returncode == code and one_sentence(done.stderr), done.stderr
