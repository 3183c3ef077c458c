"""Android: an AAR for each runtime in a local Maven repository, its sources, and a Gradle file that checks them.

The generated Java is compiled here, for Java 8, against three classes of Android that stand in `templates/stubs`: an AAR
holds classes. A build that takes it by version gets the runtime with it, from the POM.
"""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgekit.device.scratch import Scratch
from edgekit.errors import MissingRuntime, UserError
from edgekit.package.bundle.aligned_zip import zipped
from edgekit.package.bundle.member import Member
from edgekit.package.bundle.naming import Names
from edgekit.package.bundle.template_values import values_of
from edgekit.package.bundle.templating import TEMPLATES, fill

# runtime -> the end of the artifact's name, and what an app's build takes with it
RUNTIMES = {
    "litert": ("litert", ("com.google.ai.edge.litert", "litert", "1.4.0")),
    "onnxruntime": ("onnx", ("com.microsoft.onnxruntime", "onnxruntime-android", "1.23.0")),
}
ASSET_PACK_BYTES = 150_000_000  # Play takes no larger base module
MIN_SDK = 24
JAVAC = (
    "--release",
    "8",
    "-Xlint:all,-options,-try",
    "-Werror",
    "-proc:none",
    "-g:none",
    "-encoding",
    "UTF-8",
)
JAR_MANIFEST = b"Manifest-Version: 1.0\r\nCreated-By: edgekit\r\n\r\n"
AAR_METADATA = (
    b"aarFormatVersion=1.0\naarMetadataVersion=1.0\nminCompileSdk=1\nminCompileSdkExtension=0\n"
    b"minAndroidGradlePluginVersion=1.0.0\n"
)


def check_tools() -> None:
    """Raises MissingRuntime where no Java compiler is installed."""
    if shutil.which("javac") is None:
        raise MissingRuntime(
            "--for android needs javac to compile the classes of its AAR; install a JDK of Java 8 or newer "
            "(apt-get install openjdk-17-jdk-headless), or leave android out"
        )


def write(members: Sequence[Member], names: Names, out: Path, trusted: bytes = b"") -> None:
    """Writes android/ for the targets with an Android runtime.

    Raises:
        UserError: There is none.
        MissingRuntime: No Java compiler is installed.
    """
    chosen = _by_runtime(members)
    check_tools()
    out.mkdir()
    for runtime, member in chosen.items():
        _write_one(member, runtime, names, out, trusted)
    gradle = fill("edgekit.gradle", name=names.name, version=names.version)
    (out / "edgekit.gradle").write_text(gradle, encoding="utf-8")


def _by_runtime(members: Sequence[Member]) -> dict[str, Member]:
    """One target a runtime; one that names an Android version goes before one that does not."""
    fit = [member for member in members if member.manifest.target.runtime in RUNTIMES]
    fit.sort(key=lambda member: member.manifest.target.min_android_sdk is None)
    found: dict[str, Member] = {}
    for member in fit:
        found.setdefault(member.manifest.target.runtime, member)
    if not found:
        names = ", ".join(member.target for member in members)
        raise UserError(f"--for android: none of the targets is for LiteRT or ONNX Runtime, only {names}")
    return found


def _write_one(member: Member, runtime: str, names: Names, out: Path, trusted: bytes) -> None:
    suffix, dependency = RUNTIMES[runtime]
    artifact = f"{names.name}-{suffix}"
    assets = f"edgekit/{names.name}/{suffix}/"
    values = {
        **values_of(member, names, trusted),
        "assets": assets,
        "package": f"{names.java_package}.{suffix}",
    }
    sources = out / "src" / artifact
    folder = sources / "java" / values["package"].replace(".", "/")
    kotlin = sources / "kotlin" / f"{names.class_name}Kotlin.kt"
    written = [
        (folder / f"{names.class_name}.java", "Model.java"),
        (folder / f"{names.class_name}Android.java", "ModelAndroid.java"),
        (kotlin, "Model.kt"),
    ]
    if trusted:
        written.append((folder / f"{names.class_name}Updates.java", "ModelUpdates.java"))
    for path, template in written:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(fill(template, **values), encoding="utf-8")
    content = {f"assets/{assets}{name}": data for name, data in _assets(member).items()}
    if member.manifest.file.bytes > ASSET_PACK_BYTES:
        _write_pack(content, out / "asset-pack" / artifact.replace("-", "_"))
        content = {}
    aar = _aar(content, sources / "java", f"{names.java_package}.{suffix}", member)
    pom = fill(
        "pom.xml", **values | {"artifact": artifact, "runtime": dependency, "package": names.java_package}
    )
    _deploy(names, artifact, aar, pom.encode(), out / "maven")


def _assets(member: Member) -> dict[str, bytes]:
    golden = member.folder / "golden"
    return {
        member.model.name: member.model.read_bytes(),
        "manifest.json": (member.folder / "manifest.json").read_bytes(),
        **{f"golden/{p.name}": p.read_bytes() for p in sorted(golden.iterdir()) if p.suffix != ".npz"},
    }


def _write_pack(content: dict[str, bytes], place: Path) -> None:
    """A module of an install-time asset pack: its assets are found by the same AssetManager."""
    for name, data in content.items():
        path = place / "src" / "main" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    text = (
        "plugins { id 'com.android.asset-pack' }\n"
        f"assetPack {{ packName = '{place.name}'; dynamicDelivery {{ deliveryType = 'install-time' }} }}\n"
    )
    (place / "build.gradle").write_text(text, encoding="utf-8")


def _aar(content: dict[str, bytes], sources: Path, package: str, member: Member) -> bytes:
    least = member.manifest.target.min_android_sdk or MIN_SDK
    manifest = (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<manifest xmlns:android="http://schemas.android.com/apk/res/android" package="{package}">\n'
        f'    <uses-sdk android:minSdkVersion="{least}" />\n</manifest>\n'
    )
    return zipped(
        {
            **content,
            "AndroidManifest.xml": manifest.encode(),
            "R.txt": b"",
            "classes.jar": zipped({"META-INF/MANIFEST.MF": JAR_MANIFEST, **_classes(sources)}),
            "META-INF/com/android/build/gradle/aar-metadata.properties": AAR_METADATA,
        }
    )


def _classes(sources: Path) -> dict[str, bytes]:
    stubs = TEMPLATES / "stubs"
    with Scratch() as root:
        java = sorted(map(str, sources.rglob("*.java")))
        command = ["javac", *JAVAC, "-implicit:none", "-sourcepath", str(stubs), "-d", str(root), *java]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the generated Java does not compile:\n{done.stderr[-4000:]}")
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*.class"))}


def _deploy(names: Names, artifact: str, aar: bytes, pom: bytes, repository: Path) -> None:
    """Writes the files of a Maven repository with the checksums beside them."""
    place = repository / names.java_package.replace(".", "/") / artifact
    stem = f"{names.version}/{artifact}-{names.version}"
    version = names.version
    metadata = (
        f"<metadata><groupId>{names.java_package}</groupId><artifactId>{artifact}</artifactId><versioning><release>{version}"
        f"</release><versions><version>{version}</version></versions></versioning></metadata>\n"
    )
    for name, data in (
        (f"{stem}.aar", aar),
        (f"{stem}.pom", pom),
        ("maven-metadata.xml", metadata.encode()),
    ):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for algorithm in ("sha1", "sha256"):
            path.with_name(f"{path.name}.{algorithm}").write_text(hashlib.new(algorithm, data).hexdigest())
