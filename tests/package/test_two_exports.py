"""Two exports of one model with one seed, each from nothing, packaged for everyone: `make test-bundles`.

The bundles are equal, byte for byte, but for measured.json: no two clocks agree.
"""

import json
import shlex
import shutil
import zipfile
from pathlib import Path

import pytest
from app_tools import ed25519_keys, need, run
from commands import SMALL, edgekit

pytestmark = pytest.mark.bundles
TARGETS = ("arm-mobile", "tflite-int8", "coreml-fp16")
EVERYONE = (
    "--name",
    "tiny",
    "--version",
    "1.2.0",
    "--license",
    "MIT",
    "--for",
    "android,ios,react-native,web",
)
CLOCKS = {"measured.json", "measured.json.sig"}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles, of exports that share no finished stage."""
    need("javac", "openssl")
    root = tmp_path_factory.mktemp("two")
    ed25519_keys(root, "key")
    for name in ("a", "b"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(root / f"cache-{name}"))
            asked = [word for target in TARGETS for word in ("-t", target)]
            edgekit("export", f"{SMALL}:photo", *asked, "-o", root / f"export-{name}", exit_code=0)
        edgekit(
            "package",
            root / f"export-{name}",
            *EVERYONE,
            "--sign",
            root / "key.pem",
            "-o",
            root / name,
            exit_code=0,
        )
    return root / "a", root / "b"


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_they_are_equal_but_for_their_clocks(bundles: tuple[Path, Path]) -> None:
    first, second = map(content, bundles)
    assert set(first) == set(second)
    assert {path for path in first if first[path] != second[path]} == CLOCKS
    for target, model in zip(
        TARGETS, ("model.onnx", "model.tflite", "model.mlpackage/Manifest.json"), strict=True
    ):
        assert f"targets/{target}/{model}" in first
    assert any(path.endswith(".mlmodel") for path in first) and any(path.endswith(".aar") for path in first)


def test_their_measurements_belong_to_either(bundles: tuple[Path, Path]) -> None:
    """So that a build that wants the same bytes twice may leave them out or take one for both."""
    first, second = (json.loads((bundle / "measured.json").read_text()) for bundle in bundles)
    assert first["bundle_sha256"] == second["bundle_sha256"] and set(first["targets"]) == set(TARGETS)
    for name in CLOCKS:
        shutil.copyfile(bundles[0] / name, bundles[1] / name)
    assert content(bundles[0]) == content(bundles[1])
    edgekit("verify", bundles[1], "--key", bundles[0].parent / "key.pub", exit_code=0)


# ---------------------------------------------------------------------------------------------- a build phase of Xcode


@pytest.fixture
def package(bundles: tuple[Path, Path], tmp_path: Path) -> Path:
    """The Swift package, to damage, at a path with a space, as an app's project may have it."""
    return Path(shutil.copytree(bundles[0] / "ios" / "TinyModel", tmp_path / "My App" / "TinyModel"))


def phase(package: Path, path: str | None = None) -> tuple[int, str]:
    """Runs verify.sh as Xcode does: by /bin/sh, elsewhere, with its variables; the exit code and what it said."""
    variables = {
        "SRCROOT": package.parent,
        "PROJECT_DIR": package.parent,
        "CONFIGURATION": "Release",
        "ACTION": "build",
    }
    if path is not None:
        variables["PATH"] = path
    done = run("/bin/sh", "-c", '"${SRCROOT}/TinyModel/verify.sh"', folder=package.parent.parent, **variables)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(params=["sha256sum", "shasum"])
def tools(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A PATH with one of the two programs: macOS has shasum alone, Linux sha256sum."""
    need(request.param)
    (tmp_path / "bin").mkdir()
    for name in ("dirname", "cut", "perl", request.param):
        found = shutil.which(name)
        if found is not None:
            (tmp_path / "bin" / name).symlink_to(found)
    return str(tmp_path / "bin")


def test_the_build_phase_passes_whole_files(package: Path, tools: str) -> None:
    assert phase(package, tools) == (0, "edgekit: tiny 1.2.0 ok\n")


@pytest.mark.parametrize(
    "altered",
    [
        "Sources/TinyModel/Resources/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin",
        "Sources/TinyModel/Resources/model.mlpackage/Data/com.apple.CoreML/model.mlmodel",
        "Sources/TinyModel/Resources/model.mlpackage/Manifest.json",
        "Sources/TinyModel/Resources/golden/image.u8",
        "Sources/TinyModel/TinyModel.swift",
        "Package.swift",
    ],
)
def test_the_build_phase_fails_after_one_byte(package: Path, altered: str, tools: str) -> None:
    data = bytearray((package / altered).read_bytes())
    data[len(data) // 2] ^= 1
    (package / altered).write_bytes(data)
    assert phase(package, tools) == (1, f"error: edgekit: checksum mismatch for {altered}\n")


def test_the_build_phase_fails_without_a_file(package: Path) -> None:
    (package / "Package.swift").unlink()
    assert phase(package) == (1, "error: edgekit: Package.swift is missing; package again\n")


def test_every_file_of_the_swift_package_is_held(package: Path) -> None:
    lines = (package / "verify.sh").read_text().splitlines()
    held = {shlex.split(line)[2] for line in lines if line.startswith("check ")}
    files = {p.relative_to(package).as_posix() for p in package.rglob("*") if p.is_file()}
    assert held == files - {"verify.sh"}


# ---------------------------------------------------------------------------------------------- the AAR


def test_both_runtimes_have_an_aar_with_the_model_stored(bundles: tuple[Path, Path]) -> None:
    found = {}
    for aar in bundles[0].rglob("*.aar"):
        with zipfile.ZipFile(aar) as archive:
            for info in archive.infolist():
                if info.filename.endswith((".onnx", ".tflite")):
                    found[info.filename] = info.compress_type
    assert found == {
        "assets/edgekit/tiny/onnx/model.onnx": zipfile.ZIP_STORED,
        "assets/edgekit/tiny/litert/model.tflite": zipfile.ZIP_STORED,
    }
