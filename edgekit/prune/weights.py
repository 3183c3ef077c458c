"""Loads a program's weights into the module it was exported from, though both may have changed since."""

import torch
from torch import nn
from torch.export import ExportedProgram

from edgekit.errors import ConversionError
from edgekit.quant.proven import sample_of
from edgekit.quant.stored import FOLDED

CLOSE = 1e-3  # relative to the largest output


def fill(module: nn.Module, program: ExportedProgram, examples: tuple[torch.Tensor, ...]) -> None:
    """Copies every tensor of the program into `module`, by name, and proves that both compute the same.

    Args:
        module: The module to fill, in place.
        program: The program that holds the weights.
        examples: Inputs for the comparison.

    Raises:
        ConversionError: Names or shapes do not fit, or the outputs differ: the program has become another
            network.
    """
    ours, held = module.state_dict(), program.state_dict
    theirs = {
        n: value for n, value in held.items() if not n.startswith(FOLDED)
    }  # the module computes these itself
    strange = [name for name in theirs if name not in ours]
    shapes = [name for name in theirs if name in ours and ours[name].shape != theirs[name].shape]
    if strange or shapes or not theirs:
        what = (
            f"{strange[0]} is in the program alone" if strange
            else f"{shapes[0]} is {list(theirs[shapes[0]].shape)} in the program and {list(ours[shapes[0]].shape)} in the model"
            if shapes
            else "the program has no weights"
        )  # fmt: skip
        raise ConversionError(
            f"the program does not fit the model of the task, {type(module).__name__}: {what}. Prune before steps that "
            "rewrite the program, as quantizing does"
        )
    with torch.no_grad():
        for name, value in theirs.items():
            ours[name].copy_(value)
        inputs = sample_of(examples)
        _compare(module.eval()(*inputs), program.module()(*inputs), type(module).__name__)


def _compare(ours: object, theirs: object, name: str) -> None:
    pairs = zip(_flat(ours), _flat(theirs), strict=True)
    worst = max(float((a - b).abs().max() / b.abs().max().clamp_min(1e-12)) for a, b in pairs)
    if not worst <= CLOSE:
        raise ConversionError(
            f"the model of the task, {name}, with the weights of the program answers something else, by {worst:.2g} of the largest "
            "answer: a step before has changed what the program computes. Prune first"
        )


def _flat(outputs: object) -> list[torch.Tensor]:
    found = outputs if isinstance(outputs, tuple | list) else [outputs]
    return [t.float() for t in found if isinstance(t, torch.Tensor)]
