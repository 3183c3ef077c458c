"""Mutated text of other machines and of users, for each of its readers: only edgekit's own errors may come."""

import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgekit_runner import record as records
from edgekit_runner.cli import table
from edgekit_runner.errors import RunnerError

from edgekit.device.record_check import fault_of
from edgekit.errors import EdgekitError, UserError
from edgekit.ladder import recipe_parser
from edgekit.package import budget_file, manifest_file
from edgekit.profile.reading import load_target, profile_dir
from edgekit.report import load, terminal
from fault import Bench, Outcome
from fault.damage import DAMAGE


def outcomes(bench: Bench) -> Iterator[Outcome]:
    """Each reader, with texts that were good before."""
    out, chance, work = bench.out, bench.chance, bench.place / "text"
    work.mkdir()
    manifest = next(out.glob("*/manifest.json")).read_bytes()
    measured = record(out).encode()
    profile = (profile_dir() / "x86-server.toml").read_bytes()
    budget = b"[every]\nmax_size_bytes = 5000\n[targets.x]\nmax_drop = 0.1\n[abi.arm64]\nmax_size_bytes = 7\n"
    readers: dict[str, tuple[bytes, Callable[[Path], object]]] = {
        "manifest.json": (manifest, lambda path: manifest_file.read(path.parent)),
        "report.json": ((out / "report.json").read_bytes(), lambda path: terminal.text(load.read(path), 100)),
        "record.json": (measured, lambda path: shown(records.read(path.read_text(encoding="utf-8", errors="replace")))),
        "profile.toml": (profile, lambda path: load_target(str(path))),
        "budget.toml": (budget, budget_file.read),
        "recipe.txt": (b"prune(macs=0.5) > distill(student='a.py:f?w=1') > ptq(mse)", lambda path: recipe_parser.parse(path.read_text(encoding="utf-8", errors="replace"))),
    }  # fmt: skip
    for name, (whole, reader) in readers.items():
        failures = []
        for _ in range(bench.texts):
            (work / name).write_bytes(mutated(chance, whole, name))
            try:
                reader(work / name)
            except (EdgekitError, RunnerError):
                pass
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")
        yield Outcome(f"mutated {name}, no traceback", bench.texts, failures)


def record(out: Path) -> str:
    """A bench record of a model in the export, as the runner writes it."""
    model = next(
        path for path in out.glob("*/model.*") if path.is_file() and path.parent.name != "arm-mobile"
    )
    done = subprocess.run(
        [sys.executable, "-m", "edgekit_runner", "bench", str(model), "--protocol", "quick", "--json"],
        capture_output=True,
        text=True,
    )
    return done.stdout.strip().splitlines()[-1]


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
