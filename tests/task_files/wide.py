"""A net on real digits whose two convolutions are wider than they need be."""

import torch
from coarse import IMAGES, TRAIN, Batches, top1
from torch import nn
from torch.nn import functional as F

import edgekit as ek


def trained() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Upsample(scale_factor=4), nn.Conv2d(1, 96, 3, padding=1), nn.BatchNorm2d(96), nn.ReLU(),
        nn.Conv2d(96, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for x, y in Batches():
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


def task() -> ek.Task:
    return ek.Task(
        name="wide",
        model=trained,
        example_inputs=(torch.zeros(1, 1, 8, 8),),
        calibration=[IMAGES[TRAIN[:64]]],
        metric=top1,
        training=ek.Training(batches=Batches(), loss=F.cross_entropy),
    )
