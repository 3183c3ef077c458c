"""A Keras model is trained with rounding in place as any module is."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from pathlib import Path

from edgekit.engine.specs import Context, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.quant import program as programs
from edgekit.quant.layer_counts import count_layers
from edgekit.records import Candidate, Quant, Recipe
from edgekit.techniques import qat
from edgekit.trace.stage import trace

KERAS = f"{Path(__file__).parents[1] / 'task_files' / 'keras_small.py'}:trained"
QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)


def test_every_layer_learns(tmp_path: Path) -> None:
    source = TaskSource(name="keras-small", reference=KERAS)
    traced = trace(TraceSpec(source=source, work=str(tmp_path)))
    start = Candidate(
        program=traced.program, recipe=Recipe(name="qat", precision="int8", steps=()), quant=QUANT
    )
    options = qat.Options(images=64, learning_rate=1e-3)
    done = qat.apply(start, source.load(), options, Context(work=str(tmp_path / "qat"), traced=traced))
    figures = {figure.name: figure.value for figure in done.figures}
    assert figures["images trained"] == 64 and figures["conversion gap"] == 0
    before, after = programs.load(traced.program), programs.load(done.program)
    assert count_layers(after.module()) == (5, []) and done.float_layers == ()
    assert sum(tensor.dim() > 1 for tensor in before.state_dict.values()) == 5, (
        "weights are parameters, not constants"
    )
