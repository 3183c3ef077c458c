"""A bundle in node, TypeScript and Chromium: `make test-bundles`. Each test skips with the reason where its tool is missing.

EDGEKIT_NPM names a folder whose node_modules holds onnxruntime-web, typescript, react-native-fast-tflite,
onnxruntime-react-native, playwright-core, @litertjs/core, @litertjs/wasm-utils, metro, react-native, react and
@react-native/metro-config.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from app_tools import PARTS, ed25519_keys, need, npm_modules, package, run
from commands import SMALL, edgekit
from exported_net import write_export

pytestmark = pytest.mark.bundles


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("bundle")
    ed25519_keys(place, "key")
    write_export(place / "export")
    return package(place / "export", place / "dist", "react-native,web", "--sign", place / "key.pem")


@pytest.fixture
def npm(dist: Path, tmp_path: Path) -> Path:
    """The packages of the bundle beside the node_modules that they need."""
    need("node")
    beside(npm_modules(), tmp_path)
    shutil.copytree(dist / "react-native", tmp_path / "react-native")
    put_web(dist, tmp_path)
    return tmp_path


def beside(modules: Path, place: Path) -> None:
    (place / "node_modules").symlink_to(modules)


def put_web(dist: Path, place: Path) -> None:
    """The web package of a bundle in place/web, in the place of another."""
    shutil.rmtree(place / "web", ignore_errors=True)
    shutil.copytree(dist / "web", place / "web")
    beside((place / "node_modules").resolve(), place / "web")


def test_typescript_is_strict(npm: Path) -> None:
    shutil.copyfile(PARTS / "tsconfig.json", npm / "tsconfig.json")
    done = run(npm / "node_modules" / ".bin" / "tsc", "-p", "tsconfig.json", folder=npm)
    assert done.returncode == 0, done.stdout


def test_metro_takes_the_packages_with_their_models(integers: Path, tmp_path: Path) -> None:
    """Real React Native around them; its config names the two file types, as that of an app must."""
    need("node")
    modules = npm_modules("metro", "react-native", "@react-native/metro-config", "onnxruntime-react-native")
    dist = package(integers, tmp_path / "dist", "react-native")
    (tmp_path / "app").mkdir()
    packages = dist / "react-native"
    done = run("node", PARTS / "metro.cjs", modules, packages, "android", folder=tmp_path / "app")
    assert done.returncode == 0, done.stderr
    manifests = [json.loads(path.read_text()) for path in sorted(dist.glob("targets/*/manifest.json"))]
    wanted = {each["artifacts"][0]["path"]: each["artifacts"][0]["sha256"] for each in manifests}
    assert set(wanted) == {"model.onnx", "model.tflite"} and json.loads(done.stdout)["models"] == wanted
    bundle = (tmp_path / "app" / "bundle.js").read_text()
    assert all(digest in bundle for digest in wanted.values())  # what model.js knows of its file


def in_node(place: Path) -> None:
    """Both golden answers of place/web, and the image's tensor, in plain node."""
    shutil.copyfile(PARTS / "golden.mjs", place / "golden.mjs")
    done = run("node", "golden.mjs", folder=place)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["sha256"] and found["tensor"] and max(found["errors"]) <= found["atol"], found


def in_chromium(place: Path, width: int = 390) -> dict[str, Any]:
    """What the page of place/web said."""
    need("chromium")
    shutil.copyfile(PARTS / "page.mjs", place / "page.mjs")
    done = run("node", "page.mjs", shutil.which("chromium"), width, folder=place)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def proves_itself(found: dict[str, Any]) -> None:
    assert found["result"]["ok"] and found["result"]["sha256"] == "ok", found
    assert not found["scrolls"] and found["errors"] == []
    assert found["answer"].count(":") >= 4  # of a photo that was handed to it


def test_bytes_of_an_image_go_in_on_the_web(dist: Path, npm: Path) -> None:
    put_web(package(dist.parent / "export", npm / "raw", "web", "--image-input"), npm)
    in_node(npm)
    proves_itself(in_chromium(npm))


def test_node_reproduces_the_golden_answers(npm: Path) -> None:
    in_node(npm)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_proves_itself_in_chromium(npm: Path, width: int) -> None:
    proves_itself(in_chromium(npm, width))


@pytest.mark.parametrize(
    ("altered", "byte"),
    [("model.onnx", 200), ("golden/image.u8", (8 * 16 + 8) * 3), ("golden/output_0.f32", 3)],
)
def test_the_page_refuses_what_was_altered(npm: Path, altered: str, byte: int) -> None:
    """A byte of the model, of the pixel in the middle, and the exponent of an answer."""
    data = bytearray((npm / "web" / altered).read_bytes())
    data[byte] ^= 0x40
    (npm / "web" / altered).write_bytes(data)
    assert not in_chromium(npm)["result"]["ok"]


@pytest.fixture(scope="module")
def integers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `edgekit export` made of a net in 8 bits, for ONNX Runtime and for LiteRT."""
    out = tmp_path_factory.mktemp("integers") / "export"
    edgekit("export", f"{SMALL}:photo", "-t", "arm-mobile", "-t", "tflite-int8", "-o", out, exit_code=0)
    return out


def test_an_8_bit_file_answers_in_node_and_on_the_page(integers: Path, npm: Path) -> None:
    manifest = json.loads((integers / "arm-mobile" / "manifest.json").read_text())
    assert manifest["compression"]["precision"] == "int8"
    put_web(package(integers / "arm-mobile", npm / "dist", "web"), npm)
    in_node(npm)
    proves_itself(in_chromium(npm))


@pytest.mark.parametrize("numbers", ["float32", "uint8"])
def test_an_8_bit_file_answers_in_litert_js(integers: Path, numbers: str, tmp_path: Path) -> None:
    need("node", "chromium")
    beside(npm_modules("@litertjs/core", "@litertjs/wasm-utils", "playwright-core"), tmp_path)
    dist = package(integers / "tflite-int8", tmp_path / "dist", "react-native", "--tflite-numbers", numbers)
    shutil.copyfile(PARTS / "litert.mjs", tmp_path / "litert.mjs")
    places = (dist / "react-native" / "tiny-tflite", dist / "targets" / "tflite-int8" / "golden")
    done = run("node", "litert.mjs", shutil.which("chromium"), *places, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dtypes"] == [numbers, numbers] and max(found["errors"]) <= found["atol"], found
