"""Keras models that compute in half precision are exported in float32, and the user is told."""

import os

os.environ["KERAS_BACKEND"] = "torch"

from pathlib import Path

import keras
import numpy as np
import pytest
import torch

import edgekit as ek
from edgekit.quant import freeing, program
from edgekit.trace import opening

RNG = np.random.default_rng(0)


def mixed(policy: str) -> keras.Model:
    """[N, 8, 8, 3] -> [N, 5]: adapted statistics, a convolution, a batch norm, ReLU6, and a head in float32."""
    keras.utils.set_random_seed(0)
    adapted = keras.layers.Normalization(dtype=policy)
    adapted.adapt(RNG.normal(3.001, 1.0, (64, 8, 8, 3)).astype(np.float32))
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            adapted,
            keras.layers.Conv2D(8, 3, padding="same", dtype=policy),
            keras.layers.BatchNormalization(dtype=policy),
            keras.layers.ReLU(6.0, dtype=policy),
            keras.layers.GlobalAveragePooling2D(dtype=policy),
            keras.layers.Dense(5, dtype="float32"),
        ]
    )


def task(model: object) -> ek.Task:
    return ek.Task(
        name="mixed",
        model=model,
        example_inputs=(np.zeros((1, 8, 8, 3), np.float32),),
        metric=lambda predict: 1.0,
    )


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float16"])
def test_a_policy_of_training_is_not_exported(policy: str, tmp_path: Path) -> None:
    model = mixed(policy)
    images = RNG.normal(3.0, 1.0, (4, 8, 8, 3)).astype(np.float32)
    before = model(images, training=False).detach().numpy()
    _, subject, _ = opening.opened(task(lambda: model), tmp_path)
    assert [d for d in subject.doubts if f"the Keras policy {policy} (5 layers) is for training" in d]
    exported = program.load(subject.program)
    held = [*exported.state_dict.values(), *exported.constants.values()]
    values = [
        node.meta["val"] for node in exported.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)
    ]
    assert {t.dtype for t in (*held, *values) if t.is_floating_point()} == {torch.float32}
    answers = exported.module()(torch.from_numpy(images[:1])).detach().numpy()
    np.testing.assert_allclose(answers, before[:1], atol=0.03)
    kept = keras.saving.load_model(subject.tensorflow)
    assert {layer.compute_dtype for layer in kept._flatten_layers()} == {"float32"}
    np.testing.assert_allclose(
        subject.call(images)[0], kept(images, training=False).detach().numpy(), rtol=1e-5, atol=1e-6
    )


def test_the_batch_of_a_keras_model_is_free(tmp_path: Path) -> None:
    _, subject, _ = opening.opened(task(lambda: mixed("float32")), tmp_path)
    assert subject.doubts == ()
    assert subject.free is not None
    assert subject.free.reason == ""
    images = torch.from_numpy(RNG.normal(3.0, 1.0, (3, 8, 8, 3)).astype(np.float32))
    freed = freeing.freed(program.load(subject.program), subject.free)
    np.testing.assert_allclose(
        freed.module()(images).detach().numpy(), subject.call(images.numpy())[0], rtol=1e-4, atol=1e-5
    )
