"""What calibrating saw, kept for every step of a run that would see the same: the activations are observed once.

Observers of activations and channel means depend on the float program, the calibration batches and the grid of activations; the
width of weights only decides what is made of them. So x86-server with 7-bit weights takes what arm-mobile with 8 bits has
seen, and rounding by second moments takes what the recipe before it has. What is restored is every number of every observer:
ranges come out as if they had been observed again.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.fx import GraphModule

from edgekit.quant.bias import ChannelMean
from edgekit.quant.calibration_graph import constant_observers, observe_constants

COUNTS = ("batches", "runs")
RUNNING = (
    "limit",
    "low",
    "high",
    "seen",
    "averaging_constant",
    "count",
    "ignored",
)  # numbers beside the buffers


def observed_once(
    model: GraphModule, place: Path | None, run: Callable[[], tuple[int, int]]
) -> tuple[int, int]:
    """Lets the observers of a prepared graph see the calibration batches, or restores what they saw at another time.

    Args:
        model: The prepared graph.
        place: The file that stands for all that the observations depend on; None keeps nothing.
        run: Runs the batches; returns how many batches and how many inputs it ran.

    Returns:
        What `run` returned, here or at the other time.
    """
    if place is None:
        return run()
    place.parent.mkdir(parents=True, exist_ok=True)
    with _alone(place.with_suffix(".lock")):
        found = _restore(model, place)
        if found is None:
            found = run()
            _keep(model, place, found)
    return found


def _watching(model: GraphModule) -> dict[str, torch.nn.Module]:
    """Maps names to what watches activations, each once; observers of stored tensors look at these again."""
    constant = {id(observer) for observer in constant_observers(model).values()}
    found: dict[int, tuple[str, torch.nn.Module]] = {}
    for node in model.graph.nodes:
        module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, ChannelMean) or hasattr(module, "calculate_qparams"):
            found.setdefault(id(module), (str(node.target), module))
    return {name: module for key, (name, module) in found.items() if key not in constant}


def _state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    numbers = {name: getattr(module, name) for name in RUNNING if hasattr(module, name)}
    buffers = {name: value.contiguous() for name, value in module.named_buffers(recurse=False)}
    return buffers | {name: torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}


def _keep(model: GraphModule, place: Path, counts: tuple[int, int]) -> None:
    """Writes the file beside its place and renames it into it; a full disk keeps nothing."""
    tensors = {
        f"{name}:{part}": value.clone()
        for name, module in _watching(model).items()
        for part, value in _state(module).items()
    }
    partial = place.with_suffix(".partial")
    with contextlib.suppress(OSError, SafetensorError):
        save_file(tensors, partial, metadata=dict(zip(COUNTS, map(str, counts), strict=True)))
        partial.replace(place)


def _restore(model: GraphModule, place: Path) -> tuple[int, int] | None:
    """Gives the observers what was kept; None where there is nothing, or of another graph."""
    watching = _watching(model)
    expected = {f"{name}:{part}" for name, module in watching.items() for part in _state(module)}
    try:
        with safe_open(place, "pt") as kept:  # type: ignore[no-untyped-call]
            if set(kept.keys()) != expected:
                return None
            batches, runs = (int(kept.metadata()[name]) for name in COUNTS)
            tensors = {name: kept.get_tensor(name) for name in expected}
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    for name, module in watching.items():
        for part in _state(module):
            _give(module, part, tensors[f"{name}:{part}"])
    observe_constants(model)
    return batches, runs


def _give(module: torch.nn.Module, part: str, value: torch.Tensor) -> None:
    if part in dict(module.named_buffers(recurse=False)):
        setattr(module, part, value)
        return
    kind: Any = type(getattr(module, part))
    setattr(module, part, kind(value.item()))


@contextlib.contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Waits until no other process observes the same; where files cannot be locked, both observe."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with lock.open("w") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
