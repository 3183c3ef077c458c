"""Damage, hostile text and tasks, full disks, little memory and strangers, counted: is all of it noticed, and nothing lost?

    python benchmarks/faults.py tests/task_files/small.py:task -t x86-server -t tflite-int8 --seed 1

Every figure is tried / held; the seed is printed. Each kind of fault is a file of `benchmarks/fault/`, and `--only` picks
some. Kills are counted by benchmarks/resume.py. Exit code 1 where something did not hold.
"""

import argparse
import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fault import EDGEKIT, ROWS, Bench, Outcome, files, heed_ctrl_c, machine_line, outcomes, said, table


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task")
    parser.add_argument("-t", "--target", action="append", required=True)
    parser.add_argument("--only", action="append", choices=ROWS)
    parser.add_argument("--damaged", type=int, default=600)
    parser.add_argument("--texts", type=int, default=2000, help="of each kind")
    parser.add_argument("--exports", type=int, default=6, help="under each limit, and verbs in each place")
    parser.add_argument("--disks", type=int, default=80, help="that run full, of different sizes, at most")
    parser.add_argument("--jobs", type=int, default=1, help="Rows at once.")
    parser.add_argument(
        "--out", type=Path, help="A whole export of the task, in place of one that is made now."
    )
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    heed_ctrl_c()
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        place = Path(folder)
        out = asked.out or exported(asked.task, asked.target, place / "out")
        print(f"seed {asked.seed}; {machine_line()}; the export holds {len(files(out))} files\n", flush=True)
        found = [each for row in rows_of(asked, out, place) for each in row]
    print(table(found))
    return int(any(each.failures for each in found))


def rows_of(asked: argparse.Namespace, out: Path, place: Path) -> Iterator[list[Outcome]]:
    """The outcomes of each row, some rows at once, each in a process of its own."""
    rows, spawned = asked.only or ROWS, multiprocessing.get_context("spawn")
    if asked.jobs == 1:
        yield from (row_of(asked, out, place, row) for row in rows)
        return
    with ProcessPoolExecutor(asked.jobs, spawned, heed_ctrl_c, max_tasks_per_child=1) as pool:
        started = [pool.submit(row_of, asked, out, place, row) for row in rows]
        yield from (each.result() for each in started)


def row_of(asked: argparse.Namespace, out: Path, place: Path, row: str) -> list[Outcome]:
    """The outcomes of one row."""
    (place / row).mkdir()
    chance = random.Random(f"{asked.seed} {row}")  # the same, whichever other rows are asked for
    bench = Bench(
        place / row, out, asked.task, tuple(asked.target), chance, asked.damaged, asked.texts, asked.exports, asked.disks
    )  # fmt: skip
    started, cpu_s, found = time.perf_counter(), sum(os.times()[:4]), []
    for each in outcomes(row, bench):
        found.append(each)
        took = f"{time.perf_counter() - started:.0f} s, {sum(os.times()[:4]) - cpu_s:.0f} s of them CPU"
        print(f"{row}, {took}: {each}", file=sys.stderr, flush=True)
    return found


def exported(task: str, targets: Sequence[str], out: Path) -> Path:
    """A whole export of the task."""
    done = said([*EDGEKIT, "export", task, *(f"--target={name}" for name in targets), "-q", "-o", out])
    if done.returncode:
        raise SystemExit(f"the export failed: {done.stderr[-600:]}")
    return out


if __name__ == "__main__":
    sys.exit(main())
