"""`edgekit package` and `edgekit verify` as a user calls them: what is in a bundle, what is refused, and that nothing is left."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from app_tools import place_in
from builders import FAST
from commands import edgekit as any_edgekit
from commands import run_here
from exported_net import CLASSES, PREPROCESSING, write_export

from edgekit.engine import process
from edgekit.package import manifest_file, schemas, sums
from edgekit.package.image import tensor_of
from edgekit.records import Preprocessing

WEB = ("--name", "tiny", "--version", "1.2.0", "--license", "Apache-2.0", "--for", "web,react-native")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
needs_javac = pytest.mark.skipif(shutil.which("javac") is None, reason="javac is not installed")


def edgekit(*arguments: object) -> tuple[int, str]:
    result = any_edgekit(*arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module", autouse=True)
def here() -> Iterator[None]:
    """Stages run in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "run", run_here)
        yield


@pytest.fixture(scope="module")
def export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_export(tmp_path_factory.mktemp("export")).parent


@pytest.fixture(scope="module")
def made(export: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "dist"
    code, said = edgekit("package", export, *WEB, "-o", out)
    assert code == 0, said
    return out


@pytest.fixture
def dist(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "dist"))


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    pytest.importorskip("cryptography")
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key, place = Ed25519PrivateKey.generate(), tmp_path_factory.mktemp("keys")
    private, public = place / "key.pem", place / "pub.pem"
    private.write_bytes(key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo))
    return private, public


# ---------------------------------------------------------------------------------------------- what is in it


def test_every_file_is_listed_and_the_schema_says_so(made: Path) -> None:
    data = json.loads((made / "bundle.json").read_text(encoding="utf-8"))
    jsonschema.validate(data, schemas.schema("bundle"))
    listed = {file["path"]: file for file in data["files"]}
    files = content(made)
    assert set(files) == {*listed, "bundle.json", "measured.json"}
    jsonschema.validate(json.loads(files["measured.json"]), schemas.schema("measured"))
    for path, file in listed.items():
        assert file["bytes"] == len(files[path])
        assert file["sha256"] == hashlib.sha256(files[path]).hexdigest()
        if path.startswith("targets/"):
            assert files[f"files/{file['sha256']}"] == files[path]
    (target,) = data["targets"]
    assert target["app_must"] == "" and target["manifest"] == "targets/arm-mobile/manifest.json"


def test_the_golden_image_answers_in_plain_files(made: Path) -> None:
    folder = made / "targets" / "arm-mobile" / "golden"
    image = json.loads((folder / "golden.json").read_text())["image"]
    raw = np.fromfile(folder / "image.u8", np.uint8).reshape(
        image["height"], image["width"], image["channels"]
    )
    tensor = np.fromfile(folder / image["inputs"][0]["file"], "<f4").reshape(1, 3, 8, 8)
    np.testing.assert_array_equal(tensor, tensor_of(raw, PREPROCESSING))
    answer = np.fromfile(folder / image["outputs"][0]["file"], "<f4")
    assert answer.shape == (CLASSES,) and np.isfinite(answer).all()
    import onnxruntime

    session = onnxruntime.InferenceSession(str(made / "web" / "model.onnx"))
    np.testing.assert_allclose(session.run(None, {"photo": tensor})[0][0], answer, atol=1e-5)


@pytest.mark.parametrize("mistake", [{"color_order": "BGR"}, {"mean": (0.5, 0.5, 0.5)}, {"resize": 10}])
def test_the_golden_image_catches_a_mistake(made: Path, mistake: dict[str, Any]) -> None:
    folder = made / "targets" / "arm-mobile" / "golden"
    image = json.loads((folder / "golden.json").read_text())["image"]
    raw = np.fromfile(folder / "image.u8", np.uint8).reshape(
        image["height"], image["width"], image["channels"]
    )
    right = {name: getattr(PREPROCESSING, name) for name in PREPROCESSING.__struct_fields__}
    wrong = tensor_of(raw, Preprocessing(**{**right, **mistake}))
    wanted = np.fromfile(folder / image["inputs"][0]["file"], "<f4").reshape(1, 3, 8, 8)
    assert np.abs(wrong - wanted).max() > image["input_atol"]


def test_two_packagings_are_equal(made: Path, export: Path, tmp_path: Path) -> None:
    assert edgekit("package", export, *WEB, "-o", tmp_path / "again")[0] == 0
    assert content(tmp_path / "again") == content(made)


def measured_export(place: Path, cpu_ratio: float) -> Path:
    """The same export with other figures of a clock."""
    folder = write_export(place)
    took = msgspec.structs.replace(FAST, cpu_ratio=cpu_ratio, doubts=(f"{cpu_ratio} is doubtful",))
    manifest = msgspec.structs.replace(
        manifest_file.read(folder),
        measurement=took,
        doubts=(*took.doubts, "few samples"),
        not_measured=(f"memory {cpu_ratio}",),
    )
    manifest_file.write(manifest, folder)
    sums.seal(folder)
    return folder


def test_what_was_measured_is_no_content(tmp_path: Path, keys: Any) -> None:
    """Two exports that differ in their clocks alone: one bundle.json, and check reads measured.json."""
    private, public = keys
    for name, ratio in (("a", 0.6), ("b", 0.7)):
        export = measured_export(tmp_path / f"export-{name}", ratio)
        done = edgekit("package", export, *WEB, "--sign", private, "-o", tmp_path / name)
        assert done[0] == 0, done
    first, second = (content(tmp_path / name) for name in ("a", "b"))
    clocks = {"measured.json", "measured.json.sig"}
    assert {path for path in first if first[path] != second[path]} == clocks and set(first) == set(second)
    assert (
        b"0.6 is doubtful" in first["measured.json"]
        and b"few samples" in first["targets/arm-mobile/manifest.json"]
    )
    budget = tmp_path / "budget.toml"
    budget.write_text("[every]\nmax_cpu_ratio = 0.65\n")
    assert [edgekit("check", tmp_path / name, "--budget", budget)[0] for name in ("a", "b")] == [0, 0]
    assert edgekit("verify", tmp_path / "a", "--key", public)[0] == 0
    (tmp_path / "a" / "measured.json").write_bytes(
        second["measured.json"]
    )  # of the same content, and signed for another folder
    code, said = edgekit("verify", tmp_path / "a", "--key", public)
    assert code == 1 and "is not the signature of measured.json by this key" in said
    for path in clocks:
        (tmp_path / "a" / path).unlink()
    assert edgekit("verify", tmp_path / "a", "--key", public)[0] == 0
    code, said = edgekit("check", tmp_path / "a", "--budget", budget)
    assert code == 1 and "not measured" in said


def test_measured_json_of_another_bundle(dist: Path) -> None:
    text = (dist / "measured.json").read_text()
    (dist / "measured.json").write_text(text.replace('"bundle_sha256": "', '"bundle_sha256": "0')[:-1])
    assert edgekit("verify", dist)[0] == 2
    data = json.loads(text)
    (dist / "measured.json").write_text(json.dumps({**data, "bundle_sha256": "0" * 64}))
    code, said = edgekit("verify", dist)
    assert code == 1 and "belongs to another bundle.json" in said


@needs_javac
def test_an_aar_holds_the_model_stored_and_aligned(export: Path, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("a", "b")]
    for out in outs:
        code, said = edgekit("package", export, *WEB[:-1], "android", "-o", out)
        assert code == 0, said
    first, second = map(content, outs)
    assert first == second
    (path,) = outs[0].rglob("*.aar")
    assert path.relative_to(outs[0]).as_posix() == (
        "android/maven/org/edgekit/tiny/tiny-onnx/1.2.0/tiny-onnx-1.2.0.aar"
    )
    start, length = place_in(path, "assets/edgekit/tiny/onnx/model.onnx")
    assert start % 4 == 0
    assert path.read_bytes()[start : start + length] == (export / "arm-mobile" / "model.onnx").read_bytes()
    pom = path.with_suffix(".pom").read_text()
    assert "<artifactId>onnxruntime-android</artifactId>" in pom and "<type>aar</type>" in pom


def test_a_model_without_preprocessing_says_what_the_app_must_do(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", None)
    data = json.loads((folder / "manifest.json").read_text())
    assert data["preprocessing"] is None and data["signature"]["inputs"][0]["normalization"] is None
    code, said = edgekit("package", folder, *WEB, "-o", tmp_path / "dist")
    assert code == 0
    assert "the app makes the input tensors itself" in said and "photo: float32 [1, 3, 8, 8]" in said
    assert "tensorOf" not in (tmp_path / "dist" / "web" / "model.js").read_text()


# ---------------------------------------------------------------------------------------------- verify


def test_a_bundle_verifies(made: Path) -> None:
    code, said = edgekit("verify", made)
    assert code == 0 and said.startswith("arm-mobile: ok"), said


@needs_openssl
def test_openssl_checks_the_signature_and_so_does_verify(export: Path, keys: Any, tmp_path: Path) -> None:
    private, public = keys
    out = tmp_path / "dist"
    assert edgekit("package", export, *WEB, "--sign", private, "-o", out)[0] == 0
    command = [
        "openssl",
        "pkeyutl",
        "-verify",
        "-pubin",
        "-inkey",
        public,
        "-rawin",
        "-in",
        out / "bundle.json",
    ]
    done = subprocess.run([*command, "-sigfile", out / "bundle.json.sig"], check=False, capture_output=True)
    assert done.returncode == 0
    assert edgekit("verify", out, "--key", public)[0] == 0
    text = (out / "bundle.json").read_text()
    (out / "bundle.json").write_text(text.replace("1.2.0", "1.2.1"))
    code, said = edgekit("verify", out, "--key", public)
    assert code == 1 and "is not the signature of bundle.json by this key" in said


def test_a_bundle_that_is_not_signed(made: Path, keys: Any) -> None:
    code, said = edgekit("verify", made, "--key", keys[1])
    assert code == 1 and "is not signed" in said


@pytest.mark.parametrize(
    "path", ["web/model.js", "web/model.onnx", "bom.cdx.json", "targets/arm-mobile/manifest.json"]
)
def test_an_altered_file_is_named(dist: Path, path: str) -> None:
    data = bytearray((dist / path).read_bytes())
    data[len(data) // 2] ^= 1
    (dist / path).write_bytes(data)
    code, said = edgekit("verify", dist)
    assert code == 1 and f"{path} was altered after packaging" in said and said.count("\n") == 1


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda d: (d / "web" / "model.d.ts").unlink(), "model.d.ts is missing"),
        (lambda d: (d / "web" / "evil.js").write_text("x"), "evil.js is not in bundle.json"),
        (lambda d: (d / "web" / "link.js").symlink_to("model.js"), "link.js is not in bundle.json"),
        (lambda d: _relink(d / "web" / "model.js"), "model.js is a link"),
        (lambda d: _edit(d, lambda b: b["files"][0].update(path="../x")), "points outside its folder: ../x"),
        (lambda d: _edit(d, lambda b: b["files"][0].update(path="/etc/passwd")), "points outside its folder"),
        (lambda d: _edit(d, lambda b: b.update(schema_version=9)), "has schema_version 9"),
        (lambda d: _edit(d, lambda b: b.pop("files")), "does not hold a bundle: "),
        (
            lambda d: (d / "bundle.json").write_text("[" * 100_000),
            "bundle.json is nested more than 64 levels",
        ),
    ],
)
def test_what_a_stranger_may_have_done(dist: Path, damage: Any, sentence: str) -> None:
    damage(dist)
    code, said = edgekit("verify", dist)
    assert code in (1, 2) and sentence in said and "Traceback" not in said


def _relink(path: Path) -> None:
    path.rename(path.parent.parent.parent / "outside.js")
    path.symlink_to(path.parent.parent.parent / "outside.js")


def _edit(dist: Path, change: Any) -> None:
    data = json.loads((dist / "bundle.json").read_text())
    change(data)
    (dist / "bundle.json").write_text(json.dumps(data))


# ---------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"--name": "My Model"}, "--name 'My Model' is not valid in Java, Swift and npm"),
        ({"--name": "class"}, "--name 'class' is not valid"),
        ({"--name": "../up"}, "--name '../up' is not valid"),
        ({"--version": "1.2"}, "--version '1.2' is not a semantic version"),
        ({"--version": "1.02.0"}, "is not a semantic version"),
        ({"--license": "as you like!"}, "is not an SPDX expression"),
        ({"--java-package": "com.new.app"}, "--java-package 'com.new.app' is no Java package"),
        ({"--for": "web,flutter"}, "--for 'flutter' is unknown; allowed: android, ios, react-native, web"),
        ({"--for": "ios"}, "--for ios: none of the targets is a Core ML package"),
        ({"--sign": "nowhere.pem"}, "nowhere.pem cannot be read"),
        ({"--previous": "nowhere"}, "nowhere/bundle.json: No such file or directory; give a folder that"),
    ],
)
def test_what_is_refused_in_one_sentence(
    export: Path, tmp_path: Path, changed: dict[str, str], sentence: str
) -> None:
    given = {**dict(zip(WEB[::2], WEB[1::2], strict=True)), **changed}
    options = [part for pair in given.items() for part in pair]
    code, said = edgekit("package", export, *options, "-o", tmp_path / "dist")
    assert code == 2 and sentence in said and said.count("\n") == 1, said
    assert list(tmp_path.iterdir()) == []


def test_an_altered_or_missing_artifact(export: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(export, tmp_path / "export"))
    (copy / "arm-mobile" / "model.onnx").write_bytes(b"x")
    code, said = edgekit("package", copy, *WEB, "-o", tmp_path / "dist")
    assert code == 1 and "was altered after export" in said
    (copy / "arm-mobile" / "model.onnx").unlink()
    code, said = edgekit("package", copy, *WEB, "-o", tmp_path / "dist")
    assert code == 1 and "model.onnx is missing" in said
    assert [p.name for p in tmp_path.iterdir()] == ["export"]


def test_labels_that_do_not_fit(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", Preprocessing(labels=("a", "b", "c")))
    code, said = edgekit("package", folder, *WEB, "-o", tmp_path / "dist")
    assert code == 2 and "has 3 labels, but its outputs are (1, 4)" in said
    assert not (tmp_path / "dist").exists()


def test_preprocessing_that_makes_another_shape(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export", Preprocessing(resize=(9, 9)))
    code, said = edgekit("package", folder, *WEB, "-o", tmp_path / "dist")
    assert code == 2 and "preprocessing makes a tensor of [1, 3, 9, 9]" in said


def test_one_version_has_one_content(made: Path, dist: Path, tmp_path: Path) -> None:
    other = write_export(tmp_path / "other", seed=1)
    before = content(dist)
    code, said = edgekit("package", other, *WEB, "-o", dist)
    assert code == 2 and "is tiny 1.2.0 already, with other content" in said
    assert content(dist) == before
    code, said = edgekit("package", other, *WEB, "--previous", made, "-o", tmp_path / "new")
    assert code == 2 and "already, with other content" in said and not (tmp_path / "new").exists()
    higher = [*WEB[:3], "1.3.0", *WEB[4:]]
    assert edgekit("package", other, *higher, "--previous", made, "-o", tmp_path / "new")[0] == 0
    assert json.loads((tmp_path / "new" / "bundle.json").read_text())["previous"] == "1.2.0"


def test_a_folder_of_someone_else_is_left_alone(export: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("x")
    code, said = edgekit("package", export, *WEB, "-o", tmp_path)
    assert code == 2 and "is no bundle; give another -o" in said
    assert (tmp_path / "mine.txt").read_text() == "x"


def test_a_link_in_a_model_is_refused(export: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(export, tmp_path / "export"))
    model = copy / "arm-mobile" / "model.onnx"
    model.rename(copy / "arm-mobile" / "real.onnx")
    model.symlink_to("real.onnx")
    code, said = edgekit("package", copy, *WEB, "-o", tmp_path / "dist")
    assert code == 1 and "model.onnx is a link" in said
