"""EfficientNet-Lite0 with a planted outlier channel: the same function in float, ruined by plain quantization.

    edgekit export benchmarks/planted.py:task --set photos=photos.tar -t x86-server -t tflite-int8 --max-drop 0.01 -o out/

The output of the first block gets a constant on one of its 16 channels, which the next convolution takes away again. In
float nothing changes. In integers the tensor's one scale must reach the constant, and every other channel falls
between two steps. Equalization cannot move a constant through, so that layers must stay float: the two around
the tensor, 6.6 % of the multiply-accumulates.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import edgekit as ek

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
import imagenet

CHANNEL = 5
OFFSET = 4000.0


@torch.no_grad()
def build_model() -> nn.Module:
    """[N, 3, 224, 224] -> [N, 1000], as `imagenet.build_model` up to rounding."""
    model = imagenet.build_model()
    first, second = model._blocks[0], model._blocks[1]
    first._bn2.bias[CHANNEL] += OFFSET
    second._bn0.running_mean += second._expand_conv.weight[:, CHANNEL, 0, 0] * OFFSET
    return model


def task(photos: str = os.environ.get("EDGEKIT_PHOTOS", "")) -> ek.Task:
    """The task of `imagenet.task` with the planted model."""
    return replace(imagenet.task(photos), name="imagenet-lite0-planted", model=build_model)
