"""Two small networks in three formats for the tests of layer blame. Run as a program it writes all of them to a folder:
converters stay out of the test process."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torchvision  # noqa: F401  before any converter
from torch import nn
from torch.nn import functional as F

SHAPE = (1, 3, 12, 12)
FACTOR = 200.0
CHANNEL = 3


class Net(nn.Module):
    """A stem, a residual branch without an activation, a layer that reads the sum, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 8, 3, padding=1)
        self.deep, self.fc = nn.Conv2d(8, 16, 3, padding=1), nn.Linear(16, 5)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(photo))
        y = F.relu(self.deep(x + self.wide(x)))
        return self.fc(F.adaptive_avg_pool2d(y, 1).flatten(1))


class Joined(nn.Module):
    """Boxes of some hundred pixels, and scores of less than that, joined on one grid in a TFLite file. [N, 7, 144]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.box, self.cls = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.box.weight.mul_(100)
            self.box.bias.add_(300)
            self.cls.weight.mul_(50)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.box(photo), self.cls(photo)], 1).flatten(2)


class Resized(nn.Module):
    """A resize of one mode between two convolutions; `turned`: the answer is read in another order."""

    def __init__(self, mode: str = "nearest", turned: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mode, self.turned = mode, turned
        self.stem, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 1)

    def forward(self, photo: torch.Tensor) -> torch.Tensor:
        x = self.head(F.interpolate(F.relu(self.stem(photo)), scale_factor=2.0, mode=self.mode))
        return (x.permute(0, 2, 3, 1) if self.turned else x).flatten(1)


def build(planted: bool) -> Net:
    """planted: one channel of `wide` is scaled up, and what reads it down."""
    torch.manual_seed(0)
    net = Net().eval()
    if planted:
        with torch.no_grad():
            net.wide.weight[CHANNEL] *= FACTOR
            net.deep.weight[:, CHANNEL] /= FACTOR
    return net


def photos(count: int) -> torch.Tensor:
    return torch.randn(count, *SHAPE[1:], generator=torch.Generator().manual_seed(1))


def quantized(program: Path, folder: Path, fmt: str, skip: str = "") -> Any:
    """The candidate of one format: unsigned 7-bit weights for ONNX, signed 8-bit for TFLite."""
    from edgekit.engine.specs import Context
    from edgekit.records import Candidate, Quant, Recipe
    from edgekit.techniques import ptq

    quant = Quant(
        activation_dtype="uint8" if fmt == "onnx" else "int8",
        weight_bits=7 if fmt == "onnx" else 8,
        granularity="per_channel",
        symmetric_activations=False,
    )
    start = Candidate(
        program=str(program), recipe=Recipe(name="int8", precision="int8", steps=()), quant=quant
    )
    task: Any = SimpleNamespace(calibration=list(photos(16).split(1)))
    return ptq.apply(start, task, ptq.Options(skip=skip), Context(work=str(folder)))


def traced(net: nn.Module, folder: Path) -> Any:
    """The float program on disk with 8 samples, as edgekit.trace leaves it."""
    from edgekit.arrays import save_arrays
    from edgekit.quant import program as programs
    from edgekit.quant.prepare import prepare_graph
    from edgekit.records import Preprocessing, TaskFacts, TensorSpec, Traced

    prepared = prepare_graph(torch.export.export(net, (photos(1),)).module())
    programs.save(torch.export.export(prepared, (photos(1),)), folder / "float.pt2")
    with torch.no_grad():
        save_arrays(
            folder / "samples.npz", {"input_0": photos(8).numpy(), "output_0": net(photos(8)).numpy()}
        )
    return Traced(
        facts=TaskFacts(name="t", calibration=True, training=False),
        preprocessing=Preprocessing(),
        program=str(folder / "float.pt2"),
        predictions="",
        samples_file=str(folder / "samples.npz"),
        inputs=(TensorSpec(name="input_0", shape=SHAPE, dtype="float32"),),
        outputs=(TensorSpec(name="output_0", shape=tuple(net(photos(1)).shape), dtype="float32"),),
        metric=1.0,
        samples=8,
        parameters=sum(p.numel() for p in net.parameters()),
    )


def main(folder: Path) -> None:
    """folder/<net>/ holds the float program; folder/<net>-<format>.json the spec of one artifact."""
    import msgspec

    from edgekit.engine.verify_specs import BlameSpec
    from edgekit.export import coreml, onnx, tflite
    from edgekit.profile.reading import load_target
    from edgekit.records import Candidate, Recipe

    exporters = {"onnx": (onnx, "onnxruntime"), "tflite": (tflite, "litert"), "coreml": (coreml, "coreml")}
    for name, formats in (("clean", ("onnx", "tflite", "coreml")), ("planted", ("onnx", "tflite"))):
        place = folder / name
        place.mkdir()
        float_ = traced(build(name == "planted"), place)
        for fmt in formats:
            exporter, runtime = exporters[fmt]
            case = (
                Candidate(program=float_.program, recipe=Recipe(name="fp16", precision="float16", steps=()))
                if fmt == "coreml"
                else quantized(place / "float.pt2", place / fmt, fmt)
            )
            target = load_target(
                {"coreml": "coreml-fp16", "tflite": "tflite-int8", "onnx": "x86-server"}[fmt]
            )
            artifact = exporter.export(case, target, place / f"model{exporter.SUFFIX}")
            spec = BlameSpec(artifact=artifact, candidate=case, traced=float_, runtime=runtime)
            (folder / f"{name}-{fmt}.json").write_bytes(msgspec.json.encode(spec))
    joined(folder)
    for name, given in (("resize", Resized("bilinear")), ("turn", Resized(turned=True))):
        mixed_up(folder, name, given)


def joined(folder: Path) -> None:
    import msgspec

    from edgekit.engine.verify_specs import BlameSpec
    from edgekit.export import tflite
    from edgekit.profile.reading import load_target

    (place := folder / "joined").mkdir()
    float_ = traced(Joined().eval(), place)
    case = quantized(place / "float.pt2", place / "int8", "tflite")
    artifact = tflite.export(case, load_target("tflite-int8"), place / "model.tflite")
    spec = BlameSpec(artifact=artifact, candidate=case, traced=float_, runtime="litert")
    (folder / "joined-tflite.json").write_bytes(msgspec.json.encode(spec))


def mixed_up(folder: Path, name: str, given: nn.Module) -> None:
    """The spec of a float ONNX file that was made of `Resized()`, but claims to be made of `given`."""
    import msgspec

    from edgekit.engine.verify_specs import BlameSpec
    from edgekit.export import onnx
    from edgekit.profile.reading import load_target
    from edgekit.records import Candidate, Recipe

    recipe = Recipe(name="float32", precision="float32", steps=())
    programs = []
    for net, place in ((Resized(), folder / f"{name}-file"), (given, folder / name)):
        place.mkdir()
        programs.append(traced(net.eval(), place))
    exported = Candidate(program=programs[0].program, recipe=recipe)
    artifact = onnx.export(exported, load_target("x86-server"), folder / name / "model.onnx")
    claimed = Candidate(program=programs[1].program, recipe=recipe)
    spec = BlameSpec(artifact=artifact, candidate=claimed, traced=programs[1], runtime="onnxruntime")
    (folder / f"{name}-onnx.json").write_bytes(msgspec.json.encode(spec))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
