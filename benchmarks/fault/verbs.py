"""Every verb where a user may stand: readers that leave, verbs told to stop, odd homes and names, files that are no files."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fault import EDGEKIT, Bench, Outcome, fault_of, marked, said, served
from fault.disk import cannot_mount
from fault.network import verbs

VERBS = "verbs"  # the folder of what they need
CODES = (0, 1, 2, 3, 4)
AT_HOME = ("verify", "bench", "package", "cache", "inspect", "doctor", "compare-models")
HEAVY = ("demo", "export")


def outcomes(bench: Bench) -> Iterator[Outcome]:
    asked = prepared(bench)
    yield _readers_that_leave(asked)
    yield _homes(bench, asked)
    yield _names(bench)


def prepared(bench: Bench) -> dict[str, list[str]]:
    """Each verb with its arguments; what one needs of another is made in `VERBS`."""
    place = bench.place / VERBS
    place.mkdir()
    asked = verbs(bench._replace(place=place), bench.out)
    for name in ("package", "index"):
        done = said([*EDGEKIT, *asked[name]])
        if done.returncode:
            raise SystemExit(f"{name} failed: {done.stderr[-600:]}")
    return asked


def afresh(asked: list[str], place: Path) -> list[str]:
    """The same with another output, where it has one."""
    at = asked.index("-o") + 1 if "-o" in asked else 0
    return [*asked[:at], str(place / "out"), *asked[at + 1 :]] if at else asked


# ----------------------------------------------------------------------------------------------- readers, stops


def _readers_that_leave(asked: dict[str, list[str]]) -> Outcome:
    failures, tried = [], 0
    for verb, arguments in asked.items():
        if verb in HEAVY:
            continue
        for json in ([], ["--json"]) if verb not in ("schema", "report", "techniques", "new") else ([],):
            reader, writer = os.pipe()
            os.close(reader)
            fresh = afresh(arguments, Path(arguments[-1]).parent / f"left{tried}")
            done = subprocess.run(
                [*EDGEKIT, *fresh, *json], stdout=writer, stderr=subprocess.PIPE, text=True, errors="replace", check=False
            )  # fmt: skip
            os.close(writer)
            tried += 1
            if any(word in done.stderr for word in ("Traceback", "Exception ignored", "Broken")):
                failures.append(f"{verb} {json}: {done.stderr[-300:]!r}")
                print(failures[-1], file=sys.stderr, flush=True)
    return Outcome("verbs whose reader leaves", tried, failures)


# ------------------------------------------------------------------------------------------------ homes, names


@contextmanager
def _read_only(place: Path) -> Iterator[Path]:
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def _homes(bench: Bench, asked: dict[str, list[str]]) -> Outcome:
    """Where edgekit may keep nothing it works without a cache, or says so."""
    place = bench.place / "homes"
    place.mkdir()
    (place / "file").write_text("x")
    (place / "real").mkdir()
    (place / "linked").symlink_to(place / "real")
    (place / "circle").symlink_to(place / "circle")
    changed: dict[str, dict[str, str]] = {
        "a home that is a file": {"HOME": str(place / "file"), "XDG_CACHE_HOME": ""},
        "a home that is not there": {"HOME": str(place / "gone"), "XDG_CACHE_HOME": ""},
        "a home of control characters": {"HOME": str(place / "a\n\x1b[2Jb"), "XDG_CACHE_HOME": ""},
        "a linked cache": {"XDG_CACHE_HOME": str(place / "linked")},
        "a cache that is a circle": {"XDG_CACHE_HOME": str(place / "circle")},
        "a cache that is a file": {"XDG_CACHE_HOME": str(place / "file")},
        "a cache that is relative": {"XDG_CACHE_HOME": "cache"},
        "a temporary folder that is not there": {"TMPDIR": str(place / "gone-tmp")},
        "a temporary folder that is a file": {"TMPDIR": str(place / "file")},
    }
    failures = []
    with _read_only(place / "ro") if not cannot_mount() else _none() as home:
        if home is not None:
            changed["a home that is read-only"] = {"HOME": str(home), "XDG_CACHE_HOME": ""}
            changed["a temporary folder that is read-only"] = {"TMPDIR": str(home)}
        tried = 0
        for what, variables in changed.items():
            arguments_of = (bench.light(), *(asked[verb] for verb in AT_HOME))
            for arguments in bench.chance.sample(arguments_of, min(bench.exports, len(arguments_of))):
                fresh = afresh(
                    [*arguments, "-o", "x"] if arguments[0] == "export" else arguments,
                    bench.place / f"home{tried}",
                )
                done = said([*EDGEKIT, *fresh], env=marked(**variables), cwd=place)
                tried += 1
                fault = fault_of(done, CODES) or odd(done)
                if fault:
                    failures.append(f"{arguments[0]} with {what}: {fault}")
                    print(failures[-1], file=sys.stderr, flush=True)
    return Outcome("verbs with odd homes, caches and temporary folders", tried, failures)


@contextmanager
def _none() -> Iterator[None]:
    yield None


def odd(done: "subprocess.CompletedProcess[str]") -> str:
    text = done.stdout + done.stderr
    return (
        f"control characters: {text[-300:]!r}" if any(ord(c) < 32 and c not in "\n\t" for c in text) else ""
    )


NAMES = (
    "two\nlines", "\x1b[2Jescape", "-o", "--help", "with blanks", "quo'te\"s", "$(touch was-run)", "`touch was-run`", "a;b&c|d",
    "\udcff\udcfe", "語\u202e", "%s%n{0}", "n" * 240, "a\\b", "#x?y=z", "~", "*", "[x]", "[/red]", "x:y",
)  # fmt: skip


def _names(bench: Bench) -> Outcome:
    """Folders and files of any name, as task, output, bundle and update."""
    failures, key = [], bench.place / "key.pem"
    shutil.copyfile(bench.place / VERBS / "key.pem", key)
    task, _, function = bench.task.partition(":")
    named = ("--name", "net", "--version", "1.0.0", "--license", "MIT", "--for", "web", "--sign", str(key))
    with served.servers(bench.place / "tmp"):
        names = bench.chance.sample(NAMES, min(3 * bench.exports, len(NAMES)))
        for number, name in enumerate(names):
            place = bench.place / f"names{number}" / name
            place.mkdir(parents=True)
            shutil.copyfile(task, place / "task.py")
            model = place / "model.onnx"
            shutil.copyfile(next(bench.out.glob("*/model.onnx")), model)
            steps = (
                (
                    "export",
                    f"{place}/task.py:{function}",
                    "-t",
                    "arm-mobile",
                    "--recipe",
                    "float32",
                    "-q",
                    "-o",
                    place / "out",
                ),
                ("verify", place / "out"),
                ("report", place / "out"),
                ("report", place / "out", "-o", place / "page.html"),
                ("package", place / "out", *named, "-o", place / "bundle"),
                ("index", place / "bundle", "--sign", key, "-o", place / "updates"),
                ("verify", place / "updates"),
                ("inspect", model, "--input", "1,3,8,8"),
                ("new", model, "--input", "1,3,8,8", "-o", place / "new.py"),
                ("bench", model, "--protocol", "quick"),
            )
            for step in steps:
                done = served.edgekit(step)
                fault = odd(done) or _not_fine(done, "\udcff" not in name)
                if fault:
                    failures.append(f"{step[0]} in {name[:40]!r}: {fault}")
                    print(failures[-1], file=sys.stderr, flush=True)
            if list(place.parent.rglob("was-run")) or Path("was-run").exists():
                failures.append(f"a name was run: {name!r}")
                print(failures[-1], file=sys.stderr, flush=True)
            shutil.rmtree(place.parent, ignore_errors=True)
    return Outcome("verbs with files and folders of any name", len(names) * len(steps), failures)


def _not_fine(done: "subprocess.CompletedProcess[str]", is_text: bool) -> str:
    """A name is no reason to fail, but one that is not UTF-8, which frameworks do not take."""
    if done.returncode == 0 or (not is_text and done.returncode == 2 and "Traceback" not in done.stderr):
        return ""
    return f"exit code {done.returncode}: {done.stderr[-300:]!r}"
