"""Low-rank factorization: how much of a net's metric and of its CPU time is left, beside other programs of the same
task.

    python benchmarks/lowrank.py make examples/cifar10.py:task --set weights=resnet20.safetensors --set train=train.npz \
        --set test=test.npz --work out/resnet20 --macs 0.85,0.7,0.5 --other pruned=work/program.pt2
    python benchmarks/lowrank.py time --work out/resnet20
    python benchmarks/lowrank.py train examples/cifar10.py:task --set ... --work out/resnet20 --images 3840

make: for each share of MACs the program factorized with calibration inputs and, with --blind, by its weights alone;
its metric in torch. --other: a program from elsewhere, say a pruned one, treated alike. time: every file in turn in
ONNX Runtime, one thread, CPU time of the process; run it on a machine that does nothing else. train: every program
but the float one, with the float one as teacher. lowrank.json of --work keeps every row; the same command goes on
where it was stopped.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
import result_file
import torch
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit.cli.options import read_settings
from edgekit.engine.specs import Context
from edgekit.engine.task_reference import load_task
from edgekit.errors import EdgekitError, UserError
from edgekit.export import onnx
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant.graph_macs import count
from edgekit.quant.prepare import prepare_graph
from edgekit.quant.trainable import give_back, trainable
from edgekit.records import Candidate, Recipe, Record
from edgekit.task import Task
from edgekit.techniques import lowrank
from edgekit.techniques._score import metric_of
from edgekit.techniques._teachers import teacher
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation
from edgekit.train.settings import Options

RESULT, TARGET, FLOAT = "lowrank.json", "x86-server", "float"
ROUNDS, CALL_S = 15, 0.05
HEAD = ["program", "MACs", "metric", "after training", "CPU / float, least", "median of rounds", "MB"]


class Row(Record):
    """macs: of one run. metric, trained: of the program in torch, as made and after training. cpu_ratio: to the
    float file: of the least times, and the median over rounds.
    """

    name: str
    program: str
    macs: int
    metric: float
    trained: float | None = None
    size_bytes: int = 0
    cpu_ratio: tuple[float, float] | None = None


class Results(Record):
    rows: tuple[Row, ...] = ()


class Made:
    """The rows of a work folder; NAME.onnx lies beside them."""

    def __init__(self, work: Path) -> None:
        self.work = work
        found = result_file.read(work / RESULT, resume=True, kind=Results)
        self.rows = {row.name: row for row in found.rows} if found else {}

    def put(self, row: Row) -> None:
        self.rows[row.name] = row
        result_file.write(self.work / RESULT, Results(rows=tuple(self.rows.values())))
        print(row, file=sys.stderr, flush=True)


# -- make


def make(made: Made, task: Task, shares: Sequence[float], blind: bool, others: dict[str, str]) -> None:
    whole = traced(task, made.work)
    _row(made, FLOAT, whole, task)
    for share in shares:
        for batches in (20, 0) if blind else (20,):
            name = f"lowrank {share:g}" + ("" if batches else " blind")
            if name not in made.rows:
                options = lowrank.Options(macs=share, batches=batches)
                context = Context(work=str(made.work / name.replace(" ", "-")))
                _row(made, name, lowrank.apply(whole, task, options, context), task)
    for name, place in others.items():
        _row(made, name, msgspec.structs.replace(whole, program=place), task)


def traced(task: Task, work: Path) -> Candidate:
    path = work / "float.pt2"
    if not path.exists():
        model = task.model if isinstance(task.model, torch.nn.Module) else task.model()
        exported = torch.export.export(model.eval(), tuple(task.example_inputs), strict=False)
        graph = prepare_graph(exported.module())
        programs.save(programs.export(graph, tuple(task.example_inputs)), path)
    return Candidate(program=str(path), recipe=Recipe(name="lowrank", precision="float32", steps=()))


def _row(made: Made, name: str, candidate: Candidate, task: Task) -> None:
    if name in made.rows:
        return
    program = programs.load(candidate.program)
    artifact = onnx.export(candidate, load_target(TARGET), made.work / f"{name.replace(' ', '-')}.onnx")
    made.put(
        Row(
            name=name,
            program=candidate.program,
            macs=count(program).count,
            metric=metric_of(task, program.module()),
            size_bytes=artifact.size_bytes,
        )
    )


# -- train


def train(made: Made, task: Task, images: int) -> None:
    """Every program but the float one, which is the teacher."""
    if task.training is None:
        raise UserError(f"task {task.name!r} has no training data")
    for name, row in list(made.rows.items()):
        if name != FLOAT and row.trained is None:
            after = trained(row, traced(task, made.work), task, images, made.work / f"{name}-training")
            made.put(msgspec.structs.replace(made.rows[name], trained=after))


def trained(row: Row, whole: Candidate, task: Task, images: int, folder: Path) -> float:
    assert task.training is not None
    graph = programs.load(row.program).module()
    model = trainable(graph)
    objective = Distillation([teacher(whole)], task.training.loss, 0.1, 4.0)
    fit(model, task.training, Options(images=images), objective=objective, folder=folder)
    give_back(model.to("cpu"), graph)
    return metric_of(task, graph)


# -- time


def measure(made: Made) -> None:
    """Every file in turn, so that whatever else happens on the machine happens to all of them."""
    if FLOAT not in made.rows:
        raise UserError(f"{made.work} holds no float file; run make first")
    names = list(made.rows)
    runs = [_Runner(made.work / f"{name.replace(' ', '-')}.onnx") for name in names]
    rounds = [[run() for run in runs] for _ in range(ROUNDS)]
    base = names.index(FLOAT)
    for index, name in enumerate(names):
        least = min(row[index] for row in rounds) / min(row[base] for row in rounds)
        median = statistics.median(row[index] / row[base] for row in rounds)
        made.put(msgspec.structs.replace(made.rows[name], cpu_ratio=(least, median)))


class _Runner:
    """Seconds of CPU time of one inference, the mean over about CALL_S."""

    def __init__(self, path: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        random = np.random.default_rng(0)
        self._feeds = {
            port.name: random.standard_normal(port.shape).astype(np.float32)
            if port.type == "tensor(float)"
            else np.ones(port.shape, np.int64)
            for port in self._session.get_inputs()
        }
        self._count = 3
        self._count = max(1, round(CALL_S / max(self(), 1e-6)))

    def __call__(self) -> float:
        start = time.process_time()
        for _ in range(self._count):
            self._session.run(None, self._feeds)
        return (time.process_time() - start) / self._count


# -- the command


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    torch.set_num_threads(1)
    asked.work.mkdir(parents=True, exist_ok=True)
    made = Made(asked.work.resolve())
    try:
        if asked.part == "time":
            measure(made)
        else:
            _with_task(asked, made)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown(table(list(made.rows.values())))))
    return 0


def _with_task(asked: argparse.Namespace, made: Made) -> None:
    if not asked.task:
        raise UserError(f"{asked.part} needs a task, FILE.py:FUNCTION")
    task = load_task(asked.task, read_settings(tuple(asked.set)))
    if asked.part == "train":
        train(made, task, asked.images)
        return
    shares = [float(part) for part in asked.macs.split(",") if part]
    make(made, task, shares, asked.blind, dict(part.split("=", 1) for part in asked.other))


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=("make", "time", "train"))
    parser.add_argument("task", nargs="?", help="FILE.py:FUNCTION")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for the task")
    parser.add_argument("--work", type=Path, required=True, help="folder of programs, files and lowrank.json")
    parser.add_argument("--macs", default="0.85,0.7,0.5", help="shares of MACs that may be left")
    parser.add_argument("--blind", action="store_true", help="also without calibration inputs")
    parser.add_argument("--images", type=int, default=3840, help="of each training (default 3840)")
    parser.add_argument(
        "--other", action="append", default=[], metavar="NAME=PROGRAM", help="another program"
    )
    return parser


def table(rows: Sequence[Row]) -> list[list[str]]:
    whole = next((row.macs for row in rows if row.name == FLOAT), 0)
    return [HEAD, *(_cells(row, whole) for row in rows)]


def _cells(row: Row, whole: int) -> list[str]:
    least, median = row.cpu_ratio or (None, None)
    return [
        row.name,
        f"{row.macs / whole:.2f}" if whole else "-",
        f"{row.metric:.4f}",
        "-" if row.trained is None else f"{row.trained:.4f}",
        "-" if least is None else f"{least:.2f}",
        "-" if median is None else f"{median:.2f}",
        f"{row.size_bytes / 1e6:.2f}",
    ]


if __name__ == "__main__":
    sys.exit(main())
