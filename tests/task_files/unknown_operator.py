"""A model whose submodule `spectral` calls an operator that no converter can express."""

import torch
from torch import nn

import edgekit as ek


class Spectral(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.lgamma(x)


class Net(nn.Module):
    """[N, 3, 8, 8] -> [N, 4, 8, 8]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.spectral = Spectral()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.spectral(self.conv(x))


torch.manual_seed(0)
IMAGES = torch.rand(2, 3, 8, 8)

task = ek.Task(
    name="unknown-operator",
    model=Net(),
    example_inputs=(IMAGES[:1],),
    calibration=[IMAGES],
    metric=lambda predict: float(predict(IMAGES).mean() > -100),
)
