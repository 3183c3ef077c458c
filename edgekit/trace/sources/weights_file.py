"""Weights in files of PyTorch or safetensors, and the module that a builder makes for them; nothing in a file is run."""

import json
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.engine.user_code import describe
from edgekit.errors import TaskError
from edgekit.quant import program_file
from edgekit.task import Checkpoint

ALWAYS_BYTES, MOST_TIMES = (
    256 << 20,
    20,
)  # an archive may take so much unpacked, and so many times its own size


def members(path: Path) -> list[zipfile.ZipInfo]:
    """What an archive holds; nothing where it is none, or a damaged one, as its reader will say."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def check_unpacked(path: Path) -> None:
    """Checks that an archive does not hold many times its own size: a small file could fill the memory, and numbers hardly shrink.

    Raises:
        TaskError: It does.
    """
    size_bytes = sum(each.file_size for each in members(path))
    if size_bytes > ALWAYS_BYTES + MOST_TIMES * path.stat().st_size:
        raise TaskError(
            f"{path.name} would take {size_bytes >> 20} MiB unpacked, many times its own size; save it uncompressed"
        )


def read_by_torch(path: Path, reader: Any) -> Any:
    """Returns what a reader of torch's makes of a file.

    Raises:
        TaskError: It could run code, is damaged, or is of a newer version.
    """
    check_unpacked(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reader(str(path))
    except program_file.CodeInside as error:
        raise TaskError(
            f"{path.name} could run code when it is read: {error}. edgekit reads programs that torch.export.save of torch "
            f"{torch.__version__} writes, and runs nothing else in a file; give the module that it was made of"
        ) from error
    except Exception as error:  # zip, JSON, versions and operators that this torch does not have
        if _is_torn(error):
            raise TaskError(
                f"{path.name} is damaged, or no file that torch wrote: it is not read to its end; save the model again"
            ) from error
        raise TaskError(
            f"{path.name} cannot be read by torch {torch.__version__}, it is damaged or of a newer version: {describe(error)}"
        ) from error


def _is_torn(error: Exception) -> bool:
    """Whether the archive, or the text in it, ends or breaks where torch would not have ended it."""
    torn = (zipfile.BadZipFile, json.JSONDecodeError, UnicodeDecodeError, EOFError)
    return isinstance(error, torn) or "PytorchStreamReader" in str(error)


def weights(path: Path) -> dict[str, torch.Tensor]:
    """Reads a state dict; nothing in the file is run.

    Raises:
        TaskError: There is no such file, it is damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise TaskError(f"the weights {path} do not exist")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return read_by_torch(path, load_file)  # type: ignore[no-any-return]
    check_unpacked(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TaskError(
            f"{path.name} is a pickle that would run code when it is read, or it is damaged: edgekit reads weights alone. Save "
            "model.state_dict(), best as .safetensors"
        ) from error
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise TaskError(
            f"{path.name} holds a {type(found).__name__} and no state dict; save model.state_dict()"
        )
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def built(checkpoint: Checkpoint) -> nn.Module:
    """Builds the module and loads its weights.

    Raises:
        TaskError: The builder raises, or the weights are not those of its module.
    """
    try:
        module = checkpoint.build()
    except Exception as error:
        raise TaskError(f"the builder of {Path(checkpoint.path).name} raised {describe(error)}") from error
    if not isinstance(module, nn.Module):
        raise TaskError(
            f"the builder of {Path(checkpoint.path).name} returned a {type(module).__name__}; it must return an nn.Module"
        )
    found, wanted = weights(Path(checkpoint.path)), module.state_dict()
    missing, foreign = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    if missing or foreign:
        parts = [
            f"{what} {', '.join(names[:3])}"
            for what, names in (("it lacks", missing), ("it has also", foreign))
            if names
        ]
        raise TaskError(
            f"{Path(checkpoint.path).name} is of another model than its builder's: {'; '.join(parts)}"
        )
    shapes = [name for name in wanted if wanted[name].shape != found[name].shape]
    if shapes:
        name = shapes[0]
        raise TaskError(
            f"{Path(checkpoint.path).name} is of another model than its builder's: {name} is {list(found[name].shape)} there and "
            f"{list(wanted[name].shape)} in the module"
        )
    module.load_state_dict(found)
    return module
