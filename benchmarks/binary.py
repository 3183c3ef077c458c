"""Binary layers, experimental: do one-bit kernels compute what they should, what do they save, and what does a net
lose.

    python benchmarks/binary.py kernels --work out/binary
    python benchmarks/binary.py nets --work out/binary --weights resnet20.safetensors --train train.npz --test test.npz
    python benchmarks/binary.py accuracy --work out/binary ... --seeds 3 --images 10000

kernels: one convolution at a time, float32 beside BinaryConvolution with the binarizing of its input, both in
OpenVINO, after the self-test proved it bit by bit. nets: the same for whole nets, every eligible middle layer
binary; the time of a layer does not depend on what its weights are, so nothing is trained. Times are CPU time of
the process, one thread, both files in turn; run it on a machine that does nothing else. accuracy: ResNet-20 of
examples/cifar10.py with binary layers beside its float twin, trained on as many images with the same loss, scored
on every test image in ONNX Runtime and, as kernels of one bit, in OpenVINO.

binary.json of --work keeps every row; the same command goes on where it was stopped, also within a training.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import binary_time
import numpy as np
import openvino as ov
import result_file
import torch
from binary_time import TARGET, Row, shape_name, traced
from example import example

from edgekit.binary import openvino_ir as binary_file
from edgekit.binary import selftest
from edgekit.engine.specs import Context
from edgekit.errors import EdgekitError
from edgekit.export import onnx
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant.trainable import give_back, trainable
from edgekit.records import Candidate, Record
from edgekit.task import Task
from edgekit.techniques import binarize
from edgekit.techniques._teachers import teacher
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation

RESULT = "binary.json"
SETTINGS = {"all": "", "layer3": "layer3.*", "float twin": None}


class Results(Record):
    rows: tuple[Row, ...] = ()


class Kept:
    """The rows so far, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        found = result_file.read(path, resume=True, kind=Results)
        self.rows = list(found.rows) if found else []

    def get(self, kind: str, name: str, seed: int, make: Callable[[], Row]) -> Row:
        for row in self.rows:
            if (row.kind, row.name, row.seed) == (kind, name, seed):
                return row
        self.rows.append(make())
        result_file.write(self._path, Results(rows=tuple(self.rows)))
        print(self.rows[-1], file=sys.stderr, flush=True)
        return self.rows[-1]


def accuracy(setting: str, task: Task, seed: int, options: binarize.Options, work: Path) -> Row:
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    assert callable(task.model)
    candidate = traced(task.model(), 32, work)
    context = Context(work=str(work / "trained"), seed=seed)
    if SETTINGS[setting] is None:
        done = float_twin(candidate, task, options, context)
    else:
        done = binarize.apply(candidate, task, options, context)
    artifact = onnx.export(done, load_target(TARGET), work / "model.onnx")
    floats = _metric(task, ov.Core().compile_model(artifact.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}))
    if SETTINGS[setting] is not None:
        written = binary_file.write(Path(artifact.path), work / "model.xml")
        bits = _metric(task, selftest.compiled(Path(written.path)))
    figures = {figure.name: figure.value for figure in done.figures}
    return Row(
        kind="accuracy",
        name=setting,
        seed=seed,
        metrics=(floats, bits if SETTINGS[setting] is not None else None),
        figures=figures,
    )


def float_twin(candidate: Candidate, task: Task, options: binarize.Options, context: Context) -> Candidate:
    """The same program trained on as many images with the same loss, every layer float."""
    assert task.training is not None
    program = programs.load(candidate.program)
    graph, path = program.module(), Path(context.work) / "program.pt2"
    model = trainable(graph)
    objective = Distillation([teacher(candidate)], task.training.loss, options.alpha, options.temperature)
    fit(
        model,
        task.training,
        options.loop(context.seed),
        objective=objective,
        folder=Path(context.work) / "checkpoint",
    )
    give_back(model.to("cpu"), graph)
    programs.save(programs.export(graph, program), path)
    return Candidate(program=str(path), recipe=candidate.recipe)


def _metric(task: Task, model: ov.CompiledModel) -> float:
    def predict(images: np.ndarray) -> np.ndarray:
        return np.concatenate([model(image[None])[0] for image in images])

    return float(task.metric(predict))


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    torch.set_num_threads(1)
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kept, cifar10 = Kept(work / RESULT), example("cifar10")
    try:
        if asked.part == "kernels":
            for shape in binary_time.SHAPES:
                kept.get("kernel", shape_name(*shape), 0, partial(binary_time.kernel, *shape, work))
        if asked.part == "nets":
            for name in binary_time.NETS:
                kept.get("net", name, 0, partial(binary_time.net, name, cifar10, asked.weights, work / name))
        if asked.part == "accuracy":
            task = cifar10.task(asked.weights, asked.train, asked.test)
            for seed in range(asked.seeds):
                for setting, layers in SETTINGS.items():
                    options = binarize.Options(layers=layers or "", images=asked.images)
                    place = work / setting.replace(" ", "-") / str(seed)
                    make = partial(accuracy, setting, task, seed, options, place)
                    kept.get("accuracy", setting, seed, make)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown(table(asked.part, kept.rows))))
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=("kernels", "nets", "accuracy"))
    parser.add_argument("--work", type=Path, required=True, help="folder of files, trainings and binary.json")
    for name in ("weights", "train", "test"):
        parser.add_argument(f"--{name}", default="", help="see examples/cifar10.py; not for kernels")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each setting (default 3)")
    parser.add_argument("--images", type=int, default=10_000, help="training budget (default 10000)")
    return parser


def table(part: str, rows: Sequence[Row]) -> list[list[str]]:
    """The head and a line for each shape, net or setting."""
    if part == "accuracy":
        head = ["setting", "binary layers", "top-1 by seed", "mean", "in one-bit kernels"]
        return [head, *(_accuracy_cells(rows, name) for name in SETTINGS)]
    head = [part[:-1], "float32 ms", "binary ms", "speed-up", "median of rounds", "bytes"]
    kind = part.removesuffix("s")
    return [head, *(_time_cells(row) for row in rows if row.kind == kind)]


def _time_cells(row: Row) -> list[str]:
    assert row.float_ms and row.binary_ms and row.median_ratio and row.bytes
    return [
        row.name,
        f"{row.float_ms:.3f}",
        f"{row.binary_ms:.3f}",
        f"{row.float_ms / row.binary_ms:.2f}",
        f"{1 / row.median_ratio:.2f}",
        f"{row.bytes[0]} -> {row.bytes[1]}",
    ]


def _accuracy_cells(rows: Sequence[Row], setting: str) -> list[str]:
    found = [row for row in rows if row.kind == "accuracy" and row.name == setting]
    metrics = [row.metrics for row in found if row.metrics]
    floats, bits = [100 * m[0] for m in metrics], [100 * m[1] for m in metrics if m[1] is not None]
    layers = f"{found[0].figures.get('binary layers', 0):.0f}" if found else "-"
    return [
        setting,
        layers,
        ", ".join(f"{value:.2f}" for value in floats) or "-",
        f"{statistics.mean(floats):.2f}" if floats else "-",
        ", ".join(f"{value:.2f}" for value in bits) or "-",
    ]


if __name__ == "__main__":
    sys.exit(main())
