"""A clock that was set back: all that edgekit finds on the disk is of the future, or the time jumps while it runs.

What a clock leaves behind is times of files and times written into them; both are moved ahead here, by 400 days. The jump is that of
a library which stands before the system's own (`clock.c`); times of files are then of the real clock. Durations are of a
monotonic clock, which nobody sets.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from fault import EDGEKIT, Bench, Outcome, fault_of, files, marked, private_key, said, skipped

AHEAD_S = 400 * 86400.0
BACK_S = -86400
JUMPS = "a clock set back by a day while an export, a measurement and their checks run"


def outcomes(bench: Bench) -> Iterator[Outcome]:
    yield _tried(
        bench,
        "a clock set back: resumed, taken from a cache, verified and written over",
        _resumed,
        _cached,
        _output,
    )
    if shutil.which("cc") is None:
        yield skipped(JUMPS, "no C compiler is installed")
    else:
        yield _tried(bench, JUMPS, _jump_in_an_export, _jump_in_a_measurement, _jump_of_an_index)


def _tried(bench: Bench, what: str, *trials: Callable[[Bench], Iterator[str]]) -> Outcome:
    failures = [
        f"{trial.__name__.strip('_')}: {fault}" for trial in trials for fault in trial(bench) if fault
    ]
    return Outcome(what, len(trials), failures)


def ahead(folder: Path) -> None:
    """Moves the times of everything in a folder into the future."""
    for path in (folder, *folder.rglob("*")):
        found = path.lstat()
        times = (found.st_atime + AHEAD_S, found.st_mtime + AHEAD_S)
        os.utime(path, times, follow_symlinks=False)


def _resumed(bench: Bench) -> Iterator[str]:
    """A killed export is resumed."""
    out = bench.place / "killed" / "out"
    work = out.parent / f".{out.name}.edgekit-work"
    command = [*EDGEKIT, *bench.light()[:-1], "--no-cache", "-o", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=marked())
    while process.poll() is None and not list(work.glob("*/export-*/result.json")):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    if not work.is_dir():
        yield "it came to its end before it was killed"
        return
    ahead(out.parent)
    done = said([*command, "--resume"])
    yield fault_of(done, [0])
    yield "" if ": reused" in done.stderr else f"nothing was reused: {done.stderr[-300:]!r}"


def _cached(bench: Bench) -> Iterator[str]:
    """Entries of a cache are taken, listed and removed."""
    cache = bench.place / "cache"
    variables = marked(XDG_CACHE_HOME=str(cache))
    command = [*EDGEKIT, *bench.light()[:-1], "-o"]
    yield fault_of(said([*command, bench.place / "cached" / "a"], env=variables), [0])
    ahead(cache)
    done = said([*command, bench.place / "cached" / "b"], env=variables)
    yield fault_of(done, [0])
    yield "" if ": reused" in done.stderr else f"nothing was taken from the cache: {done.stderr[-300:]!r}"
    ahead(cache)
    listed = said([*EDGEKIT, "cache", "list"], env=variables)
    yield fault_of(listed, [0])
    yield f"an age below zero: {listed.stdout!r}" if " -" in listed.stdout else ""
    yield fault_of(said([*EDGEKIT, "cache", "clear"], env=variables), [0])
    left = [str(path) for path in files(cache / "edgekit" / "stages")]
    yield f"left in the cache: {left}" if left else ""


def _output(bench: Bench) -> Iterator[str]:
    """An export of the future is verified, shown and written over."""
    out = bench.place / "cached" / "a"
    ahead(out)
    for verb in (["verify", out], ["report", out], ["report", out, "-o", bench.place / "page.html"]):
        yield fault_of(said([*EDGEKIT, *verb]), [0])
    yield fault_of(said([*EDGEKIT, *bench.light(), "-o", out]), [0])
    now = time.time() + 60
    late = [path.name for path in files(out) if path.stat().st_mtime > now]
    yield f"files of the former output: {late}" if late else ""


# ------------------------------------------------------------------------------------------ the time jumps


def _set(bench: Bench) -> tuple[dict[str, str], Path]:
    """The environment of a command whose clock is set by a file, and that file."""
    library, offset = bench.place / "clock.so", bench.place / "offset"
    if not library.exists():
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    offset.write_text("0")
    return marked(LD_PRELOAD=str(library), CLOCK_OFFSET=str(offset)), offset


def _jump(bench: Bench, command: list[str], ripe: Callable[[], bool]) -> "subprocess.CompletedProcess[str]":
    """Runs a command and sets its clock back as soon as it is ripe."""
    variables, offset = _set(bench)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables) as process:  # fmt: skip
        while process.poll() is None and not ripe():
            time.sleep(0.02)
        offset.write_text(str(BACK_S))
        out, err = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def _jump_in_an_export(bench: Bench) -> Iterator[str]:
    """It ends well, and no time that it tells is negative; resumed and verified on the day before, too."""
    out = bench.place / "jumped" / "out"
    work = out.parent / f".{out.name}.edgekit-work"
    command = [*EDGEKIT, *bench.light(), "--no-cache", "-o", str(out)]
    done = _jump(bench, command, lambda: any(work.glob("*/*/spec.json")))
    yield fault_of(done, [0])
    if done.returncode == 0:
        yield from _negative(json.loads((out / "report.json").read_bytes()), "report.json")
    variables, offset = _set(bench)
    offset.write_text(str(BACK_S))
    for verb in (["verify", out], ["report", out], ["explain", out]):
        yield fault_of(said([*EDGEKIT, *verb], env=variables), [0])
    yield fault_of(said([*command, "--resume"], env=variables), [0])


def _jump_in_a_measurement(bench: Bench) -> Iterator[str]:
    model = next(bench.out.glob("*/model.onnx"))
    started_s = time.monotonic()
    command = [*EDGEKIT, "bench", str(model), "--protocol", "quick", "--json"]
    done = _jump(bench, command, lambda: time.monotonic() - started_s > 2.5)
    yield fault_of(done, [0])
    if done.returncode == 0:
        yield from _negative(json.loads(done.stdout), "the record")


def _jump_of_an_index(bench: Bench) -> Iterator[str]:
    """An index of tomorrow is none, nor is one of last year."""
    key, bundle, updates = (bench.place / name for name in ("key.pem", "bundle", "updates"))
    key.write_bytes(private_key())
    named = ("--name", "net", "--version", "1.0.0", "--license", "MIT", "--for", "web")
    variables, offset = _set(bench)
    for command in (("package", bench.out, *named, "-o", bundle), ("index", bundle, "--sign", key, "-o", updates)):  # fmt: skip
        yield fault_of(said([*EDGEKIT, *command], env=variables), [0])
    for seconds, sentence in ((BACK_S, "is of tomorrow"), (int(AHEAD_S), "has expired")):
        offset.write_text(str(seconds))
        done = said([*EDGEKIT, "verify", updates], env=variables)
        yield fault_of(done, [1]) or (
            "" if sentence in done.stderr else f"not {sentence!r}: {done.stderr[-200:]!r}"
        )


def _negative(found: Any, where: str) -> Iterator[str]:
    """Names of seconds that are below zero."""
    if isinstance(found, dict):
        for name, value in found.items():
            if str(name).endswith("_s") and isinstance(value, int | float) and value < 0:
                yield f"{where}.{name} is {value}"
            yield from _negative(value, f"{where}.{name}")
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from _negative(value, f"{where}[{index}]")
