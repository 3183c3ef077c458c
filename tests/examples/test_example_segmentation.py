"""examples/segmentation.py: a seeded net that tells shapes apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit as ek

REFERENCE = f"{Path(__file__).parents[2] / 'examples' / 'segmentation.py'}:task"
SMALL = {"size": "96", "samples": "8"}


def predictor(model: torch.nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(model(torch.from_numpy(x)))

    return predict


def test_the_net_finds_shapes_and_a_net_without_learning_does_not() -> None:
    task = ek.load_task(REFERENCE, SMALL)
    model = task.model()
    found = task.metric(predictor(model))
    assert found >= 0.3
    for head in model.modules():
        if isinstance(head, torch.nn.Conv2d) and head.out_channels == 5:
            torch.nn.init.normal_(head.weight)
    assert task.metric(predictor(model)) < found / 2


def test_the_metric_of_the_right_answer_is_1() -> None:
    task = ek.load_task(REFERENCE, SMALL)
    batches = iter(list(task.metric.scenes.batches()))
    assert task.metric(lambda x: np.eye(5)[next(batches)[1]].transpose(0, 3, 1, 2)) == 1.0


def test_scenes_of_a_training_are_others_each_time() -> None:
    task = ek.load_task(REFERENCE, SMALL)
    assert task.training is not None
    (first, labels), (again, _) = (next(iter(task.training.batches)) for _ in range(2))
    assert not torch.equal(first, again)
    assert first.shape == (8, 3, 96, 96)
    assert labels.shape == (8, 96, 96)


def test_unknown_name_lists_close_ones() -> None:
    with pytest.raises(ek.TaskError, match=r"no segmentation net 'lraspp'; close names: .*lraspp_mobilenet"):
        ek.load_task(REFERENCE, {"model": "lraspp"})
