"""Is there a lottery ticket: iterative magnitude pruning against a random mask of the same layers' sparsity, and the dense net.

    python benchmarks/lottery.py --work lottery/
    python benchmarks/lottery.py --work lottery/ --train train.npz --test test.npz --images 30000

Without data files the net is a perceptron, 64-300-100-10, on scikit-learn's digits, 1200 to train and 597 to score; with them a
ResNet-8 of CIFAR-10 (examples/cifar10.py). Each seed draws a net, trains it for a while (these weights are kept to go
back to), then to the end, and searches: back to the early weights, or repeating the rate alone; each with its control. Of the perceptron each layer loses the same share, as in Frankle & Carbin 2019; of the ResNet
all layers together.
What is done stays in --work: the same command goes on where it was stopped.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import result_file
import torch
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import EdgekitError, UserError
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Recipe, Record
from edgekit.techniques import lottery
from edgekit.techniques._score import metric_of
from edgekit.train.loop import fit
from edgekit.train.settings import Options as Loop

CIFAR = Path(__file__).parents[1] / "examples" / "cifar10.py"
RESULT = "lottery.json"
#: name: (back to early weights, random mask)
VARIANTS = {
    "weights back": (True, False),
    "weights back, random": (True, True),
    "rate back": (False, False),
    "rate back, random": (False, True),
}
HEAD = ("net", "zeros", "top-1 mean [least, most]", "against dense", "seeds", "rounds")


class Row(Record):
    """One trained net. variant: of VARIANTS, or "dense"."""

    variant: str
    seed: int
    sparsity: float
    metric: float
    figures: dict[str, float]


class Settings(Record):
    """What makes rows comparable."""

    net: str
    images: int
    early: int
    learning_rate: float
    sparsity: float
    each: float


class Results(Record):
    settings: Settings
    rows: tuple[Row, ...]


class Digits:
    """Shuffled batches of the training digits."""

    def __init__(self) -> None:
        pixels, labels = load_digits(return_X_y=True)
        order = np.random.default_rng(0).permutation(len(labels))
        self.x = torch.from_numpy((pixels[order] - 8) / 8).float()
        self.y = torch.from_numpy(labels[order])

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for chosen in torch.randperm(1200).split(32):
            yield self.x[chosen], self.y[chosen]

    def top1(self, predict: Any) -> float:
        answers = np.asarray(predict(self.x[1200:].numpy())).argmax(1)
        return float((answers == self.y[1200:].numpy()).mean())


def perceptron() -> nn.Module:
    """LeNet-300-100, as in the paper."""
    return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(), nn.Linear(100, 10))


def task_of(train: str, test: str) -> ek.Task:
    """With a function that draws a new net."""
    if not train and not test:
        data = Digits()
        return ek.Task(
            name="digits",
            model=perceptron,
            example_inputs=(torch.zeros(1, 64),),
            metric=data.top1,
            training=ek.Training(batches=data, loss=F.cross_entropy),
        )
    cifar = _cifar()
    return ek.Task(
        name="cifar10",
        model=lambda: cifar.ResNet(1),
        example_inputs=(torch.zeros(1, 3, 32, 32),),
        metric=cifar.Top1(test),
        training=ek.Training(batches=cifar.Augmented(train, 32), loss=F.cross_entropy),
    )


def _cifar() -> Any:
    sys.path.insert(0, str(CIFAR.parent))
    import cifar10

    return cifar10


class Search:
    """All nets of one seed, below one folder."""

    def __init__(self, task: ek.Task, settings: Settings, seed: int, folder: Path) -> None:
        self.task, self.settings, self.seed, self.folder = task, settings, seed, folder

    def dense(self) -> Row:
        """Draws, trains a while, keeps that, trains to the end."""
        torch.manual_seed(self.seed)
        model = self.task.model().train()
        self._fit(model, self.settings.early, "early")
        save_file(model.state_dict(), str(self._made("early.safetensors")))
        self._fit(model, self.settings.images, "dense")
        save_file(model.state_dict(), str(self._made("dense.safetensors")))
        return Row(variant="dense", seed=self.seed, sparsity=0.0, metric=self._metric(model), figures={})

    def ticket(self, variant: str) -> Row:
        back, control = VARIANTS[variant]
        given = lottery.Options(
            sparsity=self.settings.sparsity,
            scope="layer" if self.settings.net == "digits" else "global",
            each=self.settings.each,
            rewind=str(self.folder / "early.safetensors") if back else "",
            control=control,
            images=self.settings.images,
            learning_rate=self.settings.learning_rate,
        )
        work = self._made(variant.replace(" ", "-").replace(",", ""))
        done = lottery.apply(self._candidate(), self.task, given, Context(work=str(work), seed=self.seed))
        figures = {figure.name: figure.value for figure in done.figures}
        return Row(
            variant=variant,
            seed=self.seed,
            sparsity=figures["zeros of the sparse layers"],
            metric=figures["metric after"],
            figures=figures,
        )

    def _fit(self, model: nn.Module, images: int, name: str) -> None:
        assert self.task.training is not None
        given = Loop(images=images, learning_rate=self.settings.learning_rate, seed=self.seed)
        fit(model, self.task.training, given, folder=self._made(f"checkpoint-{name}"))

    def _made(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def _program(self, model: nn.Module) -> torch.export.ExportedProgram:
        like = self.task.example_inputs
        return programs.export(prepare_graph(torch.export.export(model.eval(), like).module()), like)

    def _metric(self, model: nn.Module) -> float:
        return metric_of(self.task, self._program(model).module())

    def _candidate(self) -> Candidate:
        model = self.task.model()
        model.load_state_dict(load_file(str(self.folder / "dense.safetensors")))
        path = self._made("dense.pt2")
        programs.save(self._program(model), path)
        return Candidate(program=str(path), recipe=Recipe(name="lottery", precision="float32", steps=()))


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    settings = Settings(
        net="cifar" if asked.train else "digits",
        images=asked.images,
        early=asked.early,
        learning_rate=asked.learning_rate,
        sparsity=asked.sparsity,
        each=asked.each,
    )
    try:
        rows = measured(task_of(asked.train, asked.test), settings, asked.seeds, asked.work)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown([list(HEAD), *table(rows)])))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help=f"folder of trained nets and of {RESULT}")
    parser.add_argument("--train", default="", help="an .npz of CIFAR-10, see examples/cifar10.py")
    parser.add_argument("--test", default="", help="the same to score")
    parser.add_argument("--seeds", type=int, default=3, help="nets (default 3)")
    parser.add_argument("--images", type=int, default=12_000, help="of each training (default 12000)")
    parser.add_argument(
        "--early", type=int, default=640, help="images before the weights to go back to (default 640)"
    )
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="the peak (default 0.003)")
    parser.add_argument("--sparsity", type=float, default=0.95, help="at the end (default 0.95)")
    parser.add_argument(
        "--each", type=float, default=0.4, help="share of what is left that goes (default 0.4)"
    )
    return parser


def measured(task: ek.Task, settings: Settings, seeds: int, work: Path) -> list[Row]:
    """Rows as they are done; the file grows row by row. Raises UserError for a file of other settings."""
    kept = result_file.read(work / RESULT, True, Results) if (work / RESULT).exists() else None
    if kept is not None:
        result_file.refuse_others(work / RESULT, kept.settings, settings)
    rows = list(kept.rows) if kept is not None else []
    done = {(row.variant, row.seed) for row in rows}
    if seeds < 1:
        raise UserError(f"--seeds is {seeds}; give at least 1")
    for seed in range(seeds):
        search = Search(task, settings, seed, work.resolve() / f"seed-{seed}")
        for variant in ("dense", *VARIANTS):
            if (variant, seed) not in done:
                rows.append(search.dense() if variant == "dense" else search.ticket(variant))
                result_file.write(work / RESULT, Results(settings=settings, rows=tuple(rows)))
                print(f"seed {seed}, {variant}: {rows[-1].metric:.4f}", file=sys.stderr, flush=True)
    return rows


def table(rows: Sequence[Row]) -> list[list[str]]:
    """A row of each variant; of tickets also what they answered on the way."""
    dense = {row.seed: row.metric for row in rows if row.variant == "dense"}
    lines = [_line("dense", 0.0, dense, dense, "-")]
    for variant, (_, control) in VARIANTS.items():
        found = [row for row in rows if row.variant == variant]
        stages = [name for name in found[0].figures if name.startswith("metric at ")] if found else []
        for number, name in enumerate(stages, 1):
            if not control or number == len(stages):
                share = float(name.split()[2]) / 100
                lines.append(
                    _line(variant, share, {r.seed: r.figures[name] for r in found}, dense, str(number))
                )
    return lines


def _line(
    name: str, share: float, metrics: dict[int, float], dense: dict[int, float], rounds: str
) -> list[str]:
    values = [100 * value for value in metrics.values()]
    against = statistics.mean(100 * (metrics[seed] - dense[seed]) for seed in metrics)
    shown = result_file.spread(values, 2)
    return [name, f"{100 * share:.1f} %", shown, f"{against:+.2f}", str(len(values)), rounds]


if __name__ == "__main__":
    sys.exit(main())
