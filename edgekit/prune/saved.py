"""A pruned module on disk: what its shapes became, as JSON; the numbers are in the program.

A constructor and a state_dict do not make a pruned net again, and pickling modules fails on local functions and runs foreign code.
So the folder holds what pruning changed: integers that layers keep about themselves (out_channels, groups, embed_dim ...)
and the shape of each tensor. `rebuild` sets them in a fresh module. It needs no search for groups.
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
    """Of one number or shape, before and after."""

    before: Number
    after: Number


class Saved(Record):
    """model: the class. numbers: module -> attribute -> change. shapes: of parameters and buffers. kept: root of a group -> which
    of its first channels are still there, in order. dropped: blocks that became the identity."""

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
    """Writes what turns a module like `fresh` into the shapes of `pruned`."""
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


def read(folder: Path) -> Saved:
    """Raises UserError where the folder holds no such file."""
    path = folder / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Saved)
    except OSError as error:
        raise UserError(f"no pruned model at {folder}: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise UserError(f"{path} does not describe a pruned model: {error}") from error


def rebuild(module: nn.Module, folder: Path) -> Saved:
    """Gives a fresh module the shapes of the pruned one; its new tensors are empty.

    Raises UserError where the folder is of another model.
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
    """What the modules say of themselves in whole numbers: ((module, attribute), value)."""
    for name, inner in module.named_modules():
        for key, value in vars(inner).items():
            if _is_number(value) or (isinstance(value, tuple) and value and all(map(_is_number, value))):
                yield (name, key), value


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
