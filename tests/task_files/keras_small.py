"""A good task of a tiny Keras net, and ways to spoil it. Keras runs on the torch backend in every child."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import edgekit as ek

RNG = np.random.default_rng(0)
IMAGES = RNG.standard_normal((16, 16, 16, 3)).astype(np.float32)


def net(*extra: Any) -> keras.Model:
    """[N, 16, 16, 3] -> [N, 10]: strided and depthwise convolutions, batch norms, ReLU6, a residual."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = layers.Conv2D(16, 3, strides=2, use_bias=False, name="stem")(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization(name="stem_norm")(x))
    y = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    y = layers.ReLU(6.0)(layers.BatchNormalization()(y))
    y = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(y))
    x = layers.Add()([x, y])
    for layer in extra:
        x = layer(x)
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(x)
    x = layers.Dropout(0.2)(layers.GlobalAveragePooling2D()(x))
    model = keras.Model(image, layers.Dense(10, name="head")(x))
    _spread_statistics(model)
    return model


def _spread_statistics(model: keras.Model) -> None:
    random = np.random.default_rng(1)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights(
                [random.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()]
            )


def score(predict: Any) -> float:
    """Share of images for which the answer is the one of the net itself."""
    right = np.asarray(keras.ops.convert_to_numpy(net()(IMAGES, training=False))).argmax(1)
    return float((predict(IMAGES).argmax(1) == right).mean())


def make(**changed: Any) -> ek.Task:
    good = {
        "name": "keras-small",
        "model": net,
        "example_inputs": (np.zeros((1, 16, 16, 3), np.float32),),
        "calibration": [IMAGES[:8], IMAGES[8:]],
        "metric": score,
    }
    return ek.Task(**{**good, **changed})


def task() -> ek.Task:
    return make()


def trained() -> ek.Task:
    """With training data: the answers that the net itself gives."""
    from torch.nn import functional as F

    labels = np.asarray(keras.ops.convert_to_numpy(net()(IMAGES, training=False))).argmax(1)
    return make(training=ek.Training(batches=[(IMAGES, labels)], loss=F.cross_entropy))


def from_file(path: str = "") -> ek.Task:
    return make(model=Path(path))


@keras.saving.register_keras_serializable()
class Stubborn(layers.Layer):
    """What the torch backend cannot run."""

    def call(self, x: Any) -> Any:
        if keras.backend.backend() == "torch" and tuple(x.shape[:1]) == (1,):
            raise NotImplementedError("no kernel for this in torch")
        return x


@keras.saving.register_keras_serializable()
class Branches(layers.Layer):
    """What torch.export cannot trace."""

    def call(self, x: Any) -> Any:
        if isinstance(x, keras.KerasTensor):
            return x
        return x * 2 if float(keras.ops.max(x)) > 0 else x


def stubborn() -> ek.Task:
    return make(model=lambda: net(Stubborn(name="tough")))


def branches() -> ek.Task:
    return make(model=lambda: net(Branches(name="fork")))


def wrong_layout() -> ek.Task:
    return make(example_inputs=(np.zeros((1, 3, 16, 16), np.float32),))
