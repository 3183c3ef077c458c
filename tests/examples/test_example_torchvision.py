"""Seeded torchvision nets: the same weights each time, and decisions that are not constant."""

from pathlib import Path

import numpy as np
import pytest
import torch

import edgekit as ek

REFERENCE = f"{Path(__file__).parents[2] / 'examples' / 'torchvision_model.py'}:task"
SMALL = {"size": "64", "classes": "5", "samples": "15"}


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "resnet18", "quantized_resnet18"])
def test_decisions_spread_over_the_classes(name: str) -> None:
    task = ek.load_task(REFERENCE, {"model": name, **SMALL})
    model = task.model()
    chosen: list[int] = []

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            logits = np.asarray(model(torch.from_numpy(x)))
        chosen.extend(logits.argmax(1))
        return logits

    assert task.metric(predict) >= 0.6
    assert len(set(chosen)) >= 4
    assert max(chosen) < 5


def test_weights_depend_on_the_seed_alone() -> None:
    def weights(seed: str) -> torch.Tensor:
        torch.manual_seed(torch.seed())
        task = ek.load_task(REFERENCE, {"model": "mobilenet_v3_small", "seed": seed, **SMALL})
        return torch.cat([w.flatten().float() for w in task.model().state_dict().values()])

    first = weights("0")
    assert torch.equal(first, weights("0"))
    assert not torch.equal(first, weights("1"))


def test_unknown_name_lists_close_ones() -> None:
    with pytest.raises(ek.TaskError, match=r"no classifier 'resnet_18'; close names: .*resnet18"):
        ek.load_task(REFERENCE, {"model": "resnet_18"})


def test_trained_weights_need_photos() -> None:
    with pytest.raises(ek.TaskError, match="weights=DEFAULT needs photos to score"):
        ek.load_task(REFERENCE, {"weights": "DEFAULT"})


def test_settings_out_of_range() -> None:
    with pytest.raises(ek.TaskError, match="at least 2 classes"):
        ek.load_task(REFERENCE, {"classes": "1"})


@pytest.mark.slow
def test_a_head_of_zeros_gets_weights() -> None:
    model = ek.load_task(REFERENCE, {"model": "vit_b_16", **SMALL}).model()
    assert (model.heads.head.weight.std(1) > 0).all()
