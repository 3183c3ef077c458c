"""A pruned module on disk: its shapes as JSON; the weights are in the program.

A constructor and a state_dict do not rebuild a pruned network, and pickling a module fails on local functions
and executes foreign code when it is read. So the folder holds what pruning changed: integers that layers
store about themselves (out_channels, groups, embed_dim, ...) and the shape of each tensor. `rebuild` sets
them in a fresh module, without searching for groups.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import nn

from edgekit.errors import UserError
from edgekit.prune.depth import drop
from edgekit.quant.program import write
from edgekit.records import Record

FILE = "pruned.json"
Number = int | tuple[int, ...]


class Change(Record):
    """A number or shape before and after pruning."""

    before: Number
    after: Number


class Saved(Record):
    """What pruning changed.

    Attributes:
        model: The class of the module.
        numbers: Module -> attribute -> change.
        shapes: Changes of parameters and buffers, by name.
        kept: Which of its original channels each group still has, in order, by root.
        dropped: Blocks that became the identity.
        version: The version of this format.
    """

    model: str
    numbers: dict[str, dict[str, Change]]
    shapes: dict[str, Change]
    kept: dict[str, tuple[int, ...]]
    dropped: tuple[str, ...] = ()
    version: int = 1


def save(
    fresh: nn.Module,
    pruned: nn.Module,
    kept: Mapping[str, Sequence[int]],
    folder: Path,
    dropped: Sequence[str] = (),
) -> Saved:
    """Writes what turns a module like `fresh` into the shapes of `pruned`.

    Args:
        fresh: The module before pruning.
        pruned: The module after pruning.
        kept: The channels that stay, by root.
        folder: Where the file is written.
        dropped: Names of blocks that became the identity.
    """
    after, now = dict(_numbers(pruned)), dict(_tensors(pruned))
    numbers: dict[str, dict[str, Change]] = {}
    for (name, key), value in _numbers(fresh):
        if after.get((name, key), value) != value:
            numbers.setdefault(name, {})[key] = Change(before=value, after=after[name, key])
    shapes = {
        name: Change(before=tuple(tensor.shape), after=tuple(now[name].shape))
        for name, tensor in _tensors(fresh)
        if name in now and now[name].shape != tensor.shape
    }
    saved = Saved(
        model=type(fresh).__name__,
        numbers=numbers,
        shapes=shapes,
        kept={root: tuple(channels) for root, channels in kept.items()},
        dropped=tuple(dropped),
    )
    write(folder / FILE, msgspec.json.format(msgspec.json.encode(saved)))
    return saved


def composed(earlier: Saved | None, kept: dict[str, list[int]]) -> dict[str, list[int]]:
    """Returns the channels that are left, as the task's own module numbers them.

    Args:
        earlier: What earlier steps left; None if there were none.
        kept: What this step left, by root, as the pruned module numbers them.
    """
    found = {root: list(channels) for root, channels in (earlier.kept if earlier else {}).items()}
    for root, channels in kept.items():
        old = found.get(root)
        found[root] = [old[channel] for channel in channels] if old else channels
    return found


def read(folder: Path) -> Saved:
    """Reads the file of a folder.

    Raises:
        UserError: The folder holds no such file, or it is damaged.
    """
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except OSError as error:
        raise UserError(f"no pruned model at {folder}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UserError(f"{path} does not describe a pruned model: {error}") from error


def rebuild(module: nn.Module, folder: Path) -> Saved:
    """Gives a fresh module the shapes of the pruned one; tensors that change shape are filled with zeros.

    Raises:
        UserError: The folder belongs to another model.
    """
    saved = read(folder)
    missing = set(saved.dropped) - {name for name, _ in module.named_modules()}
    if missing:
        raise UserError(
            f"the pruned model is a {saved.model} without its block {min(missing)}; this {type(module).__name__} has none "
            "of that name. It is a checkpoint of another model: give the task that was pruned"
        )
    drop(module, saved.dropped)
    numbers, tensors = dict(_numbers(module)), dict(_tensors(module))
    for name, changes in saved.numbers.items():
        for key, change in changes.items():
            _same(saved, module, f"{name}.{key}", change, numbers.get((name, key)))
            setattr(module.get_submodule(name), key, change.after)
    for name, change in saved.shapes.items():
        there = tensors.get(name)
        _same(saved, module, name, change, None if there is None else tuple(there.shape))
        _replace(module, name, change.after)
    return saved


def _same(saved: Saved, module: nn.Module, what: str, change: Change, found: Number | None) -> None:
    if found != change.before:
        given = "nothing" if found is None else found
        raise UserError(
            f"the pruned model is a {saved.model} with {change.before} at {what}; this {type(module).__name__} has {given} "
            "there. It is a checkpoint of another model: give the task that was pruned"
        )


def _replace(module: nn.Module, name: str, shape: Number) -> None:
    path, _, key = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, key)
    new = torch.zeros(shape, dtype=old.dtype)
    setattr(owner, key, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _numbers(module: nn.Module) -> Iterator[tuple[tuple[str, str], Number]]:
    """Yields the integers that modules store about themselves: ((module, attribute), value)."""
    for name, inner in module.named_modules():
        for key, value in vars(inner).items():
            if _is_number(value) or (isinstance(value, tuple) and value and all(map(_is_number, value))):
                yield (name, key), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
