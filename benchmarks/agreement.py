"""How often integers answer as float does, net by net and recipe by recipe: post-training quantization, executed in torch.

    python benchmarks/agreement.py "examples/imagenet.py:task?photos=photos.tar" \
        "examples/cifar10.py:task?weights=resnet56.safetensors&train=train.npz&test=test.npz" --score 400 --json agreement.json
    python benchmarks/agreement.py ... --recipe "ptq" --recipe "ptq(estimator=mse, rounding=gptq)" --bits 7

The inputs are those that the task's metric asks for, the first --score of them. The integer program is executed by torch, as its
integers are written: what a runtime's kernels round differently is not in it. One step of agreement is 100 / n points; the interval is
Wilson's, 95 %. Seconds are of the quantization alone, wall. The last lines set each recipe beside the first, over all nets.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np
import result_file
import torch

from edgekit.cli.options import read_settings
from edgekit.engine.specs import Context
from edgekit.engine.task_reference import load_task
from edgekit.errors import EdgekitError
from edgekit.ladder.recipe_parser import parse
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.records import Candidate, Quant, Recipe, Record
from edgekit.records._options import read
from edgekit.task import Task
from edgekit.techniques import ptq
from edgekit.techniques._score import predictor
from edgekit.trace.model import program_of

RECIPES = ("ptq", "ptq(rounding=gptq)")
HEAD = ("net", "recipe", "agreement", "SNR dB", "seconds")


class Row(Record):
    """One recipe on one net. agreed: samples with float's first class."""

    net: str
    recipe: str
    agreed: int
    samples: int
    snr_db: float
    seconds: float

    @property
    def agreement(self) -> float:
        return self.agreed / self.samples


class Results(Record):
    rows: tuple[Row, ...] = ()


class Enough(Exception):
    """The metric asked for as many samples as are to be scored."""


def asked_of(task: Task, program: torch.export.ExportedProgram, most: int) -> list[tuple[np.ndarray, ...]]:
    """The inputs that the metric gives the model, a sample at a time."""
    found = list[tuple[np.ndarray, ...]]()
    model = predictor(program.module())

    def recorded(*arrays: np.ndarray) -> np.ndarray:
        for i in range(len(arrays[0])):
            found.append(tuple(array[i : i + 1] for array in arrays))
            if len(found) == most:
                raise Enough
        return model(*arrays)

    assert task.metric is not None
    with suppress(Enough):
        task.metric(recorded)
    return found


@torch.no_grad()
def answers(program: torch.export.ExportedProgram, samples: Sequence[tuple[np.ndarray, ...]]) -> np.ndarray:
    """The first output of each sample, a row each."""
    predict = predictor(program.module())
    rows = [predict(*sample) for sample in samples]
    return np.concatenate([(row[0] if isinstance(row, tuple) else row).reshape(1, -1) for row in rows])


def compared(reference: str, texts: Sequence[str], quant: Quant, most: int) -> list[Row]:
    name, _, pairs = reference.partition("?")
    settings = read_settings(tuple(filter(None, pairs.split("&"))))
    task = load_task(name, settings)
    label = " ".join([task.name, *(Path(v).stem for v in settings.values() if v.endswith(".safetensors"))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "float.pt2"
        programs.save(program_of(task), path)
        program = programs.load(path)
        samples = asked_of(task, program, most)
        right = answers(program, samples)
        found = []
        for text in texts:
            found.append(one(task, label, text, quant, path, samples, right))
            print("  ".join(cells(found[-1])), file=sys.stderr, flush=True)
        return found


def one(
    task: Task,
    label: str,
    text: str,
    quant: Quant,
    path: Path,
    samples: Sequence[tuple[np.ndarray, ...]],
    right: np.ndarray,
) -> Row:
    recipe = Recipe(name=text, precision="int8", steps=())
    candidate = Candidate(program=str(path), recipe=recipe, quant=quant)
    start = time.perf_counter()
    work = path.with_name("work")
    work.mkdir(exist_ok=True)
    done = ptq.apply(candidate, task, read(ptq.Options, parse(text).options), Context(work=str(work), seed=0))
    seconds = time.perf_counter() - start
    given = answers(programs.load(Path(done.program)), samples)
    return Row(
        net=label,
        recipe=text,
        agreed=int((given.argmax(1) == right.argmax(1)).sum()),
        samples=len(samples),
        snr_db=10 * float(np.log10((right**2).sum() / ((given - right) ** 2).sum())),
        seconds=seconds,
    )


def wilson(agreed: int, samples: int) -> tuple[float, float]:
    z, p = 1.96, agreed / samples
    middle = (p + z**2 / (2 * samples)) / (1 + z**2 / samples)
    half = z / (1 + z**2 / samples) * (p * (1 - p) / samples + z**2 / (4 * samples**2)) ** 0.5
    return middle - half, middle + half


def cells(row: Row) -> list[str]:
    low, high = wilson(row.agreed, row.samples)
    shown = f"{100 * row.agreement:.2f} [{100 * low:.1f}, {100 * high:.1f}] % (n={row.samples})"
    return [row.net, row.recipe, shown, f"{row.snr_db:.1f}", f"{row.seconds:.1f}"]


def against_the_first(rows: Sequence[Row], texts: Sequence[str]) -> list[str]:
    """The medians over all nets."""
    lines = []
    for text in texts[1:]:
        pairs = [
            (row, next(r for r in rows if r.net == row.net and r.recipe == texts[0]))
            for row in rows
            if row.recipe == text
        ]
        points = statistics.median(100 * (row.agreement - first.agreement) for row, first in pairs)
        db = statistics.median(row.snr_db - first.snr_db for row, first in pairs)
        more = statistics.median(row.seconds - first.seconds for row, first in pairs)
        lines.append(
            f"{text} beside {texts[0]}: {points:+.2f} points, {db:+.1f} dB, {more:+.1f} s (medians, {len(pairs)} nets)"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("nets", nargs="+", help="tasks: file.py:attr?key=value&key=value")
    parser.add_argument("--recipe", action="append", default=[], help=f"default {' and '.join(RECIPES)}")
    parser.add_argument("--score", type=int, default=1000, help="samples of each net (default 1000)")
    parser.add_argument("--bits", type=int, default=8, help="of weights (default 8; 7 without VNNI)")
    parser.add_argument("--target", default="x86-server", help="whose arithmetic (default x86-server)")
    parser.add_argument("--json", type=Path, help="the results, net by net")
    asked = parser.parse_args(argv)
    texts, rows = asked.recipe or list(RECIPES), list[Row]()
    try:
        target = load_target(asked.target)
        quant = target.quant_for(target.default_isa)
        assert quant is not None
        for net in asked.nets:
            rows += compared(net, texts, msgspec.structs.replace(quant, weight_bits=asked.bits), asked.score)
            result_file.write(asked.json, Results(rows=tuple(rows)))
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown([HEAD, *map(cells, rows)])))
    print("\n".join(against_the_first(rows, texts)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
