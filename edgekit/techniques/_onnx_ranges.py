"""Post-training quantization of the task's own ONNX graph: edgekit's ranges, written by ONNX Runtime's quantizer.

Each float tensor of the graph is observed on the calibration inputs by the estimator that the recipe names, as those of a torch
program are; the exporter (`edgekit.export._own_onnx`) then hands the ranges to the quantizer. No biases are corrected and no
weights rounded together: there is no program to do it on.
"""

import json
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import onnx
import torch

from edgekit.errors import NotApplicable, TaskError, UserError
from edgekit.quant import calibrate, estimators, onnx_graph
from edgekit.quant.estimators import _grid
from edgekit.records import Candidate, Figure, Quant

if TYPE_CHECKING:
    from edgekit.engine.specs import Context
    from edgekit.task import Task

SAMPLES = 200  # at most


def quantize(
    candidate: Candidate, task: "Task", estimator: str, batches: int, context: "Context"
) -> Candidate:
    """Writes the prepared graph and the range of each of its tensors.

    Raises:
        UserError: The candidate has no `quant`.
        TaskError: There are no calibration batches, or they do not fit.
        ConversionError: The graph cannot be brought to a form that has integers.
    """
    if candidate.quant is None:
        raise UserError("ptq needs a target with a [quant] table; this candidate has none")
    work, like = Path(context.work), tuple(torch.as_tensor(x) for x in task.example_inputs)
    graph = onnx_graph.read(Path(candidate.onnx))
    names = list(onnx_graph.inputs_of(graph))
    feeds = {name: tensor.numpy() for name, tensor in zip(names, like, strict=True)}
    place = work / "prepared.onnx"
    made = onnx_graph.prepared(graph, feeds, place)
    observed = _ranges(made, names, task, like, (estimator, batches, candidate.quant))
    if not observed:
        raise NotApplicable("the ONNX graph has no tensor of floats to quantize")
    path = work / "ranges.json"
    path.write_text(json.dumps(observed))
    figure = Figure(step="ptq", name="tensors with a range", value=float(len(observed)), unit="count")
    return msgspec.structs.replace(
        candidate, onnx=str(place), calibration=str(path), figures=(*candidate.figures, figure)
    )


def _ranges(
    model: onnx.ModelProto, names: list[str], task: "Task", like: tuple[torch.Tensor, ...], how: tuple[str, int, Quant]
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Runs the calibration inputs with every float tensor as an output."""
    estimator, batches, quant = how
    watched = onnx_graph.floats_between(model)
    known = {value.name for value in model.graph.output}
    for name in watched:
        if name not in known and name not in names:
            model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = onnx_graph.session(model)
    grid = _grid.activation_grid(quant)
    spec = estimators.find(estimator).activation(grid)
    observers = {
        name: spec.observer_or_fake_quant_ctr(
            dtype=grid.dtype, quant_min=grid.low, quant_max=grid.high, qscheme=grid.qscheme
        )
        for name in watched
    }
    asked = [output.name for output in session.get_outputs()]
    count = 0
    for number, batch in enumerate(islice(calibrate.yielded(task.calibration or ()), batches)):
        for piece in islice(calibrate.pieces(batch, like, number), SAMPLES - count):
            count += 1
            feeds = {name: tensor.numpy() for name, tensor in zip(names, piece, strict=True)}
            found = {**dict(zip(asked, session.run(asked, feeds), strict=True)), **feeds}
            for name, observer in observers.items():
                observer(torch.from_numpy(found[name]))
    if not count:
        raise TaskError(calibrate.NO_BATCH)
    return {name: _ends(observer, grid) for name, observer in observers.items()}


def _ends(observer: torch.nn.Module, grid: _grid.Grid) -> tuple[float, float]:
    """The lowest and the highest number that the grid of an observer holds."""
    scale, zero = (float(x) for x in observer.calculate_qparams())
    return (grid.low - zero) * scale, (grid.high - zero) * scale
