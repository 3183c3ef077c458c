"""Small and real torch networks that the tests convert. Random weights, seeded by whoever calls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torchvision
from torch import Tensor, nn


@dataclass(frozen=True)
class Net:
    model: Callable[[], nn.Module]
    shape: tuple[int, ...]


def settled(model: nn.Module, shape: tuple[int, ...]) -> nn.Module:
    """With batch-norm statistics from random data: a random net would else fade to zero in float16."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None
    model.train()
    with torch.no_grad():
        model(torch.randn(4, *shape[1:]))
    return model.eval()


def convnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU6(),
        nn.Conv2d(8, 16, 1),
        nn.Hardsigmoid(),
        nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 8),
    )


def audio_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(4, 8, 5, padding=2),
        nn.GELU(),
        nn.Conv1d(8, 8, 3, stride=2),
        nn.SiLU(),
        nn.ConvTranspose1d(8, 4, 4, stride=2, padding=1),
        nn.Flatten(),
        nn.LazyLinear(5),
        nn.LogSoftmax(-1),
    )


class Segmenter(nn.Module):
    """Down, up by both interpolations, and a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.mix = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        small = torch.relu(self.down(x))
        near = nn.functional.interpolate(small, scale_factor=2.0, mode="nearest")
        smooth = nn.functional.interpolate(small, size=x.shape[-2:], mode="bilinear")
        return self.mix(torch.cat([near, smooth], 1)).sigmoid()


class Recurrent(nn.Module):
    def __init__(self, bidirectional: bool) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, 5, num_layers=2, bidirectional=bidirectional, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


def overflow_net() -> nn.Module:
    """In float32 the middle scale cancels; in float16 the second convolution exceeds 65504."""
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1, bias=False),
    )
    with torch.no_grad():
        model[2].weight *= 3e5
        model[4].weight /= 3e5
    return model


def transformer() -> nn.Module:
    return nn.TransformerEncoderLayer(16, 4, 32, dropout=0.0, activation="gelu", batch_first=True)


def vision(name: str, size: int = 224) -> Net:
    shape = (1, 3, size, size)
    return Net(lambda: settled(getattr(torchvision.models, name)(weights=None), shape), shape)


def vision_transformer() -> nn.Module:
    model = torchvision.models.vit_b_16(weights=None)
    nn.init.normal_(model.heads.head.weight, std=0.02)  # torchvision starts it at zero
    return model


NETS = {
    "convnet": Net(lambda: settled(convnet(), (1, 3, 16, 16)), (1, 3, 16, 16)),
    "audio": Net(lambda: (net := audio_net(), net(torch.zeros(1, 4, 21)))[0], (1, 4, 21)),
    "segmenter": Net(Segmenter, (1, 3, 16, 20)),
    "transformer": Net(transformer, (1, 7, 16)),
    "lstm": Net(lambda: Recurrent(False), (1, 9, 6)),
    "lstm_bidirectional": Net(lambda: Recurrent(True), (1, 9, 6)),
    "mobilenet_v3_small": vision("mobilenet_v3_small", 96),
    "resnet18": vision("resnet18", 96),
}
SLOW_NETS = {
    **{
        name: vision(name)
        for name in (
            "mobilenet_v2",
            "mobilenet_v3_large",
            "resnet50",
            "squeezenet1_1",
            "densenet121",
            "convnext_tiny",
        )
    },
    "vit_b_16": Net(vision_transformer, (1, 3, 224, 224)),
}
