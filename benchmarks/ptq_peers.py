"""Quantizes one float model with edgekit and with every peer that is installed, and prints them side by side.

    python benchmarks/ptq_peers.py --model lite0 --photos photos.tar --calibrate 100 --score 400 --json out.json
    python benchmarks/ptq_peers.py ... --only edgekit,ort-minmax --resume

Every row reads the same float file and the same calibration samples, is quantized in fresh processes of its own,
scored by one judge and timed by edgekit's runner. A peer that is not installed gets a row with its pip line. Rows
are appended to the JSON file one by one, so that a stopped run goes on with --resume. See benchmarks/README.md.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import peers
import result_file
from edgekit_runner.host.environment import local_isa
from peers import _table
from peers._flow import Flow, complete
from peers._records import Result, Results, Settings
from ptq_task import MODELS

from edgekit.engine.machine import machine_facts
from edgekit.errors import EdgekitError, UserError
from edgekit.profile.reading import load_target


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0 when every installed peer gave a row, 1 when one failed, else that of the error."""
    try:
        return _run(_arguments(argv))
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--model", default="lite0", help=f"{MODELS} (default lite0)")
    add("--photos", default="", help="folder or tar of JPEG files, named by class index")
    add("--calibrate", type=int, default=100, help="samples that calibrate (default 100)")
    add("--score", type=int, default=400, help="samples that score (default 400)")
    add("--only", default="", help=f"rows, separated by commas: {', '.join(peers.rows())}")
    add("--json", type=Path, help="file that the rows are appended to")
    add("--resume", action="store_true", help="keep the rows of the JSON file and add what is missing")
    add("--isa", help="instruction set that edgekit plans for: a level of x86-server, or host (default avx2)")
    add("--emulator", default="", help='also score under this command, e.g. "qemu-x86_64 -cpu Haswell"')
    add("--rounds", type=int, default=48, help="rounds of each timing (default 48)")
    add(
        "--processes", type=int, default=6, help="fresh processes that the rounds are spread over (default 6)"
    )
    add("--repeat", type=int, default=1, help="fresh processes that calibrate, for a median (default 1)")
    add("--seed", type=int, default=0)
    return parser.parse_args(argv)


def _run(asked: argparse.Namespace) -> int:
    names = peers.choose(asked.only)
    settings = _settings(asked)
    kept = _kept(asked, settings)
    with tempfile.TemporaryDirectory(prefix="ptq-peers-") as work:
        say("float model: tracing and exporting")
        flow = Flow(settings, Path(work))
        results = _with_kept_rows(flow.start(machine_facts(), names), kept)
        for name in names:
            if any(row.name == name and complete(row) for row in results.rows):
                say(f"{name}: kept")
                continue
            say(f"{name}: running")
            row = flow.row(name)
            say(f"{name}: {row.status}{': ' + row.reason if row.reason else ''}")
            results = _with(results, row)
            result_file.write(asked.json, results)
    print(_table.render(results), end="")
    return int(any(row.status == "failed" for row in results.rows))


def _settings(asked: argparse.Namespace) -> Settings:
    target = load_target("x86-server")
    isa = local_isa() if asked.isa == "host" else asked.isa or target.default_isa
    target.quant_for(isa)  # refuses an unknown level
    for name in ("calibrate", "score", "rounds", "processes", "repeat"):
        if getattr(asked, name) < 1:
            raise UserError(f"--{name} is {getattr(asked, name)}; it must be at least 1")
    if asked.emulator and shutil.which(asked.emulator.split()[0]) is None:
        raise UserError(
            f"--emulator names {asked.emulator.split()[0]!r}, which is no program on this machine"
        )
    photos = str(Path(asked.photos).resolve()) if asked.photos else ""
    return Settings(
        model=asked.model,
        photos=photos,
        calibrate=asked.calibrate,
        score=asked.score,
        isa=isa,
        emulator=asked.emulator,
        rounds=asked.rounds,
        processes=asked.processes,
        repeat=asked.repeat,
        seed=asked.seed,
    )


def _kept(asked: argparse.Namespace, settings: Settings) -> Results | None:
    """What the JSON file holds. Raises UserError if it is there without --resume, or was made with other settings."""
    found = result_file.read(asked.json, asked.resume, Results)
    if found is not None:
        result_file.refuse_others(asked.json, found.settings, settings)
    return found


def _with_kept_rows(fresh: Results, kept: Results | None) -> Results:
    """Raises UserError where the float model or the machine is another one: its rows belong in another table."""
    if kept is None:
        return fresh
    for name in ("machine", "float_metric", "samples", "float_sha256"):
        if getattr(kept, name) != getattr(fresh, name):
            raise UserError(
                f"the JSON file was made with {name} {getattr(kept, name)}, now it is {getattr(fresh, name)}; give another --json"
            )
    sizes = kept.float_sizes | fresh.float_sizes
    return msgspec.structs.replace(fresh, rows=kept.rows, float_sizes=sizes)


def _with(results: Results, row: Result) -> Results:
    """The results with `row` in its place of the table."""
    order = list(peers.rows())
    rows = [*(r for r in results.rows if r.name != row.name), row]
    return msgspec.structs.replace(results, rows=tuple(sorted(rows, key=lambda r: order.index(r.name))))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
