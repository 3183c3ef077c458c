"""Seeded Keras applications: the same weights each time, and decisions that are not constant."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from pathlib import Path

import numpy as np
import pytest

import edgekit as ek

REFERENCE = f"{Path(__file__).parents[2] / 'examples' / 'keras_model.py'}:task"
SMALL = {"size": "32", "width": "0.35", "classes": "5", "samples": "15"}


def test_decisions_spread_over_the_classes_and_depend_on_the_seed_alone() -> None:
    import keras

    task = ek.load_task(REFERENCE, SMALL)
    model, again = task.model(), task.model()
    chosen: list[int] = []

    def predict(x: np.ndarray) -> np.ndarray:
        logits = keras.ops.convert_to_numpy(model(x, training=False))
        chosen.extend(logits.argmax(1))
        return logits

    assert task.metric(predict) > 0.2, "better than one class for all; the net is tiny"
    assert len(set(chosen)) >= 3
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), again.get_weights(), strict=True))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"model": "MobilenetV2"}, "no model 'MobilenetV2'; close names: MobileNetV2"),
        ({"size": "8"}, "at least 2 classes, as many samples, size 32"),
    ],
)
def test_bad_settings(settings: dict[str, str], expected: str) -> None:
    with pytest.raises(ek.TaskError, match=expected):
        ek.load_task(REFERENCE, settings)
