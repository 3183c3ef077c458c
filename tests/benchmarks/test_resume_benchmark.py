"""The benchmark that kills exports: what it counts, on a stand-in for an export that takes a second."""

import sys
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import resume

# three stages of a third of a second; kept in the work folder, and skipped where they are
EXPORT = """
import shutil, sys, time
from pathlib import Path
out, bytes_ = Path(sys.argv[1]), sys.argv[2]
work = out.parent / f".{out.name}.edgekit-work"
for stage in ("trace", "ptq-01", "verify-02"):
    folder = work / "x86" / stage
    if (folder / "result.json").is_file():
        print(f"x86  {stage}: reused, it took 0.3 s")
        continue
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.json").write_text("{}")
    time.sleep(0.3)
    (folder / "result.json").write_text("{}")
(out / "x86").mkdir(parents=True)
(out / "x86" / "model.onnx").write_text("again" if "--resume" in sys.argv and bytes_ == "differ" else "model")
shutil.rmtree(work)
"""


def command(out: Path, kind: str = "same") -> list[str]:
    return [sys.executable, "-c", EXPORT, str(out), kind]


@pytest.fixture
def expected(tmp_path: Path) -> dict[str, str]:
    assert 0.9 < resume.run(command(tmp_path / "undisturbed"), tmp_path / "log") < 60
    found = resume.hashes(tmp_path / "undisturbed")
    assert list(found) == ["x86/model.onnx"]
    return found


def test_a_killed_run_and_what_it_kept(tmp_path: Path, expected: dict[str, str]) -> None:
    made = resume.trial(command(tmp_path / "out"), tmp_path / "out", 2, 0.0, expected)
    assert (made.during, made.kept, made.reused, made.left, made.same) == ("ptq", 0, 1, 0, True)
    assert made.row()[1:6] == ["ptq", "0", "1", "0", "yes"]


def test_other_bytes_are_found(tmp_path: Path, expected: dict[str, str]) -> None:
    made = resume.trial(command(tmp_path / "out", "differ"), tmp_path / "out", 3, 0.0, expected)
    assert (made.during, made.kept, made.same) == ("verify", 1, False)
    assert made.row()[5] == "NO"


def test_an_export_that_fails_ends_the_benchmark(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"the export failed: .*no such thing"):
        resume.run([sys.executable, "-c", "raise SystemExit('no such thing')"], tmp_path / "log")


def test_a_process_that_is_left_is_counted(tmp_path: Path, expected: dict[str, str]) -> None:
    """An export whose child outlives it, and names the work folder as real children do."""
    out = tmp_path / "out"
    child = f"import time; time.sleep(20)  # {tmp_path / '.out.edgekit-work'}"
    leaving = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}])\n{EXPORT}"
    made = resume.trial([sys.executable, "-c", leaving, str(out), "same"], out, 2, 0.0, expected)
    for process in psutil.process_iter(["cmdline"]):
        if child in (process.info["cmdline"] or ()):
            process.kill()
    assert made.left >= 1
