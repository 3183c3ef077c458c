"""One-bit kernels beside float ones: a convolution alone, and whole nets with binary layers; what binary.py times."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import openvino as ov
import torch
import torchvision

from edgekit.binary import layer_choice, selftest
from edgekit.binary import openvino_ir as binary_file
from edgekit.binary.kernels import Layer, convolution
from edgekit.binary.layer import lower, replace
from edgekit.export import onnx
from edgekit.profile.reading import load_target
from edgekit.quant import program as programs
from edgekit.quant import tensors
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Recipe, Record

TARGET = "x86-server"
#: (channels in and out, kernel, stride, rows and columns)
SHAPES = (
    (16, 16, 3, 1, 32), (32, 32, 3, 1, 16), (64, 64, 3, 1, 8), (64, 64, 3, 1, 56), (128, 128, 3, 1, 28), (128, 256, 3, 2, 28),
    (256, 256, 3, 1, 14), (256, 256, 3, 1, 28), (512, 512, 3, 1, 7), (256, 256, 1, 1, 28), (512, 512, 1, 1, 14),
)  # fmt: skip
NETS = ("resnet20", "resnet18")
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
        name=shape_name(inputs, outputs, size, stride, places),
        float_ms=float_ms,
        binary_ms=binary_ms,
        median_ratio=ratio,
        bytes=(4 * layer.weight.size, layer.weight.size // 8),
    )


def _saved(make: Callable[[ov.Output], ov.Node], layer: Layer, path: Path) -> Path:
    x = ov.opset1.parameter(list(layer.input_shape), np.float32)
    ov.save_model(ov.Model([make(x.output(0))], [x], "layer"), path, compress_to_fp16=False)
    return path


def shape_name(inputs: int, outputs: int, size: int, stride: int, places: int) -> str:
    return f"{inputs} to {outputs}, {size}x{size}, stride {stride}, {places}x{places}"


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
    for node in layer_choice.chosen(graph, ""):
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
