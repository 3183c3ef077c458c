"""A user's own `.onnx` file as the float model: asked in ONNX Runtime, by the names of its inputs and outputs.

No torch program is made of it, so that it goes to the targets of ONNX alone, by its own graph. Its sample axis stays free on a server where
the file leaves it free; other axes that it leaves free get the lengths of the example inputs.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from edgekit.engine.user_code import describe
from edgekit.errors import TaskError
from edgekit.quant import onnx_graph
from edgekit.records import FreeAxes, FreeAxis, Interface, TensorSpec, Tree
from edgekit.task import Task
from edgekit.trace import structure
from edgekit.trace.sources import state
from edgekit.trace.sources.subject import Subject

if TYPE_CHECKING:
    import onnxruntime

BATCH = "batch"


def opened(given: Task, work: Path) -> tuple[Subject, tuple[torch.Tensor, ...]]:
    """Reads the file and asks it once; what every later stage starts from goes to `work`.

    Raises:
        TaskError: It is no ONNX file, is of a newer version, or takes other inputs.
    """
    path = Path(str(given.model))
    model = onnx_graph.read(path)
    examples = _examples(given, onnx_graph.inputs_of(model), path.name)
    axes = [_axis(given, name, array) for name, array in examples.items()]
    free = _is_free(model, axes, given.dynamic)
    shapes = [
        [BATCH if free and i == axis else n for i, n in enumerate(array.shape)]
        for array, axis in zip(examples.values(), axes, strict=True)
    ]
    onnx_graph.fix_shapes(model, dict(zip(examples, shapes, strict=True)))
    session = onnx_graph.session(model)
    outputs, doubts = _asked_twice(session, examples, path.name)
    two = _of_two(session, examples, axes) if free else []
    interface = _interface(given, session, list(examples), axes, outputs, two)
    kept = work / "source.onnx"
    kept.write_bytes(model.SerializeToString(deterministic=True))
    weights = onnx_graph.weights_of(model)
    ask = _Ask(session, list(examples))
    call = structure.in_rows(ask.arrays, interface.input_axes, interface.output_axes)
    free_axes = _free_axes(interface) if free else None
    specs = [
        _specs(names, arrays, places)
        for names, arrays, places in (
            (interface.inputs, list(examples.values()), interface.input_axes),
            (interface.outputs, outputs, interface.output_axes),
        )
    ]
    subject = Subject(
        call=call if free else structure.one_by_one(call),
        inputs=specs[0],
        outputs=specs[1],
        program="",
        tensorflow="",
        onnx=str(kept),
        operators=onnx_graph.operators(model),
        parameters=sum(w.size for w in weights),
        weights=sum(w.size for w in weights if w.ndim >= 2),
        content={"the ONNX file": hashlib.sha256(kept.read_bytes()).hexdigest()},
        doubts=doubts,
        interface=interface,
        free=free_axes,
        ask=ask.tensors,
    )
    return subject, tuple(torch.from_numpy(a) for a in examples.values())


class _Ask:
    """The session, asked with arrays or tensors in the order of its inputs."""

    def __init__(self, session: "onnxruntime.InferenceSession", names: Sequence[str]) -> None:
        self._session, self._names = session, names

    def arrays(self, *arrays: np.ndarray) -> list[np.ndarray]:
        feeds = dict(zip(self._names, arrays, strict=True))
        return [np.asarray(a) for a in self._session.run(None, feeds)]

    def tensors(self, *tensors: torch.Tensor) -> list[torch.Tensor]:
        return [torch.from_numpy(a) for a in self.arrays(*(t.numpy() for t in tensors))]


def _examples(given: Task, takes: Mapping[str, onnx.ValueInfoProto], file: str) -> dict[str, np.ndarray]:
    """Returns the example inputs by name, in the types of the file.

    Raises:
        TaskError: They are of other names, types or ranks.
    """
    values = given.example_inputs
    named = dict(values) if isinstance(values, Mapping) else dict(zip(takes, values, strict=False))
    if set(named) != set(takes) or len(values) != len(takes):
        raise TaskError(
            f"example_inputs give {', '.join(map(str, named)) or len(values)}; {file} takes {', '.join(takes)}"
        )
    found = {}
    for name, value in takes.items():
        kind = value.type.tensor_type
        if kind.elem_type not in onnx_graph.TYPES:
            raise TaskError(
                f"input {name} of {file} is of a type that no target takes; allowed: {', '.join(onnx_graph.TYPES.values())}"
            )
        array = np.ascontiguousarray(
            torch.as_tensor(named[name]).numpy().astype(onnx_graph.TYPES[kind.elem_type])
        )
        sizes = [dim.dim_value or None for dim in kind.shape.dim]
        if len(sizes) != array.ndim or any(
            n not in (None, m) for n, m in zip(sizes, array.shape, strict=True)
        ):
            wanted = [
                n if n is not None else d.dim_param or "any"
                for n, d in zip(sizes, kind.shape.dim, strict=True)
            ]
            raise TaskError(f"example input {name} has shape {list(array.shape)}; {file} takes {wanted}")
        found[name] = array
    return found


def _axis(given: Task, name: str, array: np.ndarray) -> int | None:
    if name in given.batch_axes:
        return given.batch_axes[name]
    return 0 if array.ndim and array.shape[0] == 1 else None


def _is_free(model: onnx.ModelProto, axes: Sequence[int | None], dynamic: object) -> bool:
    """Whether the file leaves the samples of every input free, and the task does not forbid it.

    Raises:
        TaskError: The task names axes: those of a file are its own.
    """
    if dynamic:
        raise TaskError(
            "dynamic names axes of an ONNX file, which has its own: leave it out, or say dynamic={} for one sample at a time"
        )
    dims = [
        value.type.tensor_type.shape.dim[axis]
        for value, axis in zip(onnx_graph.inputs_of(model).values(), axes, strict=True)
        if axis is not None
    ]
    return dynamic is None and bool(dims) and all(not dim.dim_value for dim in dims)


def _asked_twice(
    session: "onnxruntime.InferenceSession", examples: Mapping[str, np.ndarray], file: str
) -> tuple[list[np.ndarray], tuple[str, ...]]:
    ask = _Ask(session, list(examples))
    try:
        answers, doubts = state.check(
            ask.tensors, tuple(torch.from_numpy(a) for a in examples.values()), dict
        )
    except TaskError:
        raise
    except Exception as error:
        raise TaskError(f"{file}, called with example_inputs, raised {describe(error)}") from error
    return [np.asarray(a) for a in answers], doubts


def _of_two(
    session: "onnxruntime.InferenceSession", examples: Mapping[str, np.ndarray], axes: Sequence[int | None]
) -> list[np.ndarray]:
    """Returns what is answered to two samples; nothing where the file takes only one, whatever it says."""
    twice = {
        n: a if axis is None else np.concatenate([a, a], axis)
        for (n, a), axis in zip(examples.items(), axes, strict=True)
    }
    try:
        return [np.asarray(a) for a in session.run(None, twice)]
    except Exception:  # whatever a node says about its shapes
        return []


def _interface(
    given: Task, session: "onnxruntime.InferenceSession", inputs: Sequence[str], axes: Sequence[int | None],
    outputs: Sequence[np.ndarray], two: Sequence[np.ndarray],
) -> Interface:  # fmt: skip
    names = [output.name for output in session.get_outputs()]
    places = [
        given.batch_axes.get(name, _grown(array, two[i] if two else None))
        for i, (name, array) in enumerate(zip(names, outputs, strict=True))
    ]
    leaves = tuple(Tree(kind="tensor", index=i) for i in range(len(names)))
    return Interface(
        inputs=tuple(inputs),
        outputs=tuple(names),
        input_axes=tuple(axes),
        output_axes=tuple(places),
        arguments=Tree(
            kind="dict",
            keys=tuple(inputs),
            items=tuple(Tree(kind="tensor", index=i) for i in range(len(inputs))),
        ),
        result=leaves[0] if len(leaves) == 1 else Tree(kind="dict", keys=tuple(names), items=leaves),
        keywords=isinstance(given.example_inputs, Mapping),
        state=dict(given.state),
    )


def _grown(one: np.ndarray, two: np.ndarray | None) -> int | None:
    if two is None:
        return 0 if one.ndim and one.shape[0] == 1 else None
    return next((i for i in range(one.ndim) if two.shape[i] == 2 * one.shape[i] != 0), None)


def _free_axes(interface: Interface) -> FreeAxes:
    sides = (interface.input_axes, interface.output_axes)
    places = [tuple({} if axis is None else {str(axis): BATCH} for axis in side) for side in sides]
    return FreeAxes(axes=(FreeAxis(name=BATCH, default=True),), inputs=places[0], outputs=places[1])


def _specs(
    names: Sequence[str], arrays: Sequence[np.ndarray], places: Sequence[int | None]
) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name=n, shape=a.shape, dtype=str(a.dtype), batch_axis=axis)
        for n, a, axis in zip(names, arrays, places, strict=True)
    )
