"""The benchmark that kills exports: what it counts, on a stand-in for an export that takes a second."""

import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import resume
from fault import forked, life

# three stages of a third of a second; kept in the work folder, and skipped where they are
EXPORT = """
import shutil, sys, time
from pathlib import Path
from edgekit_runner.cli import sums
out, kind = Path(sys.argv[1]), sys.argv[2]
work = out.parent / f".{out.name}.edgekit-work"
def wait():
    (out.parents[1] / "ready").touch()
    time.sleep(30)
if kind == "traceback":
    print("Traceback (most recent call last):", flush=True)
    wait()
if kind == "leaves":
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"], start_new_session=True)
    wait()
for stage in ("trace", "ptq-01", "verify-02"):
    folder = work / "x86" / stage
    if (folder / "result.json").is_file():
        continue
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text("{}")
    time.sleep(0.3)
    (folder / "result.json").write_text("{}")
(out / "x86").mkdir(parents=True, exist_ok=True)
(out / "x86" / "model.onnx").write_text("other" if kind == "differs" else "model")
(out / sums.NAME).write_text(sums.text_of(out))
if kind == "torn":
    (out / "x86" / "model.onnx").write_text("half")
    wait()
shutil.rmtree(work)
"""


class StandIn(life.Life):
    """Its export is the program above."""

    kind = "same"

    def _start(self, step: int | None) -> life.Process:
        with self._log.open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-c", EXPORT, str(self._out), self.kind],
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip


class Waited(StandIn):
    """It is killed when it says that it is ready."""

    def _wait(self, process: life.Process, ripe: object, more_s: float) -> None:
        while not (self._log.parent / "ready").exists():
            time.sleep(0.02)


def lived(home: Path, kind: str = "same", seed: int = 1) -> StandIn:
    (home / life.PLACE).mkdir(parents=True)
    made = StandIn([], home, random.Random(seed))
    made.kind = kind
    return made


def kills(made: StandIn) -> list[life.Kill]:
    found = []
    while (kill := made.kill()) is not None and len(found) < 20:
        found.append(kill)
    return found


def same(out: Path) -> bool:
    return (out / "x86" / "model.onnx").read_text() == "model"


def test_a_good_export_is_killed_until_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    made = lived(tmp_path)
    found = kills(made)
    assert {kill.fault for kill in found} <= {""}
    assert made.end(same) == ""


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("traceback", "a traceback"), ("leaves", "left running"), ("torn", "the output is torn: ['x86/model.onnx']")],
)  # fmt: skip
def test_what_does_not_hold_is_named(
    tmp_path: Path, kind: str, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "PATIENCE_S", 1.0)
    (tmp_path / life.PLACE).mkdir()
    made = Waited([], tmp_path, random.Random(1))
    made.kind = kind
    forked.adopt()
    try:
        kill = made.kill()
    finally:
        forked.adopt(False)
    for child in psutil.Process().children():
        if "import time; time.sleep(30)" in child.cmdline():
            child.kill()
            child.wait()
    assert kill is not None and kill.fault.startswith(fault)


def test_other_bytes_are_found(tmp_path: Path) -> None:
    assert lived(tmp_path, "differs").end(same) == "other bytes"


def test_what_lies_beside_the_output_is_found(tmp_path: Path) -> None:
    made = lived(tmp_path)
    (tmp_path / life.PLACE / "litter").touch()
    assert "litter" in made.end(same)


def test_the_table_counts_by_signal_and_by_stage() -> None:
    made = [life.Kill("SIGTERM", "ptq", 1.0, "", "fresh"), life.Kill("SIGKILL", "ptq", 1.0, "torn", "fresh")]
    text = resume.report(made, [("fresh", ""), ("fresh", "other bytes")])
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["kills", "2", "1", "torn"] in rows
    assert ["killed while ptq", "2", "1", "torn"] in rows
    assert ["killed by SIGTERM", "1", "1", ""] in rows
    assert rows[-1] == ["lives that end with the same bytes, nothing left", "2", "1", "other bytes"]
