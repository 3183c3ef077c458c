"""Kills exports at random moments and resumes them: are the artifacts the bytes of an undisturbed run?

    python benchmarks/resume.py examples/digits.py:task -t x86-server -t tflite-int8 --kills 10

Each trial kills an export with SIGKILL, looks for processes it left, and runs it again with --resume. Speed decides
nothing, so that each run walks the same recipes. A trial costs little more than an export. Exit code 1 where bytes
differ or a process is left.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import result_file
from edgekit_runner.artifact import sha256

HEAD = ("killed after", "while", "stages kept", "reused", "left running", "same bytes", "resumed in")


class Trial(NamedTuple):
    killed_s: float
    during: str
    kept: int
    reused: int
    left: int
    same: bool
    resumed_s: float

    def row(self) -> list[str]:
        counts = map(str, (self.kept, self.reused, self.left, "yes" if self.same else "NO"))
        return [f"{self.killed_s:.1f} s", self.during, *counts, f"{self.resumed_s:.0f} s"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task")
    parser.add_argument("-t", "--target", action="append", required=True)
    parser.add_argument("--kills", type=int, default=10)
    asked = parser.parse_args(argv)
    given = [asked.task, *(f"--target={name}" for name in asked.target), "--min-speedup", "0", "--no-cache"]
    command = [sys.executable, "-m", "edgekit", "export", *given, "-o"]
    moments = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        place, trials = Path(folder), []
        whole_s = run([*command, str(place / "undisturbed")], place / "log")
        expected = hashes(place / "undisturbed")
        stages = (place / "log").read_text().count(": done in ")
        print(f"undisturbed: {whole_s:.0f} s, {stages} stages, {len(expected)} artifacts\n", flush=True)
        for index in range(asked.kills):
            begun = moments.randint(1, stages), moments.uniform(0, whole_s / stages)
            trials.append(trial([*command, str(place / str(index))], place / str(index), *begun, expected))
            print(f"{index + 1}: {trials[-1]}", file=sys.stderr, flush=True)
    print("\n".join(result_file.markdown([HEAD, *(made.row() for made in trials)])))
    return int(any(made.left or not made.same for made in trials))


def trial(command: list[str], out: Path, stages: int, more_s: float, expected: dict[str, str]) -> Trial:
    """Killed so many seconds after so many stages have begun."""
    log, work = out.with_suffix(".log"), out.parent / f".{out.name}.edgekit-work"
    killed_s = run(command, log, lambda: len(list(work.glob("*/*/spec.json"))) >= stages, more_s)
    time.sleep(0.5)
    left = sum(str(work) in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))
    begun, done = ({p.parent.name for p in work.glob(f"*/*/{name}")} for name in ("spec.json", "result.json"))
    during = ", ".join(sorted(name.rpartition("-")[0] or name for name in begun - done))
    resumed_s = run([*command, "--resume"], log)
    reused = log.read_text().count(": reused, ")
    same = hashes(out) == expected and not work.exists()
    return Trial(killed_s, during or "between stages", len(done - {"trace"}), reused, left, same, resumed_s)


def run(command: list[str], log: Path, ripe: Callable[[], bool] | None = None, more_s: float = 0) -> float:
    """Wall seconds of an export, or until it was killed by SIGKILL."""
    started = time.perf_counter()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        while ripe and process.poll() is None and not ripe():
            time.sleep(0.02)
        if ripe:
            time.sleep(more_s)
            process.kill()
        if process.wait() and not ripe:
            raise SystemExit(f"the export failed: {log.read_text()[-600:]}")
    return time.perf_counter() - started


def hashes(out: Path) -> dict[str, str]:
    """The sha256 of every artifact in the folder, shipped or float."""
    return {str(p.relative_to(out)): sha256(p) for p in out.glob("*/model.*")}


if __name__ == "__main__":
    sys.exit(main())
