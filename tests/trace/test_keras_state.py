"""Keras layers that keep something are refused by the path of their variable."""

import keras
import pytest
import torch

from edgekit.errors import TaskError
from edgekit.trace import model as tracing
from edgekit.trace.sources.keras import KerasModule


class Sum(keras.layers.Layer):
    """Adds up what it has seen."""

    def build(self, shape) -> None:
        self.total = self.add_weight(shape=(1, shape[-1]), initializer="zeros", trainable=False, name="total")

    def call(self, x):
        self.total.assign_add(x)
        return x + self.total


class Noise(keras.layers.Layer):
    def __init__(self) -> None:
        super().__init__()
        self.seeds = keras.random.SeedGenerator(1)

    def call(self, x):
        return x + keras.random.normal(keras.ops.shape(x), seed=self.seeds)


def checked(*layers: keras.layers.Layer, shape: tuple[int, ...] = (4,)) -> tuple[str, ...]:
    model = keras.Sequential([keras.Input(shape, batch_size=1), *layers], name="net")
    return tracing.checked(KerasModule(model).eval(), (torch.full((1, *shape), 0.3),))[1]


@pytest.mark.parametrize(
    ("layer", "shape", "named"),
    [
        (lambda: Sum(name="sum"), (4,), "the variable `net/sum/total`"),
        (Noise, (4,), "seed_generator_state`"),
        (
            lambda: keras.layers.LSTM(4, stateful=True, name="lstm"),
            (3, 4),
            "the variable `net/lstm/rnn_state`",
        ),
    ],
)
def test_a_layer_that_keeps_something(layer, shape: tuple[int, ...], named: str) -> None:
    with pytest.raises(TaskError, match="and its answers depend on it") as caught:
        checked(layer(), shape=shape)
    assert named in str(caught.value)


def test_layers_that_keep_nothing_between_calls() -> None:
    layers = [keras.layers.LSTM(4), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)]
    assert checked(*layers, shape=(3, 4)) == ()
