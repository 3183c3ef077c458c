"""Mutated text of other machines and of users, for each of its readers: only edgekit's own errors may come."""

import importlib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from edgekit_runner import record as records
from edgekit_runner.cli import table
from edgekit_runner.errors import RunnerError

from edgekit.device.record_check import fault_of
from edgekit.engine import answer
from edgekit.engine.stage_times import StageTimes
from edgekit.errors import EdgekitError, UserError
from edgekit.ladder import recipe_parser
from edgekit.measure import lab
from edgekit.package import budget_check, budget_file, manifest_file, sums
from edgekit.package.bundle import bundle_file, update_index
from edgekit.profile.reading import load_target, profile_dir
from edgekit.records import Artifact, StageTime
from edgekit.report import load, terminal
from fault import EDGEKIT, Bench, Outcome, private_key, said
from fault.damage import DAMAGE


class Text(NamedTuple):
    """What is mutated, and what reads it.

    Attributes:
        wholes: Good texts, one of which is mutated each time.
        reader: Is given the mutated file.
        apart: Whether it is read in a process of its own, as a stage would, because a native library may crash on it.
    """

    wholes: Sequence[bytes]
    reader: Callable[[Path], object]
    apart: bool = False


def outcomes(bench: Bench) -> Iterator[Outcome]:
    """Each reader, with texts that were good before; each in a folder where all else is good."""
    found = readers(bench)
    for place, text in found.items():
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.wholes[0])
    chances = {
        place: random.Random(bench.chance.random()) for place in found
    }  # of a row, whatever the others draw
    for place, text in found.items():
        failures, chance = [], chances[place]
        if text.apart:
            onnx_graph()  # before the forks
        for _ in range(bench.texts):
            place.write_bytes(mutated(chance, chance.choice(text.wholes), place.name))
            fault = _in_a_fork(text.reader, place) if text.apart else _fault(text.reader, place)
            if fault:
                failures.append(fault)
        place.write_bytes(text.wholes[0])
        yield Outcome(f"mutated {place.name}, no traceback", bench.texts, failures)


def _fault(reader: Callable[[Path], object], place: Path) -> str:
    try:
        reader(place)
    except (EdgekitError, RunnerError):
        pass
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _in_a_fork(reader: Callable[[Path], object], place: Path) -> str:
    """The same in a process of its own; of a crash edgekit makes a sentence, so that it is none of its faults."""
    hears, says = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(says, _fault(reader, place).encode()[:4000])
        finally:
            os._exit(0)
    os.close(says)
    with os.fdopen(hears, "rb") as end:
        said = end.read()
    os.waitpid(pid, 0)
    return said.decode(errors="replace")


def readers(bench: Bench) -> dict[Path, Text]:
    """The files that strangers, users and other machines write, and those that edgekit finds again."""
    out, work = bench.out, bench.place / "text"
    bundle, updates = packaged(bench)
    lab_, kept = work / "lab", work / "kept"
    records_ = [record(out), record(out, "compare")]
    utf8: dict[str, Any] = {"encoding": "utf-8", "errors": "replace"}
    return {
        work / "manifest.json": Text([path.read_bytes() for path in out.glob("*/manifest.json")], lambda path: manifest_file.read(path.parent)),
        work / "report.json": Text([(out / "report.json").read_bytes()], lambda path: terminal.text(load.read(path), 100)),
        work / "record.json": Text(records_, lambda path: shown(records.read(path.read_text(**utf8)))),
        lab_ / "lab.json": Text(records_, lambda path: labelled(path.parent)),
        work / "profile.toml": Text([path.read_bytes() for path in profile_dir().glob("[!_]*.toml")], lambda path: load_target(str(path))),
        work / "budget.toml": Text([BUDGET], lambda path: budget_check.check(out, budget_file.read(path), lab_)),
        work / "recipe.txt": Text([b"prune(macs=0.5) > distill(student='a.py:f?w=1') > ptq(mse)"], lambda path: recipe_parser.parse(path.read_text(**utf8))),
        bundle / "bundle.json": Text([(bundle / "bundle.json").read_bytes()], lambda path: bundle_file.check_bundle(path.parent)),
        bundle / "measured.json": Text([(bundle / "measured.json").read_bytes()], lambda path: bundle_file.check_bundle(path.parent)),
        updates / "index.json": Text([(updates / "index.json").read_bytes()], lambda path: update_index.check_index(path.parent, None)),
        work / "SHA256SUMS": Text([(out / "SHA256SUMS").read_bytes()], lambda path: sums.check_whole(path.parent)),
        kept / "result.json": Text([RESULT], lambda path: (answer.reuse("it", StageTime, path.parent), answer.collect("it", 0, path.parent, StageTime, 1.0))),
        kept / "stages.json": Text([b'{"a1b2/x86-server/trace": 3.25, "/all/trace": 4}'], lambda path: StageTimes(path.parent)),
        kept / "model.onnx": Text([path.read_bytes() for path in out.glob("*/model.onnx")], lambda path: onnx_graph().read(path), apart=True),
    }  # fmt: skip


BUDGET = b"""[every]
max_size_bytes = 50_000
max_drop = 0.1
[targets.x86-server]
max_drop = 0.2
record = "lab.json"
baseline = "lab.json"
[abi.arm64-v8a]
max_size_bytes = 7
"""
RESULT = b"""{"result": {"stage": "a", "wall_s": 1.5, "peak_memory_bytes": 10}, "files": {}, "wall_s": 1.5, "cpu_s": 1.0,
 "peak_memory_bytes": 1, "shared_memory_bytes": 0}"""


def onnx_graph() -> ModuleType:
    """The reader of a user's ONNX files, imported once and not before it is needed: it brings torch."""
    return importlib.import_module("edgekit.quant.onnx_graph")


def labelled(folder: Path) -> None:
    """Looks for a pair of files among the records of a lab, as an export with --records does."""
    lab.check(folder)
    lab.find(str(folder), artifact("a"), artifact("b"))


def artifact(digest: str) -> Artifact:
    """An artifact of this hash."""
    return Artifact(path="", format="onnx", precision="int8", size_bytes=1, sha256=digest, inputs=(), outputs=(), layout="", toolchain={})  # fmt: skip


def packaged(bench: Bench) -> tuple[Path, Path]:
    """A bundle of the export, and a folder of updates with it."""
    bundle, updates, key = (bench.place / name for name in ("bundle", "updates", "key.pem"))
    key.write_bytes(private_key())
    named = ("--name", "net", "--version", "1.0.0", "--license", "MIT", "--for", "web", "--sign", key)
    for command in (("package", bench.out, *named, "-o", bundle), ("index", bundle, "--sign", key, "-o", updates)):  # fmt: skip
        done = said([*EDGEKIT, *command])
        if done.returncode:
            raise SystemExit(f"{command[0]} failed: {done.stderr[-600:]}")
    return bundle, updates


def record(out: Path, kind: str = "bench") -> bytes:
    """A record of a model in the export, as the runner prints it."""
    model = next(
        path for path in out.glob("*/model.*") if path.is_file() and path.parent.name != "arm-mobile"
    )
    models = [str(model)] * (2 if kind == "compare" else 1)
    done = said([sys.executable, "-m", "edgekit_runner", kind, *models, "--protocol", "quick", "--json"])
    return done.stdout.strip().splitlines()[-1].encode()


def shown(found: dict[str, Any]) -> str:
    """The table of a record, as `edgekit bench` shows that of a device."""
    fault = fault_of(found)
    if fault is not None:
        raise UserError(fault)
    return table.render(found)


STRANGE = (
    None,
    -1,
    1e308,
    10**400,
    "",
    "\x1b]0;x\x07",
    [],
    {},
    [[]],
    True,
    "../../etc/passwd",
    "\ud800",
    "[/red]",  # of a terminal's markup
    "x" * 5000,
)


def mutated(chance: random.Random, whole: bytes, name: str) -> bytes:
    """Another value, key or byte; of JSON in half of the cases a well-formed one."""
    if name.endswith(".json") and chance.random() < 0.5:
        data = json.loads(whole)
        holder, key = chance.choice(list(_places(data)))
        if chance.random() < 0.2:
            del holder[key]
        else:
            holder[key] = chance.choice(STRANGE)
        return json.dumps(data).encode("utf-8", "surrogatepass")
    kind = chance.choice([*DAMAGE, "again", "nested"])
    if kind == "again":
        begin, end = sorted(chance.randrange(len(whole)) for _ in range(2))
        return whole[:end] + whole[begin:]
    if kind == "nested":
        return whole + b"\nx = " + b"[" * 3000 if name.endswith(".toml") else b"[" * 100_000 + whole
    return DAMAGE[kind](chance, whole)


def _places(data: object) -> Iterator[tuple[dict[str, object] | list[object], str | int]]:
    for key, value in (
        data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    ):
        yield data, key  # type: ignore[misc]
        yield from _places(value)
