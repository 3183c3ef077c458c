"""What may be given to bench and compare: files, exported folders, records; and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_manifest
from edgekit_runner import record as records
from edgekit_runner.artifact import sha256
from runner_models import cli, last_record

from edgekit.bench import subjects
from edgekit.errors import UserError, VerificationError


def export(folder: Path, model: Path, atol: float = 0.25) -> Path:
    """A target's folder as `edgekit export` leaves it, as far as measuring reads it."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.read_bytes())
    zeros = np.zeros((1, 64), np.float32)
    np.savez(folder / "golden.npz", input_0=zeros, output_0=zeros)
    write_manifest(folder, atol)
    return folder


@pytest.fixture(scope="module")
def protocol(model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a run with options, as the runner writes it."""
    spec = {"schema_version": 2, "kind": "check", "artifact": str(model), "options": {"optimize": False}}
    path = write(tmp_path_factory.mktemp("spec") / "spec.json", spec)
    return dict(last_record(cli("run", path))["protocol"])


def record_of(model: Path, kind: str = "bench", **changes: Any) -> dict[str, Any]:
    about = {"path": str(model), "format": "onnx", "size_bytes": 1, "sha256": sha256(model)}
    return {**records.blank(kind), "artifact": about, **changes}


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data))
    return path


def test_a_file_and_a_package_stand_for_themselves(model: Path, tmp_path: Path) -> None:
    (tmp_path / "net.mlpackage").mkdir()
    for place in (model, tmp_path / "net.mlpackage"):
        assert subjects.read_all(place) == [{"artifact": str(place)}]


def test_an_exported_folder_stands_for_all_its_targets_with_their_golden_pairs(
    model: Path, tmp_path: Path
) -> None:
    a, b = export(tmp_path / "a-target", model, 0.25), export(tmp_path / "b-target", model, 0.5)
    (tmp_path / "refused-target").mkdir()
    assert subjects.read_all(tmp_path) == [
        {
            "artifact": str(folder / "model.onnx"),
            "format": "onnx",
            "golden": str(folder / "golden.npz"),
            "golden_atol": atol,
        }
        for folder, atol in ((a, 0.25), (b, 0.5))
    ]
    assert subjects.read_one(a) == subjects.read_all(tmp_path)[0]


def test_a_pair_keeps_what_belongs_to_each(model: Path, tmp_path: Path) -> None:
    folder = export(tmp_path / "target", model)
    assert subjects.pair(folder, model) == {**subjects.read_one(folder), "baseline": str(model)}
    assert subjects.pair(model, folder) == {
        "artifact": str(model),
        "baseline": str(folder / "model.onnx"),
        "baseline_format": "onnx",
        "baseline_golden": str(folder / "golden.npz"),
        "baseline_golden_atol": 0.25,
    }


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("kind", ["bench", "check"])
def test_a_record_stands_for_its_artifact_and_the_options_of_its_run(
    model: Path, protocol: dict[str, Any], tmp_path: Path, kind: str, wrapped: bool
) -> None:
    """Also as `edgekit bench --json` prints it."""
    data: object = record_of(model, kind, protocol=protocol)
    if wrapped:
        data = [{"device": "local", "record": data, "error": None}]
    path = write(tmp_path / "record.json", data)
    assert subjects.read_one(path) == {
        "artifact": str(model),
        "format": "onnx",
        "options": {"optimize": False},
    }


def test_an_artifact_that_is_not_what_the_record_is_about(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(model.read_bytes())
    path = write(tmp_path / "record.json", record_of(copy))
    copy.write_bytes(copy.read_bytes() + b" ")
    with pytest.raises(VerificationError, match="its sha256 is another"):
        subjects.read_one(path)
    copy.unlink()
    with pytest.raises(UserError, match=r"copy\.onnx, which is not there"):
        subjects.read_one(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([], "a record is a JSON object, not list"),
        ([{"record": None}], "a record is a JSON object, not NoneType"),
        ([1, 2], "not list"),
        ({}, "schema_version is None"),
        ({"schema_version": 1, "kind": "bench"}, "schema_version is 1"),
        ({**records.blank("bench")}, "is no record of one artifact"),
        ({**records.blank("compare")}, r"is no record of one artifact .its kind is compare"),
    ],
)
def test_json_that_is_no_record(tmp_path: Path, data: object, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        subjects.read_one(write(tmp_path / "x.json", data))
    assert re.search(sentence, str(caught.value))
    assert "give an artifact file, " in str(caught.value)


def test_text_that_is_no_json(tmp_path: Path) -> None:
    for text in (b"", b"{", b"\xff\xfe", b"[" * 100_000):
        (tmp_path / "x.json").write_bytes(text)
        with pytest.raises(UserError, match="is not a runner's record"):
            subjects.read_one(tmp_path / "x.json")


def test_a_folder_of_several_targets_is_not_one(model: Path, tmp_path: Path) -> None:
    for name in ("a-target", "b-target"):
        export(tmp_path / name, model)
    with pytest.raises(UserError, match=r"several targets \(a-target, b-target\); name the folder of one"):
        subjects.read_one(tmp_path)


def test_a_place_that_is_neither(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no accepted artifact"):
        subjects.read_all(tmp_path)
    with pytest.raises(UserError, match="does not exist"):
        subjects.read_all(tmp_path / "none")


def test_an_export_that_was_altered(model: Path, tmp_path: Path) -> None:
    folder = export(tmp_path / "target", model)
    with (folder / "model.onnx").open("ab") as stream:
        stream.write(b" ")
    with pytest.raises(VerificationError, match="altered after export"):
        subjects.pair(folder, folder)
