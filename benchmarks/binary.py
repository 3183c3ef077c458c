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
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import openvino as ov
import result_file
import torch
import torchvision

from edgekit.binary import choose, selftest
from edgekit.binary import openvino as binary_file
from edgekit.binary.kernels import Layer, convolution
from edgekit.binary.layer import lower, replace
from edgekit.compress import binarize
from edgekit.compress._teachers import teacher
from edgekit.errors import EdgekitError
from edgekit.export import onnx
from edgekit.quant import program as programs
from edgekit.quant import tensors
from edgekit.quant.prepare import prepare_graph
from edgekit.quant.trainable import give_back, trainable
from edgekit.records import Candidate, Recipe, Record
from edgekit.specs import Context
from edgekit.target import load_target
from edgekit.task import Task
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation

EXAMPLE = Path(__file__).parents[1] / "examples" / "cifar10.py"
RESULT = "binary.json"
TARGET = "x86-server"
#: (channels in and out, kernel, stride, rows and columns)
SHAPES = (
    (16, 16, 3, 1, 32), (32, 32, 3, 1, 16), (64, 64, 3, 1, 8), (64, 64, 3, 1, 56), (128, 128, 3, 1, 28), (128, 256, 3, 2, 28),
    (256, 256, 3, 1, 14), (256, 256, 3, 1, 28), (512, 512, 3, 1, 7), (256, 256, 1, 1, 28), (512, 512, 1, 1, 14),
)  # fmt: skip
NETS = ("resnet20", "resnet18")
SETTINGS = {"all": "", "layer3": "layer3.*", "float twin": None}
ROUNDS, CALL_S = 15, 0.02


class Row(Record):
    """kind: kernel, net or accuracy. float_ms, binary_ms: of one inference, the least of all rounds. median_ratio:
    of binary to float, round by round. metrics: in ONNX Runtime, and in OpenVINO with one-bit kernels.
    """

    kind: str
    name: str
    seed: int = 0
    float_ms: float | None = None
    binary_ms: float | None = None
    median_ratio: float | None = None
    bytes: tuple[int, int] | None = None
    metrics: tuple[float, float | None] | None = None
    figures: dict[str, float] = {}


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


# -- time


def in_turn(floats: ov.CompiledModel, binary: ov.CompiledModel) -> tuple[float, float, float]:
    """(least ms of float, of binary, median of the rounds' ratios): CPU time of this process."""
    runs = [_runner(floats), _runner(binary)]
    counts = [max(1, round(CALL_S / max(run(3) / 3, 1e-6))) for run in runs]
    rounds = [[run(count) / count for run, count in zip(runs, counts, strict=True)] for _ in range(ROUNDS)]
    least = [1000 * min(column) for column in zip(*rounds, strict=True)]
    return least[0], least[1], statistics.median(b / a for a, b in rounds)


def _runner(model: ov.CompiledModel) -> Callable[[int], float]:
    """Seconds of CPU time for so many inferences."""
    request, random = model.create_infer_request(), np.random.default_rng(0)
    for number, port in enumerate(model.inputs):
        values = random.standard_normal(tuple(port.shape)).astype(np.float32)
        request.set_input_tensor(number, ov.Tensor(values))

    def run(count: int) -> float:
        start = time.process_time()
        for _ in range(count):
            request.infer()
        return time.process_time() - start

    run(2)
    return run


def kernel(inputs: int, outputs: int, size: int, stride: int, places: int, work: Path) -> Row:
    random = np.random.default_rng(0)
    layer = Layer(
        name="layer",
        weight=random.choice([-1.0, 1.0], (outputs, inputs, size, size)),
        threshold=random.standard_normal(inputs).astype(np.float32),
        input_shape=(1, inputs, places, places),
        stride=(stride, stride),
        padding=(size // 2, size // 2),
    )
    selftest.run([layer])
    weight = random.standard_normal(layer.weight.shape).astype(np.float32)
    pad = list(layer.padding)
    floats = _saved(
        lambda x: ov.opset1.convolution(x, ov.opset1.constant(weight), [stride] * 2, pad, pad, [1, 1]),
        layer,
        work / "float.xml",
    )
    binary = _saved(lambda x: convolution(x, layer), layer, work / "binary.xml")
    float_ms, binary_ms, ratio = in_turn(selftest.compiled(floats), selftest.compiled(binary))
    return Row(
        kind="kernel",
        name=_shape_name(inputs, outputs, size, stride, places),
        float_ms=float_ms,
        binary_ms=binary_ms,
        median_ratio=ratio,
        bytes=(4 * layer.weight.size, layer.weight.size // 8),
    )


def _saved(make: Callable[[ov.Output], ov.Node], layer: Layer, path: Path) -> Path:
    x = ov.opset1.parameter(list(layer.input_shape), np.float32)
    ov.save_model(ov.Model([make(x.output(0))], [x], "layer"), path, compress_to_fp16=False)
    return path


def _shape_name(inputs: int, outputs: int, size: int, stride: int, places: int) -> str:
    return f"{inputs} to {outputs}, {size}x{size}, stride {stride}, {places}x{places}"


# -- nets


def traced(model: torch.nn.Module, side: int, work: Path) -> Candidate:
    """The float program of a net of square images, as `edgekit export` traces it."""
    x, path = (torch.zeros(1, 3, side, side),), work / "float.pt2"
    if not path.exists():
        graph = prepare_graph(torch.export.export(model.eval(), x).module())
        programs.save(torch.export.export(graph, x), path)
    return Candidate(program=str(path), recipe=Recipe(name="binary", precision="float32", steps=()))


def files(candidate: Candidate, work: Path) -> tuple[Path, Path]:
    """(float ONNX, one-bit IR) of a net whose layers are made binary as they are, untrained; kept for another time."""
    plain, made = work / "float.onnx", work / "binary.xml"
    if made.exists():
        return plain, made
    program = programs.load(candidate.program)
    graph = program.module()
    for node in choose.chosen(graph, ""):
        replace(graph, node, factorised=False)
    tensors.drop_unread(graph)
    lower(graph)
    programs.save(programs.export(graph, program), work / "binary.pt2")
    binary = msgspec.structs.replace(candidate, program=str(work / "binary.pt2"))
    for one, name in ((candidate, "float"), (binary, "binary")):
        onnx.export(one, load_target(TARGET), work / f"{name}.onnx")
    binary_file.write(work / "binary.onnx", made)
    return plain, made


def net(name: str, example: ModuleType, weights: str, work: Path) -> Row:
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    cifar = name == "resnet20"
    model = example.build_model(weights) if cifar else getattr(torchvision.models, name)()
    plain, binary = files(traced(model, 32 if cifar else 224, work), work)
    float_ms, binary_ms, ratio = in_turn(selftest.compiled(plain), selftest.compiled(binary))
    kinds = [node.get_type_name() for node in ov.Core().read_model(binary).get_ops()]
    both = binary.stat().st_size + binary.with_suffix(".bin").stat().st_size
    return Row(
        kind="net",
        name=name,
        float_ms=float_ms,
        binary_ms=binary_ms,
        median_ratio=ratio,
        bytes=(plain.stat().st_size, both),
        figures={"binary layers": kinds.count("BinaryConvolution")},
    )


# -- accuracy


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


# -- the command


def main(argv: Sequence[str] | None = None) -> int:
    asked = _arguments().parse_args(argv)
    torch.set_num_threads(1)
    work = asked.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kept, example = Kept(work / RESULT), _example()
    try:
        if asked.part == "kernels":
            for shape in SHAPES:
                kept.get("kernel", _shape_name(*shape), 0, lambda shape=shape: kernel(*shape, work))
        if asked.part == "nets":
            for name in NETS:
                kept.get("net", name, 0, lambda name=name: net(name, example, asked.weights, work / name))
        if asked.part == "accuracy":
            task = example.task(asked.weights, asked.train, asked.test)
            for seed in range(asked.seeds):
                for setting, layers in SETTINGS.items():
                    options = binarize.Options(layers=layers or "", images=asked.images)
                    place = work / setting.replace(" ", "-") / str(seed)
                    make = _bound(setting, task, seed, options, place)
                    kept.get("accuracy", setting, seed, make)
    except EdgekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(result_file.markdown(table(asked.part, kept.rows))))
    return 0


def _bound(*given: Any) -> Callable[[], Row]:
    return lambda: accuracy(*given)


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("part", choices=("kernels", "nets", "accuracy"))
    parser.add_argument("--work", type=Path, required=True, help="folder of files, trainings and binary.json")
    for name in ("weights", "train", "test"):
        parser.add_argument(f"--{name}", default="", help="see examples/cifar10.py; not for kernels")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each setting (default 3)")
    parser.add_argument("--images", type=int, default=10_000, help="training budget (default 10000)")
    return parser


def _example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cifar10", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
