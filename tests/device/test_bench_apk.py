"""The test APK: built from a bundle, its Java core on a JVM with ONNX Runtime's real Java API, behind a stand-in for a phone.

`make test-bundles`. d8 cannot be had from Debian: a stand-in checks what it is given and writes no byte code, so the APK's dex is none.
EDGEKIT_ORT_JAVA names the folder that app_builds/jvm_ort/build.sh made.
"""

import json
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest
from app_tools import PARTS, need, package
from click.testing import CliRunner
from conftest import Fakes
from exported_net import write_export

from edgekit.bench import app_record, phone_app
from edgekit.cli.main import main
from edgekit.device.record_check import fault_of
from edgekit.errors import MissingRuntime, UserError
from edgekit.package.bundle import phone_apk

pytestmark = pytest.mark.bundles
PHONE = "adb:0123456789ABCDEF"
D8 = """#!/bin/sh
# stands in for Android's: every class and both jars are there; the byte code is none
while [ $# -gt 0 ]; do case "$1" in *.class|*.jar) [ -s "$1" ] || exit 3; seen=$((seen + 1));; --output) out=$2;; esac; shift; done
[ "$seen" -ge 4 ] && printf 'no byte code: %s inputs' "$seen" >"$out/classes.dex"
"""


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the JVM's parts of ONNX Runtime, and runtime.aar made of its classes."""
    given = Path(os.environ.get("EDGEKIT_ORT_JAVA", ""))
    if not (given / "classes.jar").is_file():
        pytest.skip("EDGEKIT_ORT_JAVA names no folder that jvm_ort/build.sh made")
    aar = tmp_path_factory.mktemp("aar") / "onnxruntime-android-1.0.aar"
    with zipfile.ZipFile(aar, "w") as archive:
        archive.write(given / "classes.jar", "classes.jar")
        archive.writestr("jni/arm64-v8a/libonnxruntime.so", b"stands in for the library")
    (aar.parent / "jvm").symlink_to(given.resolve())
    return aar


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need("javac", "java")
    place = tmp_path_factory.mktemp("bundle")
    write_export(place / "export")
    return package(place / "export", place / "dist", "android")


@pytest.fixture
def phone(runtime: Path, dist: Path, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs on the phone's PATH: pm takes the APK, `am instrument` runs its core on the JVM."""
    need("aapt2", "zipalign", "apksigner", "keytool")
    if not phone_apk.FRAMEWORK.is_file():
        pytest.skip("android-framework-res is not installed")
    folder = tmp_path / "phone"
    folder.mkdir()
    classes = compiled(dist, runtime, tmp_path / "classes")
    (aar,) = dist.rglob("*.aar")
    with zipfile.ZipFile(aar) as archive:
        archive.extractall(tmp_path / "app", [n for n in archive.namelist() if n.startswith("assets/")])
    jvm = runtime.parent / "jvm"
    java = f"LD_LIBRARY_PATH={jvm} java -Donnxruntime.native.path={jvm} -cp {classes} BenchOnJvm {tmp_path}/app/assets"
    scripts = {
        "d8": D8,
        "pm": f'#!/bin/sh\n[ "$1" = install ] && cp "$4" {tmp_path}/installed.apk; echo "$@" >>{tmp_path}/pm.log; echo Success\n',
        # am instrument -w -e threads 1 -e warmup_count 3 -e warmup_s .5 -e runs 20 -e min_s .5 -e max_s 30 COMPONENT
        "am": f'#!/bin/sh\nexec env {java} "$5" "$8" "${{11}}" "${{14}}" "${{17}}" "${{20}}"\n',
    }
    for name, text in scripts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def compiled(dist: Path, runtime: Path, place: Path) -> str:
    """The class path of the generated classes, the core of the test APK and its stand-in for a phone."""
    place.mkdir()
    sources = phone_apk._sources(dist)
    core = place / f"{sources.cls}Bench.java"
    core.write_text(phone_apk.fill("ModelBench.java", package=sources.package, cls=sources.cls, name="tiny"))
    path = str(runtime.parent / "jvm" / "classes.jar")
    files = [core, PARTS / "jvm_ort" / "BenchOnJvm.java", *sources.java.rglob("TinyModel.java")]
    done = subprocess.run(
        ["javac", "--release", "8", "-Xlint:all,-options,-try", "-Werror", "-cp", path, "-d", place, *files],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return f"{place}{os.pathsep}{path}"


def bench(dist: Path, runtime: Path, *options: str) -> tuple[int, dict[str, Any]]:
    command = [
        "bench",
        dist,
        "--device",
        PHONE,
        "--apk",
        "--runtime-aar",
        runtime,
        "--protocol",
        "quick",
        "--json",
    ]
    done = CliRunner().invoke(main, [str(part) for part in [*command, *options]])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    found = json.loads(done.stdout) if done.stdout.strip() else {"reason": done.stderr}
    return done.exit_code, found


def test_the_apk_holds_the_model_the_runtime_and_what_starts_it(
    dist: Path, runtime: Path, phone: Path, tmp_path: Path
) -> None:
    app = phone_apk.build(dist, runtime, tmp_path / "out")
    assert (app.package, app.component) == (
        "org.edgekit.tiny.onnx.bench", "org.edgekit.tiny.onnx.bench/org.edgekit.tiny.onnx.BenchInstrumentation"
    )  # fmt: skip
    with zipfile.ZipFile(app.path) as apk:
        model = apk.getinfo("assets/edgekit/tiny/onnx/model.onnx")
        assert model.compress_type == zipfile.ZIP_STORED
        assert apk.read(model) == (dist / "targets" / "arm-mobile" / "model.onnx").read_bytes()
        assert {"classes.dex", "lib/arm64-v8a/libonnxruntime.so"} <= set(apk.namelist())
    said = subprocess.run(
        ["aapt2", "dump", "xmltree", "--file", "AndroidManifest.xml", app.path],
        capture_output=True,
        text=True,
    )
    assert "org.edgekit.tiny.onnx.BenchInstrumentation" in said.stdout


def test_its_core_on_a_jvm_gives_a_record_of_the_runners_schema(
    dist: Path, runtime: Path, phone: Path, tmp_path: Path
) -> None:
    code, record = bench(dist, runtime)
    assert (code, record.get("status")) == (0, "ok"), record["reason"]
    assert fault_of(record) is None
    assert (
        record["golden"]["status"] == "passed"
        and record["golden"]["max_abs_error"] <= record["golden"]["atol"]
    )
    assert record["runtime"]["name"] == "ONNX Runtime" and record["runtime"]["version"]
    assert len(record["processes"]) == 2 and record["latency"]["runs_count"] >= 50
    assert record["memory"]["peak_bytes"] > 10_000_000
    assert record["environment"]["python"] == "none: an app, in Java"
    assert record["energy"]["status"] == "unavailable"
    log = (tmp_path / "pm.log").read_text().splitlines()
    assert log[0].startswith("install -r -t ") and log[-1] == "uninstall org.edgekit.tiny.onnx.bench"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("INSTRUMENTATION_RESULT: shortMsg=Process crashed.\nINSTRUMENTATION_CODE: 0", "Process crashed."),
        (
            "INSTRUMENTATION_STATUS: Error=Unable to find instrumentation info",
            "Unable to find instrumentation",
        ),
        ("INSTRUMENTATION_RESULT: edgekit={\nINSTRUMENTATION_CODE: -1", "is not understood (JSONDecodeError"),
        ('INSTRUMENTATION_RESULT: edgekit={"wall_ns": [1], "cpu_ns": []}', "did the clock jump?"),
        (
            'INSTRUMENTATION_RESULT: edgekit={"error": "output scores differs from golden by 3"}',
            "differs from golden by 3",
        ),
        ("", "it said nothing"),
    ],
)
def test_an_app_that_crashes_is_a_record_with_a_sentence(
    dist: Path, runtime: Path, phone: Path, tmp_path: Path, said: str, why: str
) -> None:
    (phone / "am").write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    code, record = bench(dist, runtime)
    assert code == 1 and record["status"] == "failed" and why in record["reason"]
    assert fault_of(record) is None
    assert "uninstall" in (tmp_path / "pm.log").read_text()


def test_a_phone_that_does_not_take_the_app(dist: Path, runtime: Path, phone: Path) -> None:
    (phone / "pm").write_text("#!/bin/sh\necho 'Failure [INSTALL_FAILED_OLDER_SDK]'\n")
    code, found = bench(dist, runtime)
    assert code == 1 and "does not take the app: Failure [INSTALL_FAILED_OLDER_SDK]" in found["reason"]


def test_what_is_missing_is_told(dist: Path, runtime: Path, phone: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"needs onnxruntime-android-VERSION\.aar, and .* does not exist"):
        phone_apk.build(dist, tmp_path / "away.aar", tmp_path)
    (phone / "d8").unlink()
    with pytest.raises(MissingRuntime, match="--apk needs d8"):
        phone_apk.build(dist, runtime, tmp_path)
    with pytest.raises(UserError, match="give --device adb:SERIAL, not local"):
        phone_app.run("local", dist, runtime, 1, "quick", print)


def test_an_answer_with_times_that_are_none() -> None:
    with pytest.raises(app_record.Malformed, match="did the clock jump"):
        app_record.read('{"wall_ns": [0], "cpu_ns": [1]}')
