"""Kills exports again and again: is the output whole or absent each time, and are the resumed artifacts the same bytes?

    python benchmarks/resume.py examples/digits.py:task -t x86-server -t tflite-int8 --kills 60 --seed 1

One export is killed many times in its life: started, killed, started again with --resume, and so on, so that a kill costs
seconds; it is forked from a process that has its frameworks loaded, or with --fresh started by a fresh interpreter. It is
hit a random time after a random stage began, or at a random step while its result is put into its place; by SIGKILL,
SIGTERM, SIGINT or Ctrl-C, once or twice, alone or with its whole group. Lives differ: with and without a former output,
with a cache of its own, in a folder that is mounted (needs root). Speed decides nothing, so that each life walks the same
recipes. Exit code 1 where something did not hold.
"""

import argparse
import collections
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekit_runner.artifact import sha256
from fault import EDGEKIT, Outcome, forked, heed_ctrl_c, life, machine_line, said, table

LIVES = ("without a former output", "over a former output", "with a cache", "in a mounted folder")
KILLS_A_LIFE = 25
SAME = ("*/model.*", "*/golden.npz")  # what is the same in every run; other files hold times


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task")
    parser.add_argument("-t", "--target", action="append", required=True)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--out", type=Path, help="A whole export with --min-speedup 0, in place of one that is made now."
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="Start a fresh interpreter each time, which costs 10 s; others are forked.",
    )
    asked = parser.parse_args(argv)
    heed_ctrl_c()
    forked.adopt()
    chance = random.Random(asked.seed)
    export = ["export", asked.task, *(f"--target={name}" for name in asked.target), "--min-speedup", "0"]
    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        place = Path(folder)
        reference = asked.out or undisturbed([*EDGEKIT, *export, "--no-cache"], place / "undisturbed")
        print(
            f"seed {asked.seed}; {machine_line()}; {'fresh interpreters' if asked.fresh else 'forked'}; "
            f"{len(hashes(reference))} files compared\n",
            flush=True,
        )
        if not asked.fresh:
            forked.load()
        kills, ends = all_lives(export, reference, place, asked.kills, chance, asked.fresh)
    print(report(kills, ends))
    return int(any(kill.fault for kill in kills) or any(end for _, end in ends))


def all_lives(
    export: list[str], reference: Path, place: Path, count: int, chance: random.Random, fresh: bool
) -> tuple[list[life.Kill], list[tuple[str, str]]]:
    """Kills exports `count` times; returns each kill, and how each life ended ("" where all held)."""
    kills: list[life.Kill] = []
    ends: list[tuple[str, str]] = []
    first = chance.randrange(len(LIVES))
    while len(kills) < count:
        kind = LIVES[(first + len(ends)) % len(LIVES)]
        home = place / f"life{len(ends)}"
        mounted = prepare(home, kind, reference)
        try:
            one = life.Life(export, home, chance, cached=kind == "with a cache", fresh=fresh)
            for _ in range(min(KILLS_A_LIFE, count - len(kills))):
                kill = one.kill()
                if kill is None:
                    break
                kills.append(kill._replace(life=kind))
                print(f"{len(kills)}: {kills[-1]}", file=sys.stderr, flush=True)
            ends.append((kind, one.end(lambda out: hashes(out) == hashes(reference))))
            print(f"{kind}: {ends[-1][1] or 'the same bytes'}", file=sys.stderr, flush=True)
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(home / life.PLACE / life.OUT)], check=False)
        shutil.rmtree(home, ignore_errors=True)
    return kills, ends


def prepare(home: Path, kind: str, reference: Path) -> bool:
    """Makes the folder of a life; tells whether its output is a mount point."""
    out = home / life.PLACE / life.OUT
    out.parent.mkdir(parents=True)
    if kind == "over a former output":
        shutil.copytree(reference, out)
    if kind != "in a mounted folder":
        return False
    out.mkdir()
    return said(["mount", "-t", "tmpfs", "none", out]).returncode == 0


def undisturbed(command: list[str], out: Path) -> Path:
    """An export that nobody kills."""
    done = said([*command, "-q", "-o", out])
    if done.returncode:
        raise SystemExit(f"the export failed: {done.stderr[-600:]}")
    return out


def hashes(out: Path) -> dict[str, str]:
    """The sha256 of every file that does not hold times: artifacts, float ones too, and golden answers."""
    return {str(path.relative_to(out)): sha256(path) for name in SAME for path in out.glob(name)}


def report(kills: Sequence[life.Kill], ends: Sequence[tuple[str, str]]) -> str:
    """Tried / held by what killed, by the kind of life, and by what was being done."""

    def rows(what: str, of: str) -> list[Outcome]:
        names = collections.Counter(getattr(kill, of) for kill in kills)
        return [
            Outcome(f"{what} {name}", names[name], [k.fault for k in kills if k.fault and getattr(k, of) == name])
            for name in sorted(names)
        ]  # fmt: skip

    lives = Outcome(
        "lives that end with the same bytes, nothing left", len(ends), [end for _, end in ends if end]
    )
    every = Outcome("kills", len(kills), [kill.fault for kill in kills if kill.fault])
    return table(
        [every, *rows("killed by", "how"), *rows("an export", "life"), *rows("killed while", "during"), lives]
    )


if __name__ == "__main__":
    sys.exit(main())
