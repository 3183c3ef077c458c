"""Fewer blocks instead of narrower ones: some of a stage's identical residual blocks become the identity.

A residual block adds something to its input, so the network still works without it, and works best without
the blocks that add least. That is measured on a batch: the norm of what a block adds, relative to the norm of
its input. Residual networks survive the loss of blocks (Veit et al. 2016, arXiv:1605.06431); Men et al. 2024
(arXiv:2403.03853) rank blocks by a similar influence. What is left needs training, as after any pruning; as a
student it starts from its teacher's own weights.

Blocks of one `nn.Sequential` count as identical if they have the same class and the same shapes, and return
the shape they are given. Cost: one export and one forward pass.
"""

import math
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from edgekit.errors import NotApplicable, UserError
from edgekit.quant.graph_macs import operator
from edgekit.quant.program import calls

Inputs = tuple[torch.Tensor, ...]


def shorten(module: nn.Module, examples: Inputs, inputs: Inputs, share: float) -> list[str]:
    """Drops blocks of `module` in place, so that a share of each stage's identical blocks stays.

    Args:
        module: The network.
        examples: Inputs to export it with.
        inputs: A batch to measure the blocks' influence on.
        share: The share to keep, above 0 and below 1; the number of blocks is rounded up.

    Returns:
        The names of the dropped blocks.

    Raises:
        UserError: The share is out of range.
        NotApplicable: No stage has enough identical residual blocks.
    """
    if not 0 < share < 1:
        raise UserError(f"depth is {share}; it is the share of equal blocks to keep, above 0 and below 1")
    influence = _influences(module, examples, inputs)
    dropped: list[str] = []
    for names in _equals(module, influence):
        stay = math.ceil(share * len(names))
        dropped += sorted(names, key=lambda name: influence[name])[: len(names) - stay]
    if not dropped:
        raise NotApplicable(
            f"{type(module).__name__} has no stage of equal residual blocks of which {share:g} could stay; "
            "narrow it instead, with depth=1"
        )
    drop(module, dropped)
    return dropped


def drop(module: nn.Module, names: Collection[str]) -> None:
    """Replaces the named blocks with the identity."""
    for name in names:
        parent, _, key = name.rpartition(".")
        setattr(module.get_submodule(parent), key, nn.Identity())


def _equals(module: nn.Module, names: Collection[str]) -> list[list[str]]:
    """Groups blocks that have the same stage, class and shapes."""
    found = defaultdict(list)
    for name in names:
        block = module.get_submodule(name)
        shapes = tuple((key, tuple(tensor.shape)) for key, tensor in block.state_dict().items())
        found[name.rpartition(".")[0], type(block), shapes].append(name)
    return list(found.values())


def _influences(module: nn.Module, examples: Inputs, inputs: Inputs) -> dict[str, float]:
    """Mean |added| / |input| over the batch, for each outermost residual block of a Sequential.

    Blocks whose output has another shape than their input are left out.
    """
    residual, found = _residual(module, examples), dict[str, float]()
    candidates = [
        f"{name}.{key}" if name else key
        for name, stage in module.named_modules()
        if isinstance(stage, nn.Sequential)
        for key, _ in stage.named_children()
    ]
    with _watched(module, [name for name in candidates if name in residual], found), torch.no_grad():
        module.eval()(*inputs)
    return {
        name: value
        for name, value in found.items()
        if not any(name.startswith(f"{other}.") for other in found)
    }


def _residual(module: nn.Module, examples: Inputs) -> set[str]:
    """Names of the modules that themselves add two tensors."""
    found = set()
    for node in calls(torch.export.export(module.eval(), examples).graph_module):
        if operator(node) in ("add", "add_") and len(node.all_input_nodes) == 2:
            found |= {path for path, _ in (node.meta.get("nn_module_stack") or {}).values()}
    return found


@contextmanager
def _watched(module: nn.Module, names: Collection[str], found: dict[str, float]) -> Iterator[None]:
    def hook(name: str) -> Any:
        def watch(block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            x = args[0] if len(args) == 1 else None
            if isinstance(x, torch.Tensor) and isinstance(output, torch.Tensor) and x.shape == output.shape:
                added, given = ((t.flatten(1).norm(dim=1)) for t in (output - x, x))
                found[name] = float((added / given.clamp_min(1e-12)).mean())

        return watch

    hooks = [module.get_submodule(name).register_forward_hook(hook(name)) for name in names]
    try:
        yield
    finally:
        for one in hooks:
            one.remove()
