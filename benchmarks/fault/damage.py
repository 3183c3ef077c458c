"""Damaged files of an export: does `verify` name each?

One file at a time is altered by a bit, cut, emptied of all but its length, made longer, replaced by noise or removed.
"""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from click.testing import CliRunner

from edgekit.cli.main import main as edgekit
from fault import Bench, Outcome, files

Change = Callable[[random.Random, bytes], bytes]


def flip(chance: random.Random, data: bytes) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << chance.randrange(8))]) + data[at + 1 :]


DAMAGE: dict[str, Change] = {
    "flip": flip,
    "cut": lambda chance, data: data[: chance.randrange(len(data))],
    "zeros": lambda _, data: b"\0" * len(data) if data.strip(b"\0") else b"\1" * len(data),
    "longer": lambda chance, data: data + chance.randbytes(chance.randint(1, 64)),
    "other": lambda chance, data: chance.randbytes(len(data) + 1),
}


def outcomes(bench: Bench) -> Iterator[Outcome]:
    """Every file in turn, each time with another kind of damage."""
    chance, failures, out = bench.chance, [], bench.place / "out"
    shutil.copytree(bench.out, out, symlinks=True)  # others look at the export meanwhile
    places = [path for path in files(out) if path.stat().st_size]
    for index in range(bench.damaged):
        file, kind = places[index % len(places)], chance.choice([*DAMAGE, "gone"])
        whole = file.read_bytes()
        file.unlink() if kind == "gone" else file.write_bytes(DAMAGE[kind](chance, whole))
        fault = _fault(out, file)
        file.write_bytes(whole)
        if fault:
            failures.append(f"{kind} of {file.relative_to(out)}: {fault}")
    yield Outcome(f"damage to {len(places)} files of an export, named by `verify`", bench.damaged, failures)
    if CliRunner().invoke(edgekit, ["verify", str(out)]).exit_code:
        raise SystemExit("the export is not whole after it was mended: this benchmark is at fault")


def _fault(out: Path, file: Path) -> str:
    said = CliRunner().invoke(edgekit, ["verify", str(out)])
    broke = said.exception is not None and not isinstance(said.exception, SystemExit)
    named = str(file.relative_to(out)) in said.stderr or file.name in said.stderr
    if broke or said.exit_code not in (1, 2) or not named:
        return f"exit code {said.exit_code}, {said.exception or said.stderr!r}"
    return ""
