"""A net of inverted residuals, as MobileNetV2 (arXiv:1801.04381), for images of 32 x 32: the task of benchmarks that need one.

    python benchmarks/mobilenet_cifar.py --train train.npz --test test.npz --images 100000 --out mobilenet.safetensors
    python benchmarks/latency_pruning.py benchmarks/mobilenet_cifar.py:task --set weights=mobilenet.safetensors ...

Data and training batches are those of examples/cifar10.py. Without weights the net is random, with a seed: enough for times.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import torch
from example import example
from safetensors.torch import load_file, save_file
from torch import nn

import edgekit as ek
from edgekit.techniques._score import predictor
from edgekit.train.loop import fit
from edgekit.train.settings import Options

SEED = 0
#: (width, blocks, stride of the first) of each stage; every block widens by EXPANSION inside
STAGES = ((16, 1, 1), (32, 2, 2), (64, 2, 2))
EXPANSION = 6


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, acts: bool = True
) -> nn.Sequential:
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([nn.ReLU6()] if acts else []))


class Inverted(nn.Module):
    """Widened, depthwise, narrowed, added where the shape stays: [N, C, H, W] -> [N, D, H / stride, W / stride]."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = EXPANSION * inputs
        self.layers = nn.Sequential(
            conv(inputs, inner, 1), conv(inner, inner, 3, stride, inner), conv(inner, outputs, 1, acts=False)
        )
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.layers(x)
        return x + y if self.added else y


class MobileNet(nn.Module):
    """[N, 3, 32, 32] -> [N, 10]."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(3, 16, 3)]
        inputs = 16
        for outputs, blocks, stride in STAGES:
            for number in range(blocks):
                layers.append(Inverted(inputs, outputs, stride if number == 0 else 1))
                inputs = outputs
        self.features = nn.Sequential(*layers, conv(inputs, 256, 1))
        self.classifier = nn.Linear(256, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.classifier(torch.flatten(nn.functional.adaptive_avg_pool2d(self.features(x), 1), 1))


def build_model(weights: str = "") -> nn.Module:
    torch.manual_seed(SEED)
    model = MobileNet()
    if weights:
        model.load_state_dict(load_file(weights))
    return model.eval()


def task(weights: str = "", train: str = "", test: str = "") -> ek.Task:
    cifar10 = example("cifar10")
    for name, given in (("train", train), ("test", test)):
        if not Path(given).is_file():
            raise ek.TaskError(f"{name}={given!r} is no file; give --set {name}=FILE")
    return ek.Task(
        name="mobilenet-cifar",
        model=lambda: build_model(weights),
        example_inputs=(torch.zeros(1, 3, 32, 32),),
        calibration=cifar10.Calibration(train),
        metric=cifar10.Top1(test),
        training=ek.Training(batches=cifar10.Augmented(train, 32), loss=nn.functional.cross_entropy),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Trains the net from scratch.")
    parser.add_argument("--train", required=True)
    parser.add_argument("--test", required=True)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=0.003)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(argv)
    made, model = task("", asked.train, asked.test), build_model()
    assert made.training is not None
    options = msgspec.structs.replace(
        Options(), images=asked.images, learning_rate=asked.rate, weight_decay=1e-4
    )
    fit(model, made.training, options, folder=asked.out.with_suffix(".checkpoint"))
    model.cpu().eval()
    save_file(model.state_dict(), asked.out)
    print(f"{made.metric(predictor(model, 64)):.4f} of the test images are named right")
    return 0


if __name__ == "__main__":
    sys.exit(main())
