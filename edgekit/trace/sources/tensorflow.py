"""TensorFlow SavedModels: found, checked, and asked for the float answers that everything is compared with.

A SavedModel is a TensorFlow graph: there is no torch program to rewrite, so TensorFlow's own converter and the TFLite
targets are all that it goes to. Runs in child processes alone, after torch and torchvision (`edgekit.engine.process`).
"""

import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision  # noqa: F401  before tensorflow, which crashes the process otherwise

# isort: split
import tensorflow as tf

from edgekit.engine.user_code import describe
from edgekit.errors import TaskError
from edgekit.records import TensorSpec
from edgekit.trace.sources import state
from edgekit.trace.sources.subject import Subject

DEFAULT = "serving_default"


def read(path: Path, examples: Sequence[torch.Tensor]) -> Subject:
    """Reads a SavedModel as the trace stage wants it.

    Raises:
        TaskError: It is not a SavedModel, has no signature, or takes other inputs.
    """
    loaded, function = load(path)
    names, shapes = _inputs(function), [tuple(e.shape) for e in examples]
    if len(names) != len(examples):
        raise TaskError(
            f"example_inputs holds {len(examples)} inputs; the signature of {path.name} takes {len(names)}: "
            f"{', '.join(names)}"
        )

    def call(*arrays: np.ndarray) -> list[np.ndarray]:
        return _answers(function, names, arrays)

    def answers(*inputs: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(np.asarray(a)) for a in call(*(x.numpy() for x in inputs))]

    try:
        outputs, doubts = state.check(answers, tuple(examples), lambda: _held(function))
    except TaskError:
        raise
    except Exception as error:
        given = ", ".join(str(list(shape)) for shape in shapes)
        raise TaskError(
            f"the signature of {path.name}, called with example_inputs ({given}), raised {describe(error)}"
        ) from error
    variables = _variables(loaded)
    return Subject(
        call=call,
        inputs=_specs("input", examples),
        outputs=_specs("output", outputs),
        program="",
        tensorflow=str(path.resolve()),
        parameters=sum(v.size for v in variables),
        weights=sum(v.size for v in variables if v.ndim >= 2),
        content={"the SavedModel": _digest(path)},
        doubts=doubts,
    )


def _specs(side: str, tensors: Sequence[torch.Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=f"{side}_{i}", shape=tuple(t.shape), dtype=str(t.dtype).removeprefix("torch."))
        for i, t in enumerate(tensors)
    )


def load(path: Path) -> tuple[Any, Any]:
    """Loads a SavedModel.

    Returns:
        The loaded object, which must be kept alive, and its signature.

    Raises:
        TaskError: It cannot be loaded, or its signature is missing.
    """
    if not path.is_dir():
        raise TaskError(f"the SavedModel folder {path} does not exist")
    if not (path / "saved_model.pb").is_file():
        raise TaskError(f"{path} holds no saved_model.pb; give the folder that model.export(...) wrote")
    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # protobuf, missing variables, unregistered operators
        raise TaskError(f"the SavedModel {path} cannot be loaded: {describe(error)}") from error
    signatures = dict(getattr(loaded, "signatures", {}))
    if not signatures:
        raise TaskError(
            f"the SavedModel {path} has no signature; write it with model.export(folder), or give "
            "tf.saved_model.save its signatures"
        )
    if DEFAULT not in signatures and len(signatures) > 1:
        raise TaskError(
            f"the SavedModel {path} has the signatures {', '.join(sorted(signatures))}; one of them must be {DEFAULT}"
        )
    return loaded, signatures.get(DEFAULT) or next(iter(signatures.values()))


def fixed(function: Any, shapes: Sequence[Sequence[int]]) -> Any:
    """Returns the signature as one concrete function for inputs of just these shapes.

    Its outputs are in the order of their names.
    """
    names, given = _inputs(function), function.structured_input_signature[1]
    wanted = [
        tf.TensorSpec(list(shape), given[name].dtype, name=f"input_{i}")
        for i, (name, shape) in enumerate(zip(names, shapes, strict=True))
    ]

    @tf.function(input_signature=wanted, autograph=False)
    def call(*tensors: Any) -> list[Any]:
        found = function(**dict(zip(names, tensors, strict=True)))
        return [found[name] for name in sorted(found)]

    return call.get_concrete_function()


def input_shapes(function: Any) -> list[list[int]]:
    """Returns the shapes of the signature's inputs, with batch 1 for an open first dimension."""
    given = function.structured_input_signature[1]
    return [[1 if d is None else int(d) for d in given[name].shape] for name in _inputs(function)]


def _inputs(function: Any) -> list[str]:
    return sorted(function.structured_input_signature[1])


def _answers(
    function: Callable[..., Any], names: list[str], arrays: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Answers a batch; sample by sample where the signature's batch is fixed at 1."""
    given = function.structured_input_signature[1]  # type: ignore[attr-defined]
    single = any(given[name].shape.rank and given[name].shape[0] == 1 for name in names)
    step = 1 if single else len(arrays[0])
    parts = []
    for start in range(0, len(arrays[0]), step):
        pieces = {n: tf.constant(a[start : start + step]) for n, a in zip(names, arrays, strict=True)}
        found = function(**pieces)
        parts.append([found[name].numpy() for name in sorted(found)])
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _variables(loaded: Any) -> list[np.ndarray]:
    found = getattr(loaded, "variables", None) or getattr(loaded, "_all_variables", [])
    return [v.numpy() for v in found]


def _held(function: Any) -> dict[str, object]:
    """Returns what the signature reads and may write, by name."""
    return {f"variable `{v.name}`": zlib.crc32(v.numpy().tobytes()) for v in function.variables}


def _digest(folder: Path) -> str:
    """Hashes the graph and the variables, including the names of the files."""
    state = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        state.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return state.hexdigest()
