"""A bundle in the tools of Android and iOS builds: `make test-bundles`. Each test skips with the reason where its tool is missing.

EDGEKIT_BUNDLETOOL names a folder with bundletool and aapt2 (pybundletool/binary-files of PyPI's pybundletool, made executable),
EDGEKIT_ORT_JAVA the folder that app_builds/jvm_ort/build.sh made, EDGEKIT_NPM one whose node_modules holds kotlin-compiler. Swift is
parsed where tree-sitter-swift is installed.
"""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from app_tools import PARTS, ed25519_keys, need, npm_modules, package, place_in, run
from exported_net import write_export

from edgekit.package.bundle import android

pytestmark = pytest.mark.bundles
MODEL = "assets/edgekit/tiny/onnx/model.onnx"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("javac")
    place = tmp_path_factory.mktemp("bundle")
    ed25519_keys(place, "key", "other")
    write_export(place / "export")
    return package(place / "export", place / "dist", "android", "--sign", place / "key.pem")


def test_gradle_takes_the_aar_by_version_and_refuses_an_altered_one(dist: Path, tmp_path: Path) -> None:
    need("gradle")
    shutil.copytree(PARTS / "gradle", tmp_path / "app")
    shutil.copytree(dist, tmp_path / "dist")
    command = ("gradle", "--offline", "--no-daemon", "-q", "compileJava")
    places = {"DIST": tmp_path / "dist", "GRADLE_USER_HOME": tmp_path / "home"}
    done = run(*command, folder=tmp_path / "app", **places)
    assert done.returncode == 0, done.stderr
    assert "edgekit: tiny 1.2.0 ok" in done.stdout and "resolved tiny-onnx-1.2.0.aar" in done.stdout
    done = run(*command, folder=tmp_path / "app", KEY=dist.parent / "key.pub", **places)
    assert done.returncode == 0, done.stderr
    done = run(*command, folder=tmp_path / "app", KEY=dist.parent / "other.pub", **places)
    assert done.returncode != 0 and "edgekit: bundle.json is not signed by this key" in done.stderr
    (aar,) = (tmp_path / "dist").rglob("*.aar")
    data = bytearray(aar.read_bytes())
    data[len(data) // 2] ^= 1
    aar.write_bytes(data)
    done = run(*command, folder=tmp_path / "app", **places)
    assert done.returncode != 0 and "edgekit: checksum mismatch for android/maven" in done.stderr


@pytest.fixture(scope="module")
def apks(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """one.apk and two.apk with the assets of the AAR, and what the tools said in said.txt."""
    need("aapt2", "zipalign", "apksigner", "keytool")
    framework = Path("/usr/share/android-framework-res/framework-res.apk")
    if not framework.is_file():
        pytest.skip("android-framework-res is not installed")
    place = tmp_path_factory.mktemp("apks")
    (aar,) = dist.rglob("*.aar")
    with zipfile.ZipFile(aar) as archive:
        archive.extractall(place)
    done = run("sh", PARTS / "apk.sh", framework, folder=place)
    assert done.returncode == 0, done.stderr
    (place / "said.txt").write_text(done.stdout)
    return place


def test_a_signed_apk_holds_the_model_stored_and_aligned_and_is_reproducible(dist: Path, apks: Path) -> None:
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in (apks / "said.txt").read_text()
    first, second = ((apks / name).read_bytes() for name in ("one.apk", "two.apk"))
    assert first == second
    manifest = json.loads((dist / "targets" / "arm-mobile" / "manifest.json").read_text())
    with zipfile.ZipFile(apks / "one.apk") as apk:
        info = apk.getinfo(MODEL)
        assert info.compress_type == zipfile.ZIP_STORED
        assert hashlib.sha256(apk.read(info)).hexdigest() == manifest["artifacts"][0]["sha256"]


def test_the_jvm_answers_with_the_model_mapped_out_of_the_apk(dist: Path, apks: Path, tmp_path: Path) -> None:
    need("javac", "java")
    runtime = Path(os.environ.get("EDGEKIT_ORT_JAVA", ""))
    if not (runtime / "classes.jar").is_file():
        pytest.skip("EDGEKIT_ORT_JAVA names no folder that jvm_ort/build.sh made")
    path = os.pathsep.join(map(str, (apks / "classes.jar", runtime.resolve() / "classes.jar")))
    source = PARTS / "jvm_ort" / "Golden.java"
    flags = ("--release", "8", "-Xlint:all,-options,-try", "-Werror")
    done = run("javac", *flags, "-cp", path, "-d", tmp_path, source, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    golden = dist / "targets" / "arm-mobile" / "golden"
    image = json.loads((golden / "golden.json").read_text())["image"]
    where = (apks / "one.apk", *place_in(apks / "one.apk", MODEL), golden, image["height"], image["width"])
    native = f"-Donnxruntime.native.path={runtime.resolve()}"
    command = ("java", native, "-cp", f"{path}{os.pathsep}{tmp_path}", "Golden", *where)
    done = run(*command, folder=tmp_path, LD_LIBRARY_PATH=runtime.resolve())
    assert done.returncode == 0 and "matches true" in done.stdout, done.stderr


def test_an_app_bundle_takes_the_asset_pack(
    dist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pack that `edgekit package` writes for a large model, here of any size, as a module of the bundle."""
    need("aapt2", "zipalign", "apksigner", "keytool", "zip", "unzip")
    framework = Path("/usr/share/android-framework-res/framework-res.apk")
    tools = Path(os.environ.get("EDGEKIT_BUNDLETOOL", ""))
    if not framework.is_file() or not (tools / "bundletool").is_file():
        pytest.skip(
            "android-framework-res is not installed, or EDGEKIT_BUNDLETOOL names no folder with bundletool and aapt2"
        )
    monkeypatch.setattr(android, "ASSET_PACK_BYTES", 0)
    large = package(dist.parent / "export", tmp_path / "large", "android")
    pack = large / "android" / "asset-pack" / "tiny_onnx"
    shutil.copytree(pack / "src" / "main" / "assets", tmp_path / "assets")
    done = run("sh", PARTS / "aab.sh", framework, tools.resolve(), folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Verified using v2 scheme (APK Signature Scheme v2): true" in done.stdout
    assert (tmp_path / "one.aab").read_bytes() == (tmp_path / "two.aab").read_bytes()
    wanted = (dist / "targets" / "arm-mobile" / "model.onnx").read_bytes()
    with (
        zipfile.ZipFile(tmp_path / "one.aab") as made,
        zipfile.ZipFile(tmp_path / "one.universal.apk") as apk,
    ):
        assert made.read(f"model_pack/{MODEL}") == wanted == apk.read(MODEL)
        assert apk.getinfo(MODEL).compress_type == zipfile.ZIP_STORED


@pytest.fixture(scope="module")
def kotlin(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    """What both compilers take: the class path with the compiled Java, and the source."""
    from edgekit.package.bundle.templating import TEMPLATES

    classes = tmp_path_factory.mktemp("java")
    sources = dist / "android" / "src" / "tiny-onnx"
    java = sorted((sources / "java").rglob("*.java"))
    done = run("javac", "-sourcepath", TEMPLATES / "stubs", "-d", classes, *java, folder=classes)
    assert done.returncode == 0, done.stderr
    return ("-cp", classes, next((sources / "kotlin").glob("*.kt")))


def test_kotlin_1_compiles_without_a_warning(kotlin: tuple[object, ...], tmp_path: Path) -> None:
    need("kotlinc")
    done = run("kotlinc", "-Werror", "-d", tmp_path / "out", *kotlin, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_kotlin_2_compiles_without_a_warning(kotlin: tuple[object, ...], tmp_path: Path) -> None:
    compiler = npm_modules("kotlin-compiler") / "kotlin-compiler" / "bin" / "kotlinc"
    strict = ("-Xexplicit-api=strict", "-Werror")
    done = run("bash", compiler, *strict, "-d", tmp_path / "out", *kotlin, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "out").rglob("TinyModelKotlin.class"))


@pytest.mark.parametrize(
    "image",
    [{"takes_image": False}, {"takes_image": True, "bgr": True}, {"takes_image": True, "channels": 1}],
)
def test_swift_parses(image: dict[str, object], dist: Path, tmp_path: Path) -> None:
    """Its syntax alone: there is no Swift compiler here."""
    swift = pytest.importorskip("tree_sitter_swift")
    from tree_sitter import Language, Parser

    from edgekit.package import manifest_file
    from edgekit.package.bundle.member import Member
    from edgekit.package.bundle.naming import names_of
    from edgekit.package.bundle.template_values import values_of
    from edgekit.package.bundle.templating import fill

    folder = dist / "targets" / "arm-mobile"
    golden = json.loads((folder / "golden" / "golden.json").read_text())
    member = Member(folder=folder, manifest=manifest_file.read(folder), app_must="", golden=golden)
    values = {
        **values_of(member, names_of("tiny", "1.2.0", "MIT", None)),
        "ios": 16,
        "channels": 3,
        "bgr": False,
        **image,
    }
    for template in ("Model.swift", "ModelTests.swift", "Package.swift"):
        tree = Parser(Language(swift.language())).parse(fill(template, **values).encode())
        assert not tree.root_node.has_error, tree.root_node
