"""A bundle in the tools of app builds: `make test-bundles`. Each test skips with the reason where its tool is missing.

EDGEKIT_NPM names a folder whose node_modules holds onnxruntime-web, typescript, react-native-fast-tflite,
onnxruntime-react-native and playwright-core. EDGEKIT_BUNDLETOOL names a folder with bundletool and aapt2 (pybundletool/binary-files of
PyPI's pybundletool, made executable), EDGEKIT_ORT_JAVA the folder that app_builds/jvm_ort/build.sh made. Swift is parsed where tree-sitter-swift is installed.
"""

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from commands import edgekit
from exported_net import write_export

pytestmark = pytest.mark.bundles
MODEL = "assets/edgekit/tiny/onnx/model.onnx"
PARTS = Path(__file__).parents[1] / "support" / "app_builds"


def need(*tools: str) -> None:
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def run(*command: object, folder: Path, **variables: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **{name: str(value) for name, value in variables.items()}}
    return subprocess.run(
        [str(part) for part in command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )  # fmt: skip


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("javac", "openssl")
    place = tmp_path_factory.mktemp("bundle")
    write_export(place / "export")
    for name in ("key", "other"):
        run("openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{name}.pem", folder=place)
        run("openssl", "pkey", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub", folder=place)
    ecosystems = "android,react-native,web"
    options = [
        "--name",
        "tiny",
        "--version",
        "1.2.0",
        "--license",
        "MIT",
        "--for",
        ecosystems,
        "--sign",
        str(place / "key.pem"),
    ]
    result = edgekit("package", place / "export", *options, "-o", place / "dist")
    assert result.exit_code == 0, result.output
    return place / "dist"


@pytest.fixture
def npm(dist: Path, tmp_path: Path) -> Path:
    """The packages of the bundle beside the node_modules that they need."""
    need("node")
    modules = Path(os.environ.get("EDGEKIT_NPM", "")) / "node_modules"
    if not os.environ.get("EDGEKIT_NPM") or not modules.is_dir():
        pytest.skip("EDGEKIT_NPM names no folder with node_modules")
    for name in ("web", "react-native"):
        shutil.copytree(dist / name, tmp_path / name)
    for place in (tmp_path, tmp_path / "web"):
        (place / "node_modules").symlink_to(modules.resolve())
    return tmp_path


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
    where = (apks / "one.apk", *_place(apks / "one.apk", MODEL), golden, image["height"], image["width"])
    native = f"-Donnxruntime.native.path={runtime.resolve()}"
    command = ("java", native, "-cp", f"{path}{os.pathsep}{tmp_path}", "Golden", *where)
    done = run(*command, folder=tmp_path, LD_LIBRARY_PATH=runtime.resolve())
    assert done.returncode == 0 and "matches true" in done.stdout, done.stderr


def _place(archive: Path, name: str) -> tuple[int, int]:
    """Offset and length of a stored file in a zip."""
    with zipfile.ZipFile(archive) as opened:
        info = opened.getinfo(name)
    head = archive.read_bytes()[info.header_offset : info.header_offset + 30]
    names = int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
    return info.header_offset + 30 + names, info.file_size


def test_an_app_bundle_keeps_the_model_in_an_asset_pack(dist: Path, tmp_path: Path) -> None:
    need("aapt2", "zipalign", "apksigner", "keytool", "zip", "unzip")
    framework = Path("/usr/share/android-framework-res/framework-res.apk")
    tools = Path(os.environ.get("EDGEKIT_BUNDLETOOL", ""))
    if not framework.is_file() or not (tools / "bundletool").is_file():
        pytest.skip(
            "android-framework-res is not installed, or EDGEKIT_BUNDLETOOL names no folder with bundletool and aapt2"
        )
    (aar,) = dist.rglob("*.aar")
    with zipfile.ZipFile(aar) as archive:
        archive.extractall(tmp_path, [name for name in archive.namelist() if name.startswith("assets/")])
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


def test_kotlin_compiles_without_a_warning(dist: Path, tmp_path: Path) -> None:
    need("kotlinc")
    sources = dist / "android" / "src" / "tiny-onnx"
    from edgekit.package.bundle.templating import TEMPLATES

    java = sorted((sources / "java").rglob("*.java"))
    classes = tmp_path / "classes"
    done = run("javac", "-sourcepath", TEMPLATES / "stubs", "-d", classes, *java, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    kotlin = next((sources / "kotlin").glob("*.kt"))
    done = run("kotlinc", "-Werror", "-cp", classes, "-d", tmp_path / "out", kotlin, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_typescript_is_strict(npm: Path) -> None:
    shutil.copyfile(PARTS / "tsconfig.json", npm / "tsconfig.json")
    done = run(npm / "node_modules" / ".bin" / "tsc", "-p", "tsconfig.json", folder=npm)
    assert done.returncode == 0, done.stdout


@pytest.fixture
def raw(dist: Path, npm: Path) -> Path:
    """The web package of a file that takes the bytes of an image, in the place of the other."""
    options = ["--name", "tiny", "--version", "1.2.0", "--license", "MIT", "--for", "web", "--image-input"]
    made = edgekit("package", dist.parent / "export", *options, "-o", npm / "raw")
    assert made.exit_code == 0, made.output
    shutil.rmtree(npm / "web")
    shutil.copytree(npm / "raw" / "web", npm / "web")
    (npm / "web" / "node_modules").symlink_to((npm / "node_modules").resolve())
    return npm


def test_bytes_of_an_image_go_in_on_the_web(raw: Path) -> None:
    need("chromium")
    for script in ("golden.mjs", "page.mjs"):
        shutil.copyfile(PARTS / script, raw / script)
    done = run("node", "golden.mjs", folder=raw)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sha256"] and found["tensor"] and max(found["errors"]) <= found["atol"]
    page = json.loads(run("node", "page.mjs", shutil.which("chromium"), 390, folder=raw).stdout)
    assert page["result"]["ok"] and page["answer"].count(":") >= 4, page


def test_node_reproduces_the_golden_answers(npm: Path) -> None:
    shutil.copyfile(PARTS / "golden.mjs", npm / "golden.mjs")
    done = run("node", "golden.mjs", folder=npm)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sha256"] and found["tensor"] and max(found["errors"]) <= found["atol"]


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_proves_itself_in_chromium(npm: Path, width: int) -> None:
    need("chromium")
    shutil.copyfile(PARTS / "page.mjs", npm / "page.mjs")
    done = run("node", "page.mjs", shutil.which("chromium"), width, folder=npm)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["result"]["ok"] and found["result"]["sha256"] == "ok", found
    assert not found["scrolls"] and found["errors"] == []
    assert found["answer"].count(":") >= 4  # of a photo that was handed to it


@pytest.mark.parametrize(
    ("altered", "byte"),
    [("model.onnx", 200), ("golden/image.u8", (8 * 16 + 8) * 3), ("golden/output_0.f32", 3)],
)
def test_the_page_refuses_what_was_altered(npm: Path, altered: str, byte: int) -> None:
    """A byte of the model, of the pixel in the middle, and the exponent of an answer."""
    need("chromium")
    shutil.copyfile(PARTS / "page.mjs", npm / "page.mjs")
    data = bytearray((npm / "web" / altered).read_bytes())
    data[byte] ^= 0x40
    (npm / "web" / altered).write_bytes(data)
    done = run("node", "page.mjs", shutil.which("chromium"), 390, folder=npm)
    assert not json.loads(done.stdout)["result"]["ok"]


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
    for template in ("Model.swift", "Package.swift"):
        tree = Parser(Language(swift.language())).parse(fill(template, **values).encode())
        assert not tree.root_node.has_error, tree.root_node
