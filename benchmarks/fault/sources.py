"""Hostile files as models: `edgekit inspect` says what each is or one sentence; nothing runs, nothing beside it is read or written.

A secret lies beside every file; it must be in no output, and nothing may appear there. Numbers that would fill the machine are
asked for within a limit of memory, as a container has.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fault import Bench, Outcome, fault_of, hostile_files, hostile_onnx, served

SECRET = "0.0123456789"  # as a float it is told, too
LIMIT_S = 90.0


def outcomes(bench: Bench) -> Iterator[Outcome]:
    failures, tried = [], 0
    with served.servers(bench.place / "tmp"):
        for name, make in makers():
            place = bench.place / str(tried) / "place"
            place.mkdir(parents=True)
            (place.parent / "secret").write_bytes(SECRET.encode() * 400)
            if fault := _fault(place, make):
                failures.append(f"{name}: {fault}")
                print(failures[-1], file=sys.stderr, flush=True)
            shutil.rmtree(place.parent, ignore_errors=True)
            tried += 1
    yield Outcome("hostile files as models: what it is, or a sentence; nothing is run", tried, failures)


def _fault(place: Path, make: hostile_onnx.Maker) -> str:
    model = make(place)
    before = _seen(place.parent)
    reference = f"hf:{model}" if model.is_dir() else str(model)
    started_s = time.monotonic()
    done = served.edgekit(["inspect", reference, "--input", ",".join(map(str, hostile_onnx.SHAPE))])
    if fault := fault_of(done, (0, 1, 2, 3)):
        return fault
    said = done.stdout + done.stderr
    if any(ord(letter) < 32 and letter not in "\n\t" for letter in said):
        return f"control characters: {said[-300:]!r}"
    if SECRET in said or "root:x:0" in said:
        return f"told what lies beside it: {said[-300:]!r}"
    if len(said) > 20_000:
        return f"said {len(said)} characters"
    if appeared := sorted(_seen(place.parent) - before):
        return f"wrote {appeared}"
    if left := served.left_behind():
        return f"left running: {left}"
    wall_s = time.monotonic() - started_s
    return f"took {wall_s:.0f} s" if wall_s > LIMIT_S else ""


def _seen(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*")}


def makers() -> Iterator[tuple[str, hostile_onnx.Maker]]:
    """What each file is, and what makes it."""
    yield from ((f"ONNX: {name}", hostile_onnx.maker(change)) for name, change in hostile_onnx.GRAPHS.items())
    yield from hostile_files.BYTES.items()
    yield from (
        (f"Keras: {name}", hostile_files.keras_maker(config)) for name, config in hostile_files.KERAS.items()
    )
    yield from (
        (f"Hugging Face: {name}", hostile_files.folder_maker(config))
        for name, config in hostile_files.FOLDERS.items()
    )
    yield from (
        (f"Hugging Face: {name}", hostile_files.with_files(files))
        for name, files in hostile_files.FILES.items()
    )
