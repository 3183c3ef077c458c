"""Models by name: `timm:NAME`, `torchvision:NAME` and `hf:FOLDER`.

Nothing is downloaded: weights that are not on this machine are asked for in one sentence. `?weights=FILE` gives a file of the user's own,
`?weights=none` numbers drawn at random, for a first look at sizes and times.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgekit.engine.user_code import describe
from edgekit.errors import MissingRuntime, TaskError
from edgekit.records.foreign import read_json
from edgekit.task import MODEL_NAMES, Checkpoint
from edgekit.trace.sources import weights_file

ANY = "none"


def load(reference: str) -> nn.Module:
    """Builds the model that a name stands for.

    Raises:
        TaskError: There is no such model or folder, or its weights are not on this machine.
        MissingRuntime: The package is not installed.
    """
    source, _, rest = reference.partition(":")
    name, _, query = rest.partition("?")
    settings = dict(pair.partition("=")[::2] for pair in query.split("&") if pair)
    unknown = set(settings) - {"weights"}
    if unknown or source not in MODEL_NAMES:
        raise TaskError(
            f"the model {reference!r} has the setting {sorted(unknown)}; allowed is weights=FILE or weights=none"
        )
    if source == "hf":
        return _folder(Path(name))
    make = {"timm": _timm, "torchvision": _torchvision}[source](name)
    given = settings.get("weights", "")
    if given == ANY:
        torch.manual_seed(0)
        return make(False)
    if given:
        return weights_file.built(Checkpoint(given, lambda: make(False)))
    try:
        with _offline():
            return make(True)
    except Exception as error:
        raise TaskError(
            f"the weights of {source}:{name} are not on this machine, and edgekit downloads nothing: fetch them once in Python "
            f"({_fetch(source, name)}), or give {source}:{name}?weights=FILE"
        ) from error


def _fetch(source: str, name: str) -> str:
    call = f'timm.create_model("{name}", pretrained=True)'
    return call if source == "timm" else f'torchvision.models.get_model("{name}", weights="DEFAULT")'


@contextmanager
def _offline() -> Iterator[None]:
    """Nothing inside reaches the network: Hugging Face's hub and torch's both look at what is there alone."""

    def refuse(url: str, *_args: Any, **_kwargs: Any) -> None:
        raise OSError(f"{url} is not downloaded")

    was, download = os.environ.get("HF_HUB_OFFLINE"), torch.hub.download_url_to_file
    os.environ["HF_HUB_OFFLINE"] = "1"
    torch.hub.download_url_to_file = refuse
    try:
        import huggingface_hub.constants as constants

        kept, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    except ImportError:
        kept, constants = False, None  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.hub.download_url_to_file = download
        if constants is not None:
            constants.HF_HUB_OFFLINE = kept
        if was is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = was


def _timm(name: str) -> Callable[[bool], nn.Module]:
    try:
        import timm
    except ImportError as error:
        raise MissingRuntime.of("timm", f"the model timm:{name}") from error
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_')[0]}*")[:5]) or "see timm.list_models()"
        raise TaskError(f"timm {timm.__version__} has no model {name!r}; near it: {near}")
    return lambda trained: timm.create_model(name, pretrained=trained)


def _torchvision(name: str) -> Callable[[bool], nn.Module]:
    from torchvision import models

    if name not in models.list_models():
        near = ", ".join([known for known in models.list_models() if known.startswith(name[:5])][:5])
        raise TaskError(
            f"torchvision has no model {name!r}; near it: {near or 'see torchvision.models.list_models()'}"
        )
    return lambda trained: models.get_model(
        name, weights="DEFAULT" if trained else None, **({} if trained else _bare(name))
    )


def _bare(name: str) -> dict[str, Any]:
    """Detectors and segmentation nets load a trained trunk of their own unless they are told not to."""
    from torchvision import models

    parts = ("detection", "segmentation")
    bare = any(models.get_model_builder(name).__module__.split(".")[2] == part for part in parts)
    return {"weights_backbone": None} if bare else {}


def _folder(folder: Path) -> nn.Module:
    """Reads what `save_pretrained` wrote; code in the folder is never run, and pickles with it are not read."""
    config = folder / "config.json"
    if not config.is_file():
        raise TaskError(
            f"{folder} holds no config.json; give a local folder that model.save_pretrained(folder) wrote"
        )
    held = read_json(config)
    if not isinstance(held, dict):
        raise TaskError(f"{config} is no object; give a folder that model.save_pretrained(folder) wrote")
    if held.get("auto_map"):
        raise TaskError(
            f"{folder} brings code of its own (auto_map in config.json), which edgekit never runs; build the model in a task file"
        )
    try:
        import transformers
    except ImportError as error:
        raise MissingRuntime.of("transformers", f"the model hf:{folder}") from error
    named = held.get("architectures")
    name = str(named[0]) if isinstance(named, list) and named else ""
    if not name:
        raise TaskError(
            f"{config} names no class of the model (architectures): save the whole model with save_pretrained, or build it in a task file"
        )
    kind = getattr(transformers, name, None)
    if not (isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)):
        raise TaskError(
            f"transformers {transformers.__version__} has no model {name[:80]!r}, which {config} asks for"
        )
    try:
        with _offline():
            model = kind.from_pretrained(  # type: ignore[attr-defined]
                str(folder), local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
    except Exception as error:
        raise TaskError(
            f"{folder} cannot be read as a {name}: {describe(error)}. Its weights must be .safetensors"
        ) from error
    model.config.use_cache = False  # no key-value cache among the results
    return model  # type: ignore[no-any-return]
