"""Other versions of a runtime, beside: what is asked for, what a process there sees, and a real old one."""

import subprocess
from pathlib import Path

import exported_net
import msgspec
import pytest

from edgekit.engine import beside
from edgekit.errors import MissingRuntime, UserError
from edgekit.formats import RUNTIMES
from edgekit.package import manifest_file, other_versions
from edgekit.package.other_versions import VersionProof
from edgekit.profile.reading import load_target


@pytest.mark.parametrize(
    "text", ["onnxruntime", "onnxruntime==", "torch==2.0", "onnxruntime>=1.17", "coremltools==9.0"]
)
def test_what_is_not_a_package_and_versions(text: str) -> None:
    with pytest.raises(
        UserError,
        match=r"is neither oldest nor PACKAGE==VERSION,VERSION; packages: onnxruntime, openvino, ai-edge-litert",
    ):
        other_versions.read_versions(text)
    assert other_versions.read_versions("onnxruntime==1.18.1, 1.20.1") == (
        "onnxruntime",
        ("1.18.1", "1.20.1"),
    )


def test_a_process_beside_sees_its_folder_alone(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("VALUE = 7\n")
    done = beside.run(
        [tmp_path], "import own, sys; print(own.VALUE, sys.argv[1:], sys.stdin.read())", "x", stdin="y"
    )
    assert done.stdout.strip() == "7 ['x'] y"
    assert beside.run([tmp_path], "import numpy").returncode != 0  # nothing of this environment


def test_numpy_goes_with_the_version() -> None:
    assert other_versions._wheels("onnxruntime", "onnxruntime", "1.18.1")[1] == "numpy==1.26.4"
    assert other_versions._wheels("onnxruntime", "onnxruntime", "1.19.0")[1] != "numpy==1.26.4"


def test_what_pip_cannot_fetch_is_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported_net.write_export(tmp_path)

    def refuse(_packages: object) -> Path:
        raise MissingRuntime("pip cannot fetch onnxruntime==0.0.9")

    monkeypatch.setattr(beside, "cached", refuse)
    (row,) = other_versions.prove(folder, ["onnxruntime==0.0.9"])
    assert not row.passed and row.reason == "pip cannot fetch onnxruntime==0.0.9"
    assert other_versions.exit_code([row]) == 1
    with pytest.raises(UserError, match=r"no target in .* runs in openvino"):
        other_versions.prove(folder, ["openvino==2024.6.0"])


def test_a_lesser_name_than_it_was_exported_with_is_a_failure(tmp_path: Path) -> None:
    data = manifest_file.artifact_of(exported_net.write_export(tmp_path))[1]
    called = data.compression.called
    lint = msgspec.structs.replace(data.lint, findings=(), called=called)
    assert other_versions._findings(lint, data) == ()
    lesser = msgspec.structs.replace(lint, called="mixed, 3 % of the work in integers")
    assert other_versions._findings(lesser, data) == (
        f"it runs there as mixed, 3 % of the work in integers, not as {called}",
    )


@pytest.mark.slow
def test_a_real_old_version(tmp_path: Path) -> None:
    folder = exported_net.write_export(tmp_path)
    try:
        (row,) = other_versions.prove(folder, ["onnxruntime==1.17.3"])
    except subprocess.TimeoutExpired:
        pytest.skip("pip is too slow here")
    if "pip cannot fetch" in row.reason:
        pytest.skip(row.reason)
    assert isinstance(row, VersionProof) and row.passed, row.reason
    assert row.max_abs_error is not None and row.share == 1.0 and row.ops


def test_the_oldest_is_what_the_manifest_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exported_net.write_export(tmp_path)
    asked: list[object] = []

    def refuse(packages: object) -> Path:
        asked.append(packages)
        raise MissingRuntime("pip cannot fetch it")

    monkeypatch.setattr(beside, "cached", refuse)
    named = manifest_file.read(folder).target.min_runtime
    (row,) = other_versions.prove(folder, ["oldest"])
    assert (named, row.package, row.version) == ("onnxruntime 1.17", "onnxruntime", "1.17.0")
    assert asked == [("onnxruntime==1.17.0", "numpy==1.26.4")]


def test_profiles_name_the_oldest_version_that_files_were_run_in() -> None:
    for name in ("x86-server", "arm-mobile", "tflite-int8"):
        target = load_target(name)
        assert target.deployment.min_runtime == f"{target.runtime} {RUNTIMES[target.runtime].oldest}"
