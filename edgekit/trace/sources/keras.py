"""Keras 3 models, run by the torch backend, where a Keras model is an nn.Module.

Children are started with KERAS_BACKEND=torch and KERAS_TORCH_DEVICE=cpu (`edgekit.engine.process`): Keras reads both when it is
imported, and a task file may import it first. A `.keras` file is read in safe mode: it holds JSON and numbers, and code
in it (a pickled lambda) is refused.

torch.export does not see Keras layers as modules, because they have a call of their own. `layers_named` writes the
layer's name beside each operator, and remembers which layer was running when something went wrong.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch.fx import GraphModule
from torch.fx.traceback import annotate, preserve_node_meta

from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError, MissingRuntime, TaskError
from edgekit.trace.sources.weights_file import check_unpacked

SUFFIX = ".keras"
_KEY = "keras_layer"


def has_layers(model: object) -> bool:
    """Whether `model` is or contains a Keras layer; imports nothing."""
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(model, torch.nn.Module):
        return False
    return any(isinstance(module, keras.layers.Layer) for module in model.modules())


def is_layer(module: object) -> bool:
    """Whether `module` is a Keras layer; imports nothing."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(module, keras.layers.Layer)


def layers_of(model: torch.nn.Module) -> list[Any]:
    """Returns the Keras layers in `model`, a Keras model among them, each once; imports nothing."""
    tops = [module for module in model.modules() if is_layer(module)] if has_layers(model) else []
    return list(dict.fromkeys(layer for top in tops for layer in top._flatten_layers()))


def variables(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Returns what the Keras layers of `model` hold, by Keras path; seeds of random layers and states are included."""
    held = [
        variable
        for layer in layers_of(model)
        for variable in (*layer.variables, *(getattr(layer, "states", None) or ()))
    ]
    found: dict[str, torch.Tensor] = {}
    for variable in {id(v): v for v in held if hasattr(v, "path")}.values():
        taken = sum(name.partition("#")[0] == variable.path for name in found)
        found[f"{variable.path}#{taken + 1}" if taken else variable.path] = variable.value
    return found


def is_model(model: object) -> bool:
    """Whether `model` is a Keras model; imports nothing."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(model, keras.Model)


def other_backend(model: object) -> str:
    """Returns the end of the sentence about a model that is not an nn.Module because Keras runs on another backend."""
    if not is_model(model):
        return ""
    return f" of the torch backend; Keras runs on {import_keras().backend.backend()}: do not set KERAS_BACKEND in the task file"


def load(path: Path) -> Any:
    """Loads the model in a `.keras` file.

    Raises:
        TaskError: There is no such file, it is not a Keras file, or a layer cannot be built here.
    """
    check_file(path)
    keras = import_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # zip, JSON and whatever the constructor of a layer raises
        raise TaskError(
            f"the Keras model {path.name} cannot be loaded with the {keras.backend.backend()} backend: "
            f"{_sentence(error)}. Layers of your own need @keras.saving.register_keras_serializable() in the task file"
        ) from error


def check_file(path: Path) -> None:
    """Checks that a file can be a Keras 3 model.

    Raises:
        TaskError: `path` is not a zip archive with the suffix of Keras 3, or one that would fill the memory.
    """
    if not path.is_file():
        raise TaskError(f"the Keras model {path} does not exist")
    if path.suffix != SUFFIX:
        raise TaskError(
            f"the model is the file {path.name}; allowed are {SUFFIX} files, .pt2 and TorchScript files, and SavedModel folders"
        )
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise TaskError(f"{path.name} is no {SUFFIX} file; save the model with model.save('{path.name}')")
    check_unpacked(path)


def import_keras() -> Any:
    """Imports Keras.

    Raises:
        MissingRuntime: It is not installed.
    """
    try:
        import keras
    except ModuleNotFoundError as error:
        raise MissingRuntime.of("keras", "a Keras model") from error
    return keras


def keep(model: torch.nn.Module, path: Path) -> tuple[str, tuple[str, ...]]:
    """Writes a Keras model for TensorFlow's converter.

    Returns:
        Its path, "" if it was not written; and the reasons where it could not be.
    """
    if not isinstance(model, KerasModule):
        return "", ()
    try:
        model.model.save(path)
    except Exception as error:  # layers without get_config, unregistered ones
        return "", (f"TensorFlow's converter is left out: Keras cannot save the model: {_sentence(error)}",)
    return str(path), ()


class KerasModule(torch.nn.Module):
    """A Keras model with the call of a torch module: one tensor per argument, `training=False`, a flat result."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> Any:
        """Runs the model in inference mode; a list of outputs becomes a tuple."""
        given = inputs[0] if len(inputs) == 1 else list(inputs)
        outputs = self.model(given, training=False)
        return outputs if isinstance(outputs, torch.Tensor | dict) else tuple(outputs)


class Running:
    """The Keras layers that are being called, outermost first, and the innermost one that raised.

    Attributes:
        failed: The layer that raised, "" where none did.
    """

    def __init__(self) -> None:
        self._stack: list[str] = []
        self.failed = ""

    @contextmanager
    def call(self, layer: Any) -> Iterator[None]:
        """Marks `layer` as being called; operators traced in the meantime carry its name."""
        self._stack.append(f"{layer.name} ({type(layer).__name__})")
        try:
            with annotate({_KEY: self._stack[-1]}):
                yield
        except Exception:
            if len(self._stack) > 1:  # the model itself refuses inputs that do not fit
                self.failed = self.failed or self._stack[-1]
            raise
        finally:
            self._stack.pop()


@contextmanager
def layers_named(model: torch.nn.Module) -> Iterator[None]:
    """Names the Keras layer of each operator that is traced in the meantime, where `model` has such layers.

    Raises:
        ConversionError: A layer raised; the error names the layer.
    """
    if not has_layers(model):
        yield
        return
    keras, running = import_keras(), Running()
    called = keras.layers.Layer.__call__

    def named(self: Any, *args: Any, **kwargs: Any) -> Any:
        with running.call(self):
            return called(self, *args, **kwargs)

    try:
        with patch.object(keras.layers.Layer, "__call__", named), preserve_node_meta():
            yield
    except Exception as error:
        if not running.failed:
            raise
        raise ConversionError(
            f"the Keras layer {running.failed} cannot run on the torch backend: {_sentence(error)}. Replace it by "
            "layers that can"
        ) from error


def note_origins(graph_module: GraphModule) -> None:
    """Turns the layers' names into the module stack that every later stage reads."""
    for node in graph_module.graph.nodes:
        said = (node.meta.get("custom") or {}).get(_KEY)
        if said:
            name, _, kind = said.partition(" (")
            node.meta["nn_module_stack"] = {name: (name, kind.removesuffix(")"))}


def _sentence(error: Exception) -> str:
    """Returns what Keras says, without colours, the layer that the sentence names anyway, and the arguments of the call."""
    text = re.sub(r"\x1b\[\d*m|Exception encountered when calling \S+ ", "", describe(error))
    return text.split(" Arguments received by")[0].rstrip(". ")
