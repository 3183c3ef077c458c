"""Checkpoints of a training: written as a whole or not at all, and read without executing anything in them.

    checkpoint/step-00000120/
        model.safetensors      weights and buffers
        optimizer.pt           tensors and numbers of the optimizer, read with weights_only
        average.safetensors    the averaged weights, if there are any
        best.safetensors       the best weights so far, if they are kept
        progress.json          the position in the data, the history, and what the checkpoint belongs to

A folder is written next to its final place and renamed; then older ones are removed. Random number generators
are not saved: see `edgekit.train.data`.

Sharded tensors are gathered one at a time. `torch.distributed.checkpoint.state_dict` does not fit: with
`cpu_offload` its full state exists on rank 0 only, and setting it again needs all tensors on one device,
which FSDP with offload breaks (weights on the CPU, buffers on the GPU).
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from edgekit.errors import UserError
from edgekit.train.distributed import fill, gathered, like, whole

State = dict[str, torch.Tensor]

MODEL, OPTIMIZER, AVERAGE = "model.safetensors", "optimizer.pt", "average.safetensors"
BEST, PROGRESS = "best.safetensors", "progress.json"
PREFIX, PARTIAL = "step-", "partial"


def state_of(model: nn.Module) -> State:
    """Returns every parameter and saved buffer, whole and on the CPU."""
    with gathered(model):
        return {name: whole(tensor) for name, tensor in model.state_dict().items()}


def put(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Writes a state back into a model, the inverse of `state_of`."""
    with gathered(model):
        own = model.state_dict(keep_vars=True)
        for name, tensor in state.items():
            fill(own[name], tensor)


def optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Returns the same as `optimizer.state_dict()`, whole and on the CPU."""
    found = optimizer.state_dict()
    return {
        "param_groups": found["param_groups"],
        "state": {
            index: {k: whole(v) if isinstance(v, torch.Tensor) else v for k, v in entry.items()}
            for index, entry in found["state"].items()
        },
    }


def put_optimizer(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Writes a state back into an optimizer; each tensor shaped like its parameter is sharded like it."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        index: {
            key: like(value, parameters[index]) if _is_like(value, parameters[index]) else value
            for key, value in entry.items()
        }
        for index, entry in saved["state"].items()
    }
    optimizer.load_state_dict({"param_groups": saved["param_groups"], "state": state})


def _is_like(value: Any, parameter: torch.Tensor) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.shape == parameter.shape


def signature(state: Mapping[str, torch.Tensor]) -> dict[str, list[int]]:
    """Returns what tells one model from another: the names and shapes of its tensors, which must be whole."""
    return {name: list(tensor.shape) for name, tensor in state.items()}


def save(state: State, path: Path) -> None:
    """Writes one file of tensors, as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    save_file(state, str(partial))
    partial.replace(path)


def write(
    folder: Path,
    step: int,
    progress: Mapping[str, Any],
    model: State,
    optimizer: dict[str, Any],
    average: State | None = None,
    best: State | None = None,
) -> None:
    """Writes a checkpoint, which replaces earlier ones.

    Args:
        folder: The folder of all checkpoints.
        step: How many steps were made.
        progress: What else is needed to resume, as JSON values.
        model: The weights and buffers.
        optimizer: The state of the optimizer.
        average: The averaged weights.
        best: The best weights so far.
    """
    partial = folder / PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save(model, partial / MODEL)
    torch.save(optimizer, partial / OPTIMIZER)
    for name, state in ((AVERAGE, average), (BEST, best)):
        if state is not None:
            save(state, partial / name)
    (partial / PROGRESS).write_text(json.dumps(progress), encoding="utf-8")
    place = folder / f"{PREFIX}{step:08d}"
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    for old in folder.glob(f"{PREFIX}*"):
        if old != place:
            shutil.rmtree(old, ignore_errors=True)


def latest(folder: Path | None) -> Path | None:
    """Returns the newest checkpoint in `folder`, or None."""
    found = sorted(folder.glob(f"{PREFIX}*")) if folder is not None and folder.is_dir() else []
    return found[-1] if found else None


def read_progress(place: Path, model: nn.Module, belongs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the `progress` that was given to `write`.

    Args:
        place: The folder of the checkpoint.
        model: The model to be trained.
        belongs: What must be the same as when the checkpoint was written.

    Raises:
        UserError: The checkpoint is damaged, or belongs to another model or training.
    """
    try:
        progress: dict[str, Any] = json.loads((place / PROGRESS).read_text(encoding="utf-8"))
        kept, tensors = progress["belongs"], progress["tensors"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"checkpoint {place} cannot be read ({error}); remove it to start again") from error
    _same_model(place, tensors, signature(model.state_dict()))
    other = [
        f"{key}={kept.get(key)!r}, now {belongs[key]!r}" for key in belongs if kept.get(key) != belongs[key]
    ]
    if other:
        raise UserError(
            f"checkpoint {place} was made with {', '.join(other)}; give the same, or another folder"
        )
    return progress


def _same_model(place: Path, kept: dict[str, list[int]], own: dict[str, list[int]]) -> None:
    for name in sorted({*kept, *own}):
        if kept.get(name) != own.get(name):
            theirs, ours = (f"{s[name]}" if name in s else "nothing" for s in (kept, own))
            raise UserError(
                f"checkpoint {place} is of another model: for {name!r} it holds {theirs}, this model has {ours}; "
                "give the model it was made of, or another folder"
            )


def read(place: Path, name: str) -> State | None:
    """Reads one file of tensors.

    Returns:
        The tensors, or None if the file was not written.

    Raises:
        UserError: The file is damaged.
    """
    if not (place / name).is_file():
        return None
    try:
        return load_file(str(place / name))
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"checkpoint {place} is damaged ({name}: {error}); remove it to start again"
        ) from error


def read_optimizer(place: Path) -> dict[str, Any]:
    """Reads the state of the optimizer.

    Raises:
        UserError: The file is damaged.
    """
    try:
        found: dict[str, Any] = torch.load(place / OPTIMIZER, map_location="cpu", weights_only=True)
        return found
    except Exception as error:  # torch may raise anything here: zip, pickle and operator errors
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"checkpoint {place} is damaged ({OPTIMIZER}: {reason}); remove it to start again"
        ) from error
