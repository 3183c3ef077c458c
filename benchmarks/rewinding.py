"""Recovery of a pruned network whose own training is known: every schedule, and early weights, at a small and at the original budget.

    python benchmarks/rewinding.py --train train.npz --test test.npz --work out/rewinding
    python benchmarks/rewinding.py ... --work out/rewinding --seeds 1 --original 4000 --budgets 400,4000

Each seed draws a ResNet-8 of examples/cifar10.py and trains it from scratch with SGD (peak RATE, cosine) on --original images; the weights
after EARLY of that are kept. Half of the multiply-accumulates then go, by l2, in multiples of 8, and what is left trains with each budget:
with a constant rate, a cosine from the rate that the probe finds, the cosine of the original peak, and learning-rate rewinding (Renda et
al. 2020, arXiv:2003.02389), whose peak is scaled to the budget; and the last two once more from the early weights. Top-1 of all test images
in torch. Finished stages stay in --work: the same command goes on where it was stopped, also within a training.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import result_file
import torch
from example import EXAMPLES, example
from recipes import Bench, Results, Row, table
from safetensors.torch import save_file

import edgekit as ek
from edgekit.engine.task_source import TaskSource
from edgekit.errors import EdgekitError
from edgekit.profile.reading import load_target
from edgekit.train.loop import fit
from edgekit.train.settings import Options

RESULT, TABLE = "rewinding.json", "rewinding.md"
BLOCKS, RATE, EARLY, CONSTANT = 1, 0.1, 0.1, 0.003
SGD = "alpha=1.0, optimizer=sgd, clip_norm=5, weight_decay=0.0001"
#: name: (options of the training, from early weights)
SCHEDULES = {
    "constant": (f"schedule=constant, learning_rate={CONSTANT}", False),
    "cosine, probed": ("", False),
    "original peak": (f"learning_rate={RATE}", False),
    "rewinding": (f"schedule=rewinding, learning_rate={RATE}, original_images={{original}}", False),
    "early weights, original peak": (f"learning_rate={RATE}", True),
    "early weights, rewinding": (
        f"schedule=rewinding, learning_rate={RATE}, original_images={{original}}",
        True,
    ),
}


def scratch(train: str, original: int, seed: int, folder: Path) -> tuple[Path, Path]:
    """(the trained weights, the early ones) of one seed; once."""
    whole, early = folder / "whole.safetensors", folder / "early.safetensors"
    if whole.is_file():
        return whole, early
    folder.mkdir(parents=True, exist_ok=True)
    cifar10 = example("cifar10")
    torch.manual_seed(seed)
    net = cifar10.ResNet(BLOCKS)

    def keep(progress: float) -> None:
        if progress >= EARLY and not early.is_file():
            save_file({name: value.clone() for name, value in net.state_dict().items()}, early)

    options = Options(
        images=original,
        learning_rate=RATE,
        optimizer="sgd",
        clip_norm=5.0,
        weight_decay=1e-4,
        seed=seed,
    )
    training = ek.Training(batches=cifar10.Augmented(train, 32), loss=torch.nn.functional.cross_entropy)
    fit(net, training, options, folder=folder / "checkpoint", on_step=keep)
    save_file(net.state_dict(), whole)
    return whole, early


def recipes(original: int, budgets: Sequence[int], early: Path) -> Iterator[tuple[str, str]]:
    """(name, recipe) of every schedule and budget."""
    for images in budgets:
        for name, (schedule, from_early) in SCHEDULES.items():
            rewind = f", rewind='{early}'" if from_early else ""
            told = ", ".join(
                part for part in (f"images={images}", SGD, schedule.format(original=original)) if part
            )
            yield f"{name}, {images} images", f"prune(macs=0.5, multiple=8{rewind}) > distill({told})"


def measured(asked: argparse.Namespace) -> list[Row]:
    """A row for every seed and schedule; the file grows row by row."""
    rows = list[Row]()
    for seed in range(asked.seeds):
        whole, early = scratch(asked.train, asked.original, seed, asked.work / f"net-{seed}")
        settings = {"weights": str(whole), "train": asked.train, "test": asked.test}
        source = TaskSource(name="cifar10", reference=f"{EXAMPLES / 'cifar10.py'}:task", settings=settings)
        bench = Bench(source, load_target("x86-server"), asked.work / f"stages-{seed}", torch_only=True)
        for name, recipe in recipes(asked.original, asked.budgets, early):
            rows.append(msgspec.structs.replace(bench.row(recipe, seed), recipe=name))
            result_file.write(asked.work / RESULT, Results(rows=tuple(rows)))
            (asked.work / TABLE).write_text(table(rows) + "\n", encoding="utf-8")
            print(f"{name}, seed {seed}: {rows[-1].metric}", file=sys.stderr, flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name in ("train", "test"):
        parser.add_argument(f"--{name}", required=True, help="an .npz file, see examples/cifar10.py")
    parser.add_argument("--work", type=Path, required=True, help=f"folder of finished stages and of {RESULT}")
    parser.add_argument("--seeds", type=int, default=3, help="nets drawn and trained (default 3)")
    parser.add_argument(
        "--original", type=int, default=60_000, help="images that the net is trained on (default 60000)"
    )
    parser.add_argument(
        "--budgets",
        type=lambda text: tuple(map(int, text.split(","))),
        default=(6_000, 60_000),
        help="images of each recovery (default 6000,60000)",
    )
    asked = parser.parse_args(argv)
    asked.work = asked.work.resolve()
    asked.train, asked.test = (str(Path(place).resolve()) for place in (asked.train, asked.test))
    try:
        rows = measured(asked)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
