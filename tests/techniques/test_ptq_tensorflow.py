"""What TensorFlow's converter is given to calibrate with."""

from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import NotApplicable, TaskError
from edgekit.records import Candidate, Recipe
from edgekit.techniques import ptq_tensorflow

RECIPE = Recipe(name="t", precision="int8", steps=())


def apply(work: Path, saved_model: str = "model", calibration: object = (), **options: int) -> Candidate:
    task = ek.Task(
        name="t",
        model=torch.nn.Identity(),
        example_inputs=(torch.zeros(1, 3),),
        metric=lambda predict: 0.0,
        calibration=calibration,
    )
    candidate = Candidate(program="", recipe=RECIPE, saved_model=saved_model)
    context = Context(work=str(work))
    return ptq_tensorflow.apply(candidate, task, ptq_tensorflow.Options(**options), context)


def test_the_first_inputs_are_kept(tmp_path: Path) -> None:
    rows = torch.arange(24.0).view(8, 3)
    done = apply(tmp_path, calibration=[rows[:5], rows[5:]], samples=6)
    assert np.array_equal(np.load(done.calibration)["input_0"], rows[:6].numpy())
    assert [(figure.name, figure.value) for figure in done.figures] == [("calibration inputs", 6.0)]


def test_what_it_cannot_do(tmp_path: Path) -> None:
    with pytest.raises(
        NotApplicable, match="needs a Keras model or a SavedModel; this task's model is neither"
    ):
        apply(tmp_path, saved_model="")
    with pytest.raises(TaskError):
        apply(tmp_path)
    assert not list(tmp_path.iterdir())
