"""A program whose binary weights take one bit each: for size only, since no runtime computes from it.

The file is a .safetensors: every tensor of the program under its own name. A weight of -1 and 1 is packed
into uint8, least significant bit first, 1 for +1, and its shape is in the file's metadata. `read` restores
the exact tensors. These weights are 32 times smaller than in float32; the scales, thresholds and other layers
stay as they are.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch.export import ExportedProgram

from edgekit.errors import UserError
from edgekit.quant import program as programs

SHAPES = "binary shapes"


def write(program: ExportedProgram, out: Path) -> int:
    """Writes every stored tensor; returns the size of the file in bytes.

    Raises:
        UserError: The program has no binary weights.
    """
    tensors = dict(program.state_dict)
    shapes = {
        name: list(value.shape)
        for name, value in tensors.items()
        if value.dim() == 4 and bool((value.abs() == 1).all())
    }
    if not shapes:
        raise UserError(
            "the program has no binary layer to pack; give one that the technique binarize has written"
        )
    stored = {
        name: _packed(value) if name in shapes else value.detach().contiguous().clone()
        for name, value in tensors.items()
    }
    programs.write(out, save(stored, {SHAPES: json.dumps(shapes)}))
    return out.stat().st_size


def read(path: Path) -> dict[str, torch.Tensor]:
    """Returns the state_dict that was given to `write`.

    Raises:
        UserError: It is another file, or does not match its own shapes.
    """
    try:
        with safe_open(path, "pt") as opened:
            shapes = json.loads((opened.metadata() or {})[SHAPES])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return {name: _unpacked(value, shapes.get(name)) for name, value in tensors.items()}
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is not a packed program that edgekit.binary.packed.write wrote: {error}"
        ) from error


def _packed(value: torch.Tensor) -> torch.Tensor:
    return torch.from_numpy(np.packbits((value > 0).numpy().ravel(), bitorder="little"))


def _unpacked(value: torch.Tensor, shape: list[int] | None) -> torch.Tensor:
    if shape is None:
        return value
    count = math.prod(shape)
    if value.dtype != torch.uint8 or len(value) != -(-count // 8):
        raise ValueError(f"{len(value)} bytes for a weight of {shape}")
    bits = np.unpackbits(value.numpy(), count=count, bitorder="little").astype(np.float32)
    return torch.from_numpy(bits * 2 - 1).reshape(shape)
