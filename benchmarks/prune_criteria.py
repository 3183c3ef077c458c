"""What each criterion is worth: accuracy of a pruned net, before and after its batch norms are measured anew, without training.

    python benchmarks/prune_criteria.py --weights resnet20.safetensors --train train.npz --test test.npz --json criteria.json
    python benchmarks/prune_criteria.py ... --json criteria.json --resume --scopes uniform,global --macs 0.5 --images 256

The net is examples/cifar10.py, widths are multiples of --multiple. Each row is one pruning to the share --macs, scored on the first
--score images of the test file. Seconds are CPU time of ranking and cutting.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import prune_models
import result_file
import torch

from edgekit.compress._score import predictor
from edgekit.errors import EdgekitError
from edgekit.prune import criteria
from edgekit.prune.criteria import Evidence
from edgekit.prune.shrink import Request, shrink
from edgekit.quant.recalibrate import recalibrate
from edgekit.records import Record
from edgekit.train.data import Stream

EXAMPLE = (torch.zeros(1, 3, 32, 32),)
HEAD = ["criterion", "scope", "MACs left", "raw", "recalibrated", "CPU s", "own figures"]


class Settings(Record):
    weights: str
    macs: float
    multiple: int
    images: int
    recalibrate: int
    score: int
    seed: int


class Row(Record):
    criterion: str
    scope: str
    macs_ratio: float
    raw: float
    recalibrated: float
    cpu_s: float
    figures: dict[str, tuple[float, str]]


class Results(Record):
    settings: Settings
    base: float
    rows: tuple[Row, ...]


class Net:
    """The net and its data."""

    def __init__(self, asked: argparse.Namespace, settings: Settings) -> None:
        self.cifar, self.settings = prune_models.example("cifar10"), settings
        self.model = self.cifar.build_model(asked.weights)
        self.batches = self.cifar.Augmented(asked.train, 32)
        pixels, labels = self.cifar.images(asked.test)
        self.test = self.cifar.normalise(pixels[: settings.score]).numpy(), labels[: settings.score]

    def accuracy(self, model: torch.nn.Module) -> float:
        answers = np.asarray(predictor(model, 64)(self.test[0]))
        return float((answers.argmax(1) == self.test[1]).mean())

    def evidence(self) -> Evidence:
        count = -(-self.settings.images // 32)
        found = [(b.inputs, b.labels) for b in islice(Stream(self.batches, self.settings.seed), count)]
        return Evidence(found, torch.nn.functional.cross_entropy, self.settings.seed)

    def row(self, criterion: str, scope: str) -> Row:
        request = Request(
            macs=self.settings.macs, criterion=criterion, scope=scope, multiple=self.settings.multiple
        )
        start = time.process_time()
        done = shrink(self.model, EXAMPLE, request, self.evidence())
        cpu_s = time.process_time() - start
        raw = self.accuracy(done.module)
        inputs = (b.inputs for b in Stream(self.batches, self.settings.seed))
        recalibrate(done.module, inputs, self.settings.recalibrate)
        return Row(
            criterion=criterion,
            scope=scope,
            macs_ratio=done.macs / done.macs_before,
            raw=raw,
            recalibrated=self.accuracy(done.module),
            cpu_s=cpu_s,
            figures=done.figures,
        )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, what in (("weights", ".safetensors"), ("train", ".npz"), ("test", ".npz")):
        parser.add_argument(f"--{name}", required=True, help=f"a {what} file, see examples/cifar10.py")
    parser.add_argument("--json", type=Path, help="file of the rows, written after each")
    parser.add_argument("--resume", action="store_true", help="add to the file")
    parser.add_argument("--only", default=",".join(criteria.names()), help="criteria")
    parser.add_argument("--scopes", default="uniform")
    parser.add_argument("--macs", type=float, default=0.5, help="share to keep (default 0.5)")
    for name, default in (
        ("multiple", 8),
        ("images", 256),
        ("recalibrate", 512),
        ("score", 2000),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        results = measured(asked)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"unpruned: {results.base:.3f}")
    print("\n".join(result_file.markdown([HEAD, *map(cells, results.rows)])))
    return 0


def measured(asked: argparse.Namespace) -> Results:
    """What the file holds and what it lacks."""
    settings = Settings(
        weights=Path(asked.weights).name, macs=asked.macs, multiple=asked.multiple, images=asked.images,
        recalibrate=asked.recalibrate, score=asked.score, seed=asked.seed,
    )  # fmt: skip
    results = result_file.read(asked.json, asked.resume, Results)
    if results is not None:
        result_file.refuse_others(asked.json, results.settings, settings)
    net = Net(asked, settings)
    results = results or Results(settings=settings, base=net.accuracy(net.model), rows=())
    for scope in asked.scopes.split(","):
        for criterion in asked.only.split(","):
            if (criterion, scope) not in {(row.criterion, row.scope) for row in results.rows}:
                row = net.row(criterion, scope)
                results = Results(settings=settings, base=results.base, rows=(*results.rows, row))
                result_file.write(asked.json, results)
                print(" ".join(cells(row)), file=sys.stderr, flush=True)
    return results


def cells(row: Row) -> list[str]:
    own = ", ".join(f"{name} {value:.3g} {unit}".strip() for name, (value, unit) in row.figures.items())
    numbers = [f"{row.macs_ratio:.2f}", f"{row.raw:.3f}", f"{row.recalibrated:.3f}", f"{row.cpu_s:.1f}"]
    return [row.criterion, row.scope, *numbers, own]


if __name__ == "__main__":
    sys.exit(main())
