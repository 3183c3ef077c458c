"""manifest.json: written, read, and refused when it or what it describes was changed by hand."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import onnx
import pytest
from builders import FAST, accepted, manifest_of
from edgekit_runner.artifact import sha256
from onnx import TensorProto, helper

from edgekit.errors import UserError, VerificationError
from edgekit.package import manifest_file, schemas
from edgekit.records import (
    Artifact,
    Attempt,
    Preprocessing,
    TensorSpec,
)
from edgekit.records.manifest import Manifest

X = TensorSpec(name="x", shape=(1, 3, 2, 2), dtype="float32")
Y = TensorSpec(name="y", shape=(1, 3, 2, 2), dtype="float32", scale=0.5, zero_point=-3)
IMAGE = Preprocessing(mean=(0.5,), std=(0.25,), layout="NCHW", labels=("cat", "dög"))


def write_model(path: Path) -> None:
    x, y = (helper.make_tensor_value_info(s.name, TensorProto.FLOAT, s.shape) for s in (X, Y))
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "tiny", [x], [y])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def attempt(folder: Path, **changes: Any) -> Attempt:
    path = folder / "model.onnx"
    artifact = Artifact(
        path=str(path),
        format="onnx",
        precision="float32",
        size_bytes=path.stat().st_size,
        sha256=sha256(path),
        inputs=(X,),
        outputs=(Y,),
        layout="NCHW",
        toolchain={"onnx": "1"},
        compressed_bytes={"gzip": 90, "zstd": 95},
        doubts=("from the exporter",),
    )
    return accepted(changes.pop("artifact", artifact), **changes)


def build(folder: Path, **changes: Any) -> Manifest:
    done = attempt(folder, **changes)
    return manifest_of(done, folder, IMAGE, task="my task")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A target's folder as an export leaves it."""
    place = tmp_path / "build" / "x86-server"
    place.mkdir(parents=True)
    write_model(place / "model.onnx")
    np.savez(place / manifest_file.GOLDEN, input_0=np.zeros(X.shape), output_0=np.zeros(Y.shape))
    manifest_file.write(build(place), place)
    return place


@pytest.fixture
def edit(folder: Path) -> Callable[[Callable[[dict[str, Any]], Any]], None]:
    """Changes the manifest by hand."""

    def change(call: Callable[[dict[str, Any]], Any]) -> None:
        data = json.loads((folder / manifest_file.NAME).read_text(encoding="utf-8"))
        call(data)
        (folder / manifest_file.NAME).write_text(json.dumps(data), encoding="utf-8")

    return change


# ---------------------------------------------------------------------------------------------- round trip


def written(folder: Path) -> dict[str, Any]:
    """As an app build reads it."""
    found = json.loads((folder / manifest_file.NAME).read_text(encoding="utf-8"))
    assert manifest_file.read(folder) == msgspec.convert(found, Manifest)
    return found


def test_what_an_app_build_reads(folder: Path) -> None:
    data = written(folder)
    assert data["schema_version"] == manifest_file.SCHEMA_VERSION
    assert data["model"] == {"name": "my task", "content_version": sha256(folder / "model.onnx")}
    assert data["target"] == {
        "name": "x86-server",
        "isa": "avx2",
        "runtime": "onnxruntime",
        "abi": ["x86_64"],
        "min_ios": None,
        "min_android_sdk": None,
        "min_runtime": "onnxruntime 1.17",
    }
    (entry,) = data["artifacts"]
    assert entry["path"] == "model.onnx" and entry["role"] == "model"
    assert entry["bytes"] == (folder / "model.onnx").stat().st_size
    assert entry["sha256"] == sha256(folder / "model.onnx")
    assert entry["compressed_bytes"] == {"gzip": 90, "zstd": 95}
    digest = sha256(folder / "golden.npz")
    assert data["golden"] == {"path": "golden.npz", "atol": 0.125, "sha256": digest, "exact": False}
    (given,), (answer,) = data["signature"]["inputs"], data["signature"]["outputs"]
    assert given["normalization"] == {"mean": [0.5], "std": [0.25], "range": [0.0, 1.0]}
    assert (given["layout"], given["shape"]) == ("NCHW", [1, 3, 2, 2])
    assert (answer["labels"], answer["scale"], answer["zero_point"]) == (["cat", "dög"], 0.5, -3)
    assert data["doubts"] == ["from the exporter", "from the verifier"]
    assert data["not_measured"] == ["speed: nobody did"]
    assert data["measurement"] is None
    assert (data["accuracy"]["metric"], data["accuracy"]["float_metric"]) == (0.892, 0.894)


def test_the_artifact_comes_back(folder: Path) -> None:
    found, data = manifest_file.artifact_of(folder)
    before = attempt(folder).artifact
    assert before is not None
    for name in (
        "path",
        "format",
        "precision",
        "size_bytes",
        "sha256",
        "inputs",
        "outputs",
        "toolchain",
        "compressed_bytes",
    ):
        assert getattr(found, name) == getattr(before, name)
    assert data == manifest_file.read(folder)


def test_a_manifest_from_before_compressed_sizes_is_read(folder: Path, edit: Any) -> None:
    edit(lambda data: data["artifacts"][0].pop("compressed_bytes"))
    assert manifest_file.artifact_of(folder)[0].compressed_bytes == {}


def test_the_text_is_canonical(folder: Path) -> None:
    """Two exports of the same thing differ in nothing; a person and a diff can read it."""
    text = (folder / manifest_file.NAME).read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert "dög" in text
    manifest_file.write(build(folder), folder)
    assert (folder / manifest_file.NAME).read_text(encoding="utf-8") == text


def test_nothing_in_it_names_the_machine_that_wrote_it(folder: Path, tmp_path: Path) -> None:
    assert str(tmp_path) not in (folder / manifest_file.NAME).read_text(encoding="utf-8")


def test_the_folder_can_be_moved(folder: Path, tmp_path: Path) -> None:
    shutil.move(folder, tmp_path / "elsewhere")
    found, _ = manifest_file.artifact_of(tmp_path / "elsewhere")
    assert found.path == str(tmp_path / "elsewhere" / "model.onnx")


def test_a_measurement_and_its_doubts(folder: Path) -> None:
    measured = msgspec.structs.replace(FAST, doubts=("from the runner",))
    data = build(folder, measurement=measured)
    assert data.measurement is not None and data.measurement.cpu_ratio == 0.62
    assert data.doubts[-1] == "from the runner"


def test_nan_is_never_written(folder: Path) -> None:
    """NaN is no JSON: every reader but Python's would choke on the file."""
    with pytest.raises(ValueError, match="JSON"):
        manifest_file.write(
            msgspec.structs.replace(build(folder), toolchain={"figure": float("nan")}), folder
        )  # type: ignore[dict-item]


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_preprocessing_and_signature_never_disagree(folder: Path, layout: Any) -> None:
    """A converter may have changed the layout of the input: the app must see one answer."""
    artifact = attempt(folder).artifact
    assert artifact is not None
    data = build(folder, artifact=msgspec.structs.replace(artifact, layout=layout))
    assert data.preprocessing.layout == data.signature.inputs[0].layout == layout


def test_its_schema_accepts_what_is_written_and_refuses_the_rest(folder: Path) -> None:
    schema = schemas.schema("manifest")
    jsonschema.validate(written(folder), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**written(folder), "golden": {"path": "x"}}, schema)


# ---------------------------------------------------------------------------------------------- altered


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_one_flipped_bit_is_found(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    expected = manifest_file.read(folder).file.sha256
    with pytest.raises(VerificationError) as caught:
        manifest_file.artifact_of(folder)
    assert str(caught.value).startswith(f"{folder / name} was altered after export: its sha256 is ")
    if name == "model.onnx":
        assert str(caught.value).endswith(f"the manifest says {expected[:16]}...")


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_a_file_that_is_gone(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(VerificationError) as caught:
        manifest_file.artifact_of(folder)
    assert str(caught.value) == f"{folder / name} is missing; export again"


@pytest.mark.parametrize(
    "way_out", ["../outside.onnx", "a/../../outside.onnx", "{root}/outside.onnx", "link.onnx"]
)
def test_a_path_that_leaves_the_folder(folder: Path, edit: Any, way_out: str) -> None:
    """Even if the file outside has the right content."""
    shutil.copyfile(folder / "model.onnx", folder.parent / "outside.onnx")
    (folder / "link.onnx").symlink_to(folder.parent / "outside.onnx")
    name = way_out.format(root=folder.parent)
    edit(lambda data: data["artifacts"][0].update(path=name))
    with pytest.raises(VerificationError) as caught:
        manifest_file.artifact_of(folder)
    assert str(caught.value) == f"{folder / manifest_file.NAME} points outside its folder: {name}"


def test_the_golden_pair_may_not_leave_it_either(folder: Path, edit: Any) -> None:
    edit(lambda data: data["golden"].update(path="../golden.npz"))
    with pytest.raises(VerificationError, match=r"points outside its folder: \.\./golden\.npz"):
        manifest_file.artifact_of(folder)


# ---------------------------------------------------------------------------------------------- incomplete


@pytest.mark.parametrize("version", [0, 1, "2", None, 1.5])
def test_another_schema(folder: Path, edit: Any, version: Any) -> None:
    edit(lambda data: data.update(schema_version=version))
    with pytest.raises(UserError) as caught:
        manifest_file.artifact_of(folder)
    assert str(caught.value) == (
        f"{folder / manifest_file.NAME} has schema_version {version!r}; this edgekit reads 2; export again"
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: d.pop("artifacts"),
        lambda d: d.update(artifacts=[]),
        lambda d: d.update(artifacts={"role": "model"}),
        lambda d: d.update(artifacts=None),
        lambda d: d["artifacts"][0].pop("path"),
        lambda d: d["artifacts"][0].pop("sha256"),
        lambda d: d["artifacts"][0].update(role="readme"),
        lambda d: d["artifacts"][0].update(path=5),
        lambda d: d["artifacts"][0].update(format="gguf"),
        lambda d: d["artifacts"][0].update(bytes="many"),
        lambda d: d.pop("golden"),
        lambda d: d["golden"].pop("path"),
        lambda d: d["golden"].pop("atol"),
        lambda d: d["golden"].update(path=5),
        lambda d: d["golden"].update(atol="small"),
        lambda d: d.pop("target"),
        lambda d: d["target"].pop("runtime"),
        lambda d: d["target"].update(runtime="prove"),
        lambda d: d.pop("signature"),
        lambda d: d["signature"].update(inputs=["x"]),
        lambda d: d["signature"]["inputs"][0].pop("dtype"),
        lambda d: d["signature"]["outputs"][0].update(shape="1x3"),
        lambda d: d.pop("toolchain"),
    ],
)
def test_a_manifest_that_was_damaged(
    folder: Path, edit: Any, damage: Callable[[dict[str, Any]], Any]
) -> None:
    """Everything that verify and bench will ask of it is looked at when it is read."""
    edit(damage)
    with pytest.raises(UserError) as caught:
        manifest_file.artifact_of(folder)
    assert str(caught.value).startswith(f"{folder / manifest_file.NAME} does not hold a manifest: ")
    assert str(caught.value).endswith("; export again")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{", "{path} is not JSON: "),
        (b"\xff\xfe", "{path} is not JSON: "),
        (b"[]", "{path} has schema_version None; this edgekit reads 2; export again"),
        (b"null", "{path} has schema_version None; this edgekit reads 2; export again"),
    ],
)
def test_what_is_no_manifest(folder: Path, content: bytes, expected: str) -> None:
    (folder / manifest_file.NAME).write_bytes(content)
    with pytest.raises(UserError) as caught:
        manifest_file.artifact_of(folder)
    assert str(caught.value).startswith(expected.format(path=folder / manifest_file.NAME))


def test_no_manifest_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        manifest_file.read(tmp_path)
    assert str(caught.value) == (
        f"cannot read {tmp_path / 'manifest.json'}: No such file or directory; give a target's folder that `edgekit export` wrote"
    )


# ---------------------------------------------------------------------------------------------- finding them


def test_target_folders(folder: Path, tmp_path: Path) -> None:
    (folder.parent / "refused").mkdir()
    second = shutil.copytree(folder, folder.parent / "arm-mobile")
    assert manifest_file.target_folders(folder.parent) == [second, folder]
    assert manifest_file.target_folders(folder) == [folder]
    wrong = {
        tmp_path / "none": "does not exist; give a folder that `edgekit export` wrote",
        folder.parent / "refused": "holds no accepted artifact (no manifest.json); give a folder",
        folder / "model.onnx": "holds no accepted artifact (no manifest.json); give a folder",
    }
    for place, expected in wrong.items():
        with pytest.raises(UserError) as caught:
            manifest_file.target_folders(place)
        assert str(caught.value).startswith(f"{place} {expected}")


@pytest.mark.parametrize("profile", ["arm-mobile", "x86-server"])
@pytest.mark.parametrize("precision", ["int8", "float32"])
@pytest.mark.parametrize("isa", ["avx2", "avx512-vnni"])
def test_a_file_for_arm_runs_unfused_where_kernels_saturate(
    folder: Path, monkeypatch: pytest.MonkeyPatch, profile: str, precision: str, isa: str
) -> None:
    monkeypatch.setattr(manifest_file, "local_isa", lambda: isa)
    done = attempt(folder)
    assert done.artifact is not None
    done = msgspec.structs.replace(done, artifact=msgspec.structs.replace(done.artifact, precision=precision))
    made = manifest_of(done, folder, IMAGE, target=profile)
    assert manifest_file.is_exact_here(made) == (
        profile == "arm-mobile" and precision == "int8" and isa == "avx2"
    )
