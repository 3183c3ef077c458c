"""The generated update checks in Java and JavaScript, asked about many indexes at once."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from generated_code import NAMES

from edgekit.package.bundle.member import Member
from edgekit.package.bundle.template_values import facts_of, values_of
from edgekit.package.bundle.templating import fill

JAVA = """package org.edgekit.tiny;
import java.nio.file.*; import java.util.*;
public final class Drive {
  static byte[] read(String path) throws Exception { return Files.readAllBytes(Paths.get(path)); }
  public static void main(String[] a) throws Exception {
    for (String line : Files.readAllLines(Paths.get(a[0]))) {
      String[] c = line.split("\\\\|", -1);
      try {
        if (c.length == 2) { System.out.println("signed " + TinyModelUpdates.isSigned(read(c[0]), read(c[1]))); continue; }
        TinyModelUpdates.Accepted found = TinyModelUpdates.accept(read(c[0]), read(c[1]), Long.parseLong(c[2]), c[3].isEmpty() ? null : c[3], Long.parseLong(c[4]));
        StringBuilder text = new StringBuilder("serial " + found.serial + " version " + found.version);
        for (TinyModelUpdates.Item item : found.missing(Arrays.asList(c[5].split(","))))
          text.append(" " + item.path + ":" + item.is(read(c[6] + "/" + item.sha256)));
        System.out.println(text);
      } catch (TinyModelUpdates.Refused refused) {
        System.out.println("refused " + refused.getMessage());
      }
    }
  }
}
"""
NODE = """import fs from "node:fs"; import { accept, missing, isContent, isSigned } from "./updates.js";
const read = (path) => new Uint8Array(fs.readFileSync(path));
for (const line of fs.readFileSync(process.argv[2], "utf8").split("\\n")) {
  const c = line.split("|");
  try {
    if (c.length === 2) { console.log(`signed ${await isSigned(read(c[0]), read(c[1]))}`); continue; }
    const found = await accept(read(c[0]), read(c[1]), { seenSerial: Number(c[2]), installed: c[3] || undefined, nowS: Number(c[4]) });
    const items = missing(found, c[5].split(","));
    const told = await Promise.all(items.map(async (item) => `${item.path}:${await isContent(item, read(c[6] + "/" + item.sha256))}`));
    console.log([`serial ${found.serial} version ${found.version}`, ...told].join(" "));
  } catch (error) { console.log(`refused ${error.message}`); }
}
"""


@dataclass(frozen=True, kw_only=True)
class Signed:
    """Whether a file has a signature."""

    content: Path
    signature: Path

    def line(self) -> str:
        return f"{self.content}|{self.signature}"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What an app was offered, and what it has."""

    index: Path
    signature: Path
    files: Path
    now_s: int
    seen: int = 0
    installed: str = ""
    held: Sequence[str] = ()

    def line(self) -> str:
        held = ",".join(self.held)
        return f"{self.index}|{self.signature}|{self.seen}|{self.installed}|{self.now_s}|{held}|{self.files}"


def ask_java(
    member: Member, trusted: bytes, questions: Sequence[Question | Signed], place: Path
) -> list[str]:
    """Compiles the generated classes with warnings as errors and runs them."""
    if shutil.which("javac") is None or shutil.which("java") is None:
        pytest.skip("no JDK is installed")
    root = place / "org" / "edgekit" / "tiny"
    root.mkdir(parents=True)
    values = {**values_of(member, NAMES, trusted), "assets": "edgekit/tiny/onnx/"}
    for name, template in (("TinyModel", "Model.java"), ("TinyModelUpdates", "ModelUpdates.java")):
        (root / f"{name}.java").write_text(fill(template, **values), encoding="utf-8")
    (root / "Drive.java").write_text(JAVA)
    flags = ["--release", "8", "-Xlint:all,-options,-try", "-Werror", "-d", str(place)]
    _run(["javac", *flags, *map(str, root.glob("*.java"))])
    return _asked(["java", "-cp", str(place), "org.edgekit.tiny.Drive"], questions, place)


def ask_node(
    member: Member, trusted: bytes, questions: Sequence[Question | Signed], place: Path
) -> list[str]:
    """Runs the generated module in node."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    place.mkdir(parents=True)
    values = {**values_of(member, NAMES, trusted), "facts": facts_of(member, NAMES)}
    for template in ("model.js", "updates.js"):
        (place / template).write_text(fill(template, **values), encoding="utf-8")
    (place / "package.json").write_text('{"type": "module"}')
    (place / "drive.js").write_text(NODE)
    return _asked(["node", "--no-warnings", str(place / "drive.js")], questions, place)


def _asked(command: list[str], questions: Sequence[Question | Signed], place: Path) -> list[str]:
    (place / "questions.txt").write_text("\n".join(question.line() for question in questions))
    return _run([*command, str(place / "questions.txt")]).splitlines()


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
