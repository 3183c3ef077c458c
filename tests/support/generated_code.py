"""Generated Java and JavaScript, run on images: what they make of a list of pictures."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from exported_net import write_export

from edgekit.package import manifest_file
from edgekit.package.bundle.member import Member
from edgekit.package.bundle.naming import names_of
from edgekit.package.bundle.template_values import facts_of, values_of
from edgekit.package.bundle.templating import TEMPLATES, fill
from edgekit.records import Preprocessing

NAMES = names_of("tiny", "1.0.0", "MIT", None)
JAVA = """package org.edgekit.tiny;
import java.io.*; import java.nio.*; import java.nio.file.*;
public final class Drive {
  public static void main(String[] a) throws IOException {
    for (int i = 0; i < a.length; i += 3) {
      byte[] image = Files.readAllBytes(Paths.get(a[i]));
      float[] x = TinyModel.tensorOf(image, Integer.parseInt(a[i + 1]), Integer.parseInt(a[i + 2]));
      ByteBuffer out = ByteBuffer.allocate(4 * x.length).order(ByteOrder.LITTLE_ENDIAN);
      out.asFloatBuffer().put(x);
      Files.write(Paths.get(a[i] + ".f32"), out.array());
    }
  }
}
"""
NODE = """import fs from "node:fs"; import { tensorOf } from "./model.js";
const a = process.argv.slice(2);
for (let i = 0; i < a.length; i += 3) {
  const x = tensorOf(new Uint8Array(fs.readFileSync(a[i])), Number(a[i + 1]), Number(a[i + 2]));
  fs.writeFileSync(a[i] + ".f32", new Uint8Array(x.buffer));
}
"""


def member_of(place: Path, preprocessing: Preprocessing, shape: Sequence[int]) -> Member:
    """A target whose one input has this shape; its file is not looked at."""
    folder = write_export(place, preprocessing)
    manifest = manifest_file.read(folder)
    spec = manifest.signature.inputs[0]
    given = msgspec.structs.replace(spec, shape=tuple(shape), layout=preprocessing.layout)
    signature = msgspec.structs.replace(manifest.signature, inputs=(given,))
    channels = shape[1 if preprocessing.layout == "NCHW" else 3]
    return Member(
        folder=folder,
        manifest=msgspec.structs.replace(manifest, signature=signature, preprocessing=preprocessing),
        app_must="",
        golden={"image": {"channels": channels}},
    )


def run_java(member: Member, images: Sequence[np.ndarray], place: Path) -> list[np.ndarray]:
    """Compiles the generated class with warnings as errors and runs it."""
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip("no JDK is installed")
    values = {**values_of(member, NAMES), "assets": "edgekit/tiny/onnx/"}
    root = place / "org" / "edgekit" / "tiny"
    root.mkdir(parents=True)
    (root / "TinyModel.java").write_text(fill("Model.java", **values), encoding="utf-8")
    (root / "Drive.java").write_text(JAVA)
    flags = ["--release", "8", "-Xlint:all,-options,-try", "-Werror", "-sourcepath", str(TEMPLATES / "stubs")]
    sources = [str(path) for path in root.glob("*.java")]
    done = subprocess.run(
        ["javac", *flags, "-d", str(place), *sources], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return _run(["java", "-cp", str(place), "org.edgekit.tiny.Drive"], images, place)


def run_node(member: Member, images: Sequence[np.ndarray], place: Path) -> list[np.ndarray]:
    """Runs the generated module in node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    place.mkdir(parents=True, exist_ok=True)
    values = {**values_of(member, NAMES), "facts": facts_of(member, NAMES)}
    (place / "model.js").write_text(fill("model.js", **values), encoding="utf-8")
    (place / "package.json").write_text('{"type": "module"}')
    (place / "drive.js").write_text(NODE)
    return _run(["node", str(place / "drive.js")], images, place)


def _run(command: list[str], images: Sequence[np.ndarray], place: Path) -> list[np.ndarray]:
    arguments = []
    for i, image in enumerate(images):
        path = place / f"{i}.u8"
        path.write_bytes(image.tobytes())
        arguments += [str(path), str(image.shape[0]), str(image.shape[1])]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [np.fromfile(place / f"{i}.u8.f32", "<f4") for i in range(len(images))]
