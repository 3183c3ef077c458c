"""Damage, hostile text and full disks, counted: is all of it noticed, with one sentence and nothing lost?

    python benchmarks/faults.py examples/digits.py:task -t x86-server -t tflite-int8 --seed 1

Every figure is tried / held. `damage` alters a byte, cuts, empties, lengthens or removes random files of an export and asks
`verify`, which has to name the file. `text` mutates manifests, reports, device records, profiles, budget files and recipes, and
asks whoever reads them: only edgekit's own errors may come. `disk` exports onto file systems that run full (needs root),
`memory` under limits of address space. Kills are counted by benchmarks/resume.py. Exit code 1 where something did not hold.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import result_file
from click.testing import CliRunner
from edgekit_runner import record as records
from edgekit_runner.cli import table
from edgekit_runner.errors import RunnerError

from edgekit.cli.main import main as edgekit
from edgekit.device.record_check import fault_of
from edgekit.errors import EdgekitError, UserError
from edgekit.ladder import recipe_parser
from edgekit.package import budget_file, manifest_file
from edgekit.report import load, terminal
from edgekit.target import load_target, profile_dir

HEAD = ("what", "tried", "held", "the first that did not hold")
Change = Callable[[random.Random, bytes], bytes]


class Outcome(NamedTuple):
    what: str
    tried: int
    failures: list[str]

    def row(self) -> list[str]:
        first = self.failures[0] if self.failures else ""
        return [self.what, str(self.tried), str(self.tried - len(self.failures)), first[:160]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task")
    parser.add_argument("-t", "--target", action="append", required=True)
    parser.add_argument("--damaged", type=int, default=600)
    parser.add_argument("--texts", type=int, default=2000, help="of each kind")
    parser.add_argument("--exports", type=int, default=4, help="onto full disks, and under limits of memory")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    chance = random.Random(asked.seed)
    command = [
        sys.executable,
        "-m",
        "edgekit",
        "export",
        asked.task,
        *(f"--target={t}" for t in asked.target),
        "-q",
    ]
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = Path(folder)
        subprocess.run([*command, "-o", str(place / "out")], check=True, stdout=subprocess.DEVNULL)
        print(f"seed {asked.seed}; the export holds {len(files(place / 'out'))} files\n", flush=True)
        found = [damage(place / "out", asked.damaged, chance), *texts(place, asked.texts, chance)]
        found += [
            full_disks(command, place, asked.exports, chance),
            small_memory(command, place, asked.exports),
        ]
    print("\n".join(result_file.markdown([HEAD, *(each.row() for each in found)])))
    return int(any(each.failures for each in found))


def files(out: Path) -> list[Path]:
    return sorted(path for path in out.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------------ damage


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


def damage(out: Path, count: int, chance: random.Random) -> Outcome:
    """Alters one file at a time; `verify` has to end with an error that names it."""
    failures = []
    for _ in range(count):
        file, kind = (
            chance.choice([path for path in files(out) if path.stat().st_size]),
            chance.choice([*DAMAGE, "gone"]),
        )
        whole = file.read_bytes()
        file.unlink() if kind == "gone" else file.write_bytes(DAMAGE[kind](chance, whole))
        said = CliRunner().invoke(edgekit, ["verify", str(out)])
        name = str(file.relative_to(out))
        broke = said.exception is not None and not isinstance(said.exception, SystemExit)
        if broke or said.exit_code not in (1, 2) or file.name not in said.stderr:
            failures.append(
                f"{kind} of {name}: exit code {said.exit_code}, {said.exception or said.stderr!r}"
            )
        file.write_bytes(whole)
    return Outcome("damaged files of an export, named by verify", count, failures)


# -------------------------------------------------------------------------------------------------------- text


def texts(place: Path, count: int, chance: random.Random) -> Iterator[Outcome]:
    """Mutated text of other machines and of users, for each of its readers."""
    out, work = place / "out", place / "text"
    work.mkdir()
    manifest = next(out.glob("*/manifest.json")).read_bytes()
    bench = record(out).encode()
    profile = (profile_dir() / "x86-server.toml").read_bytes()
    budget = b"[every]\nmax_size_bytes = 5000\n[targets.x]\nmax_drop = 0.1\n[abi.arm64]\nmax_size_bytes = 7\n"
    readers: dict[str, tuple[bytes, Callable[[Path], object]]] = {
        "manifest.json": (manifest, lambda path: manifest_file.read(path.parent)),
        "report.json": ((out / "report.json").read_bytes(), lambda path: terminal.text(load.read(path), 100)),
        "record.json": (bench, lambda path: shown(records.read(path.read_text(encoding="utf-8", errors="replace")))),
        "profile.toml": (profile, lambda path: load_target(str(path))),
        "budget.toml": (budget, budget_file.read),
        "recipe.txt": (b"prune(macs=0.5) > distill(student='a.py:f?w=1') > ptq(mse)", lambda path: recipe_parser.parse(path.read_text(encoding="utf-8", errors="replace"))),
    }  # fmt: skip
    for name, (whole, reader) in readers.items():
        failures = []
        for _ in range(count):
            (work / name).write_bytes(mutated(chance, whole, name))
            try:
                reader(work / name)
            except (EdgekitError, RunnerError):
                pass
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")
        yield Outcome(f"mutated {name}, no traceback", count, failures)


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


# -------------------------------------------------------------------------------------------- disk and memory


def full_disks(command: list[str], place: Path, count: int, chance: random.Random) -> Outcome:
    """Exports onto small file systems: one sentence about the disk, and nothing left beside the output."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return Outcome("disk full (not tried: needs root)", 0, [])
    failures, needed = [], sum(file.stat().st_size for file in files(place / "out"))
    for index in range(count):
        disk = place / f"disk{index}"
        disk.mkdir()
        size = chance.randint(64 << 10, max(2 * needed, 128 << 10))
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True
        ).returncode:
            return Outcome("disk full (not tried: mount is not allowed)", 0, [])
        try:
            done = subprocess.run(
                [*command, "--no-cache", "-o", str(disk / "out")], capture_output=True, text=True
            )
            left = sorted(path.name for path in disk.iterdir())
            if done.returncode != 0 and (
                "disk is full" not in done.stderr or left or "Traceback" in done.stderr
            ):
                failures.append(f"{size} bytes: {done.stderr[-300:]!r}, left {left}")
        finally:
            subprocess.run(["umount", "-l", str(disk)], check=False)
    return Outcome("exports onto disks that run full", count, failures)


def small_memory(command: list[str], place: Path, count: int) -> Outcome:
    """Exports with little address space: a sentence, or a whole output."""
    failures = []
    for index in range(count):
        limit = (1 + index) << 30
        out = place / f"memory{index}"
        done = subprocess.run(
            [*command, "--no-cache", "-o", str(out)],
            capture_output=True,
            text=True,
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )
        if "Traceback" in done.stderr or (done.returncode == 0) != (out / "report.json").is_file():
            failures.append(f"{limit >> 30} GiB: exit code {done.returncode}, {done.stderr[-300:]!r}")
    return Outcome("exports with 1 GiB of address space and more", count, failures)


if __name__ == "__main__":
    sys.exit(main())
