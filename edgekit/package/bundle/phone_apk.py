"""A test APK from a bundle: the generated class, the model as it is packaged and ONNX Runtime, started by `am instrument`.

No Gradle: javac, d8, aapt2, zipalign, apksigner and keytool, as Debian and Android's build-tools have them.
ONNX Runtime's AAR is the user's: of the Maven cache, or a path. LiteRT's Java API was never had here, so its files are not taken.
"""

import hashlib
import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.device.scratch import Scratch
from edgekit.errors import MissingRuntime, UserError
from edgekit.package.bundle import bundle_file
from edgekit.package.bundle.android import JAVAC
from edgekit.package.bundle.templating import TEMPLATES, fill
from edgekit.records.bundle import Bundle

TOOLS = ("javac", "aapt2", "zipalign", "apksigner", "keytool")
RUNTIME = "onnxruntime-android"
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
MIN_SDK, TARGET_SDK = 26, 33
TOOL_S = 300.0
RUNNER = "BenchInstrumentation"


@dataclass(frozen=True, kw_only=True)
class PhoneApk:
    """A built APK.

    Attributes:
        path: Where it is.
        package: Its name on the phone.
        component: What `am instrument` starts.
        target: The target's name in the bundle.
        aar: The runtime that is in it.
    """

    path: Path
    package: str
    component: str
    target: str
    aar: Path


@dataclass(frozen=True, kw_only=True)
class _Sources:
    java: Path
    package: str
    cls: str
    aar: Path


def build(bundle: Path, runtime: Path | None, out: Path) -> PhoneApk:
    """Builds the APK of a bundle's ONNX model into the folder `out`.

    Args:
        bundle: What `edgekit package --for android` wrote.
        runtime: ONNX Runtime's AAR for Android; None looks into the caches of Maven and Gradle.
        out: A folder.

    Raises:
        UserError: The bundle holds no ONNX model for Android, or the AAR is not there.
        MissingRuntime: A tool is not installed.
    """
    content = bundle_file.check_bundle(bundle)
    sources = _sources(bundle)
    target = _target(content, sources.aar)
    aar = runtime or next(_cached(), None)
    if aar is None or not aar.is_file():
        given = f"{runtime} does not exist" if runtime else "the caches of Maven and Gradle hold none"
        raise UserError(
            f"the test APK needs {RUNTIME}-VERSION.aar, and {given}; give its path with --runtime-aar"
        )
    dexer, framework = _dexer(), _framework()
    check_tools()
    with Scratch() as work:
        _unpack(sources.aar, aar, work)
        _compile(sources, content.name, work)
        _dex(dexer, framework, work)
        path = _link(sources, framework, work, out / f"{content.name}-bench.apk")
    package = f"{sources.package}.bench"
    component = f"{package}/{sources.package}.{RUNNER}"
    return PhoneApk(path=path, package=package, component=component, target=target, aar=aar)


def check_tools() -> None:
    """Raises MissingRuntime where a tool is not installed."""
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        raise MissingRuntime(
            f"--apk needs {', '.join(absent)}; apt-get install openjdk-17-jdk-headless aapt apksigner zipalign "
            "android-framework-res, or Android's build-tools on PATH"
        )


def _sources(bundle: Path) -> _Sources:
    """The generated Java of the bundle's ONNX model, and its AAR."""
    found = sorted((bundle / "android" / "src").glob("*-onnx/java/**/*Android.java"))
    aars = sorted((bundle / "android" / "maven").glob("**/*-onnx-*.aar"))
    if not found or not aars:
        raise UserError(f"{bundle} holds no ONNX model for Android; package one with --for android")
    root = next(parent for parent in found[0].parents if parent.name == "java")
    package = ".".join(found[0].parent.relative_to(root).parts)
    return _Sources(java=root, package=package, cls=found[0].stem.removesuffix("Android"), aar=aars[0])


def _target(content: Bundle, aar: Path) -> str:
    """The target whose model the AAR holds: a bundle may have several for one runtime."""
    with zipfile.ZipFile(aar) as archive:
        models = [archive.read(name) for name in archive.namelist() if name.endswith(".onnx")]
    if not models:
        raise UserError(
            f"{aar.name} holds no model, which lies in an asset pack: it is too large for a test APK"
        )
    digest = hashlib.sha256(models[0]).hexdigest()
    return next(each.name for each in content.targets if each.content_version == digest)


def _cached() -> Iterator[Path]:
    """AARs of the runtime in the user's caches, newest first."""
    home = Path.home()
    places = (home / ".m2" / "repository", home / ".gradle" / "caches" / "modules-2" / "files-2.1")
    found = [path for place in places if place.is_dir() for path in place.glob(f"**/{RUNTIME}-*.aar")]
    yield from sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _sdk(pattern: str) -> Path | None:
    root = os.environ.get("ANDROID_HOME") or os.environ.get("ANDROID_SDK_ROOT")
    return max(Path(root).glob(pattern), default=None) if root else None


def _dexer() -> str:
    found = shutil.which("d8") or _sdk("build-tools/*/d8")
    if not found:
        raise MissingRuntime(
            "--apk needs d8, which makes Android's byte code; install Android's build-tools and put it on PATH, or set ANDROID_HOME"
        )
    return str(found)


def _framework() -> Path:
    found = _sdk("platforms/*/android.jar") or FRAMEWORK
    if not found.is_file():
        raise MissingRuntime(
            "--apk needs Android's resources; apt-get install android-framework-res, or set ANDROID_HOME to an SDK"
        )
    return found


def _unpack(aar: Path, runtime: Path, work: Path) -> None:
    """assets/ and model.jar of the bundle's AAR, runtime.jar and lib/ of the runtime's."""
    with zipfile.ZipFile(aar) as archive:
        archive.extractall(work, [name for name in archive.namelist() if name.startswith("assets/")])
        (work / "model.jar").write_bytes(archive.read("classes.jar"))
    with zipfile.ZipFile(runtime) as archive:
        (work / "runtime.jar").write_bytes(archive.read("classes.jar"))
        for name in archive.namelist():
            if name.startswith("jni/") and name.endswith(".so"):
                place = work / "lib" / name.removeprefix("jni/")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(archive.read(name))


def _compile(sources: _Sources, name: str, work: Path) -> None:
    folder, classes = work / "java", work / "classes"
    folder.mkdir()
    classes.mkdir()
    written = {f"{sources.cls}Bench": "ModelBench.java", RUNNER: "BenchInstrumentation.java"}
    for cls, template in written.items():
        text = fill(template, package=sources.package, cls=sources.cls, name=name)
        (folder / f"{cls}.java").write_text(text, encoding="utf-8")
    path = os.pathsep.join(str(work / jar) for jar in ("model.jar", "runtime.jar"))
    files = [str(folder / f"{cls}.java") for cls in written]
    stubs = ("-implicit:none", "-sourcepath", str(TEMPLATES / "stubs"))
    _run(["javac", *JAVAC, *stubs, "-cp", path, "-d", str(classes), *files], work)


def _dex(dexer: str, framework: Path, work: Path) -> None:
    library = ["--lib", str(framework)] if framework.suffix == ".jar" else []
    files = [str(path) for path in sorted((work / "classes").rglob("*.class"))]
    jars = ["model.jar", "runtime.jar"]
    _run([dexer, "--release", "--min-api", str(MIN_SDK), *library, "--output", ".", *files, *jars], work)


def _link(sources: _Sources, framework: Path, work: Path, out: Path) -> Path:
    manifest = fill(
        "bench_manifest.xml", package=sources.package, runner=RUNNER, min_sdk=MIN_SDK, target_sdk=TARGET_SDK
    )
    (work / "AndroidManifest.xml").write_text(manifest, encoding="utf-8")
    stored = [part for suffix in (".onnx", ".f32", ".u8") for part in ("-0", suffix)]
    base = ["aapt2", "link", "--manifest", "AndroidManifest.xml", "-I", str(framework), "-A", "assets"]
    _run([*base, *stored, "-o", "base.apk"], work)
    with zipfile.ZipFile(work / "base.apk", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.write(work / "classes.dex", "classes.dex")
        for library in sorted((work / "lib").rglob("*.so")):
            archive.write(library, library.relative_to(work).as_posix())
    _run(["zipalign", "-f", "-p", "4", "base.apk", "aligned.apk"], work)
    secret = ["-storepass", "edgekit", "-keypass", "edgekit", "-alias", "bench"]
    _run(["keytool", "-genkeypair", "-keystore", "key.jks", *secret, "-keyalg", "RSA", "-validity", "9999", "-dname", "CN=edgekit"], work)  # fmt: skip
    _run(["apksigner", "sign", "--ks", "key.jks", "--ks-pass", "pass:edgekit", "aligned.apk"], work)
    _run(["apksigner", "verify", "aligned.apk"], work)
    out.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(work / "aligned.apk", out))


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=TOOL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise MissingRuntime(
            f"{Path(command[0]).name} took longer than {TOOL_S:g} s; the test APK is not built"
        ) from None
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[-600:]
        raise MissingRuntime(f"{Path(command[0]).name} does not build the test APK: {said}")
