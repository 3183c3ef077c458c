"""Links, pipes, devices, folders, huge and nested files in each place where a verb reads one: a sentence, and soon."""

import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from fault import Bench, Outcome, fault_of, served
from fault.network import verbs
from fault.verbs import CODES, VERBS, afresh, odd, prepared

PATIENCE_S = 60.0  # with much other work beside it


def outcomes(bench: Bench) -> Iterator[Outcome]:
    prepared(bench)
    yield _no_files(bench)


def _no_files(bench: Bench) -> Outcome:
    """What a file may be instead of one, in each place where a verb reads one."""
    failures, tried = [], 0
    base = bench.place / VERBS
    readers: dict[str, tuple[str, ...]] = {
        "out/report.json": ("report", "explain", "check", "package", "ort", "export over it"),
        "out/arm-mobile/manifest.json": ("verify", "check", "package", "ort", "compare-models", "explain"),
        "out/arm-mobile/golden.npz": ("verify", "compare-models"),
        "out/SHA256SUMS": ("verify", "package"),
        "bundle/bundle.json": ("verify a bundle", "diff", "index", "package over it"),
        "bundle/measured.json": ("verify a bundle", "diff"),
        "updates/index.json": ("verify an index", "index", "index over it"),
        "budget.toml": ("check",),
        "key.pem": ("package", "index"),
    }
    with served.servers(bench.place / "no-tmp"):
        for file, names in readers.items():
            for kind, spoil in SPOILED.items():
                place = bench.place / f"no{tried}"
                shutil.copytree(base, place, symlinks=True)
                shutil.copytree(bench.out, place / "out", symlinks=True, dirs_exist_ok=True)
                asked = verbs(bench._replace(place=place, out=place / "out"), place / "out")
                over = {f"{name} over it": asked[name] for name in ("package", "index")}
                over["export over it"] = [*bench.light(), "--no-cache", "-o", str(place / "out")]
                spoil(bench.chance, place / file)
                for name in names:
                    started_s = time.monotonic()
                    done = served.edgekit(over.get(name) or afresh(asked[name], place / f"made{tried}"))
                    tried += 1
                    fault = fault_of(done, CODES) or odd(done)
                    if not fault and time.monotonic() - started_s > PATIENCE_S:
                        fault = f"took {time.monotonic() - started_s:.0f} s"
                    if fault:
                        failures.append(f"{name}, {file} is {kind}: {fault}")
                        print(failures[-1], file=sys.stderr, flush=True)
                shutil.rmtree(place, ignore_errors=True)
    return Outcome("verbs whose files are links, pipes, devices, folders, huge or nested", tried, failures)


def _replaced(make: Callable[[Path], object]) -> Callable[[random.Random, Path], None]:
    def spoil(_: random.Random, file: Path) -> None:
        file.unlink(missing_ok=True)
        make(file)

    return spoil


def _sized(file: Path) -> None:
    with file.open("wb") as stream:
        stream.truncate(200 << 20)


SPOILED: dict[str, Callable[[random.Random, Path], None]] = {
    "a folder": _replaced(lambda file: file.mkdir()),
    "a link to itself": _replaced(lambda file: file.symlink_to(file)),
    "a link to /dev/zero": _replaced(lambda file: file.symlink_to("/dev/zero")),
    "a pipe": _replaced(lambda file: os.mkfifo(file)),
    "200 MB of zeros": _replaced(_sized),
    "nested": _replaced(lambda file: file.write_text('{"a":' * 200_000)),
    "a long list": _replaced(lambda file: file.write_text("[" + "1," * 5_000_000 + "1]")),
    "empty": _replaced(lambda file: file.write_bytes(b"")),
    "not to be read": _replaced(lambda file: file.symlink_to("/proc/self/mem")),
}
