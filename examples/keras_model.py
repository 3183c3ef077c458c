"""A Keras application by name, MobileNetV2 by default: for structure, parity and speed, not for ImageNet accuracy.

    edgekit export examples/keras_model.py:task --set model=MobileNetV2 --target all -o out/

The weights are random but seeded, and the net is made to behave like a trained one, as `torchvision_model.py` does it:
batch-norm statistics are taken from the inputs, and the last layer becomes a classifier, by ridge regression on the
net's own random features. It has one class per source image (smooth seeded noise) and learns them from three distorted
copies of each; the metric is top-1 on other copies. It shows how much of the float net's decisions an artifact keeps,
and says nothing about ImageNet.

Keras runs on its torch backend here (edgekit sets KERAS_BACKEND=torch in its processes), images are [N, H, W, C], and
`preprocessing.layout` says so to the app. `edgekit export ... --explore` also tries TensorFlow's own converter.
"""

import difflib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

os.environ.setdefault(
    "KERAS_BACKEND", "torch"
)  # before keras is imported, for whoever imports this file by itself

import keras
import numpy as np
from torchvision_model import LEARNING_COPIES, Copies, CopyTop1, sources

import edgekit as ek

RIDGE = 0.1
GAIN = 20.0  # the logit of the right class on a learning copy is about this above all others
MODELS = (
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3Small",
    "MobileNetV3Large",
    "EfficientNetB0",
    "ResNet50",
    "DenseNet121",
)
WITH_WIDTH = ("MobileNet", "MobileNetV2", "MobileNetV3Small", "MobileNetV3Large")


class Channels:
    """The copies as Keras has them: [N, H, W, C]."""

    def __init__(self, copies: Copies) -> None:
        self.copies = copies

    def labelled(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for inputs, labels in self.copies.labelled():
            yield np.ascontiguousarray(inputs.transpose(0, 2, 3, 1)), labels

    def __iter__(self) -> Iterator[np.ndarray]:
        return (inputs for inputs, _ in self.labelled())


def build(model: str, size: int, width: float, seed: int, learning: Channels) -> keras.Model:
    """The seeded net, with batch-norm statistics and a last layer that fit the learning copies."""
    keras.utils.set_random_seed(seed)
    settings: dict[str, Any] = {"alpha": width} if model in WITH_WIDTH else {}
    if model.startswith("MobileNetV3"):
        settings["include_preprocessing"] = False
    body = getattr(keras.applications, model)(
        input_shape=(size, size, 3), weights=None, include_top=False, pooling="avg", **settings
    )
    _spread(body, np.random.default_rng(seed))
    _fit_batch_norm(body, next(iter(learning)))
    features, labels = (np.concatenate(parts) for parts in zip(*_features(body, learning), strict=True))
    kernel, bias = ridge(features, labels)
    head = keras.layers.Dense(kernel.shape[1], name="head")
    net = keras.Model(body.inputs, head(body.output), name=model.lower())
    head.set_weights([kernel, bias])
    return net


def _spread(body: keras.Model, random: np.random.Generator) -> None:
    """Kernels of variance 2 / inputs (He et al. 2015), depthwise ones too.

    Keras draws smaller ones, and then the epsilon of the batch norms, 0.001, hides most of what the layers tell apart.
    """
    for layer in body._flatten_layers():
        if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
            kernel, *bias = layer.get_weights()
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            inputs = np.prod(kernel.shape[:2] if depthwise else kernel.shape[:3])
            layer.set_weights([random.normal(0, (2 / inputs) ** 0.5, kernel.shape).astype(np.float32), *bias])


def _fit_batch_norm(body: keras.Model, inputs: np.ndarray) -> None:
    """Keras mixes the old statistics with the new; a momentum of 0 takes those of the one batch alone."""
    norms = [layer for layer in body._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    body(inputs, training=True)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def _features(body: keras.Model, learning: Channels) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for inputs, labels in learning.labelled():
        yield keras.ops.convert_to_numpy(body(inputs, training=False)), labels


def ridge(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a linear classifier: least squares with a penalty, on centred features."""
    centre, spread = features.mean(0), features.std()
    scaled = (features - centre) / spread
    gram = scaled @ scaled.T
    gram += np.eye(len(gram), dtype=np.float32) * gram.trace() / len(gram) * RIDGE
    classes = int(labels.max()) + 1
    wanted = GAIN * (np.eye(classes, dtype=np.float32)[labels] - 1 / classes)
    kernel = (scaled.T @ np.linalg.solve(gram, wanted) / spread).astype(np.float32)
    return kernel, (-centre @ kernel).astype(np.float32)


def task(
    model: str = "MobileNetV2",
    size: int = 96,
    width: float = 1.0,
    seed: int = 0,
    classes: int = 10,
    samples: int = 60,
) -> ek.Task:
    """The task for one Keras application. width: `alpha` of the MobileNets."""
    if model not in MODELS:
        close = difflib.get_close_matches(model, MODELS, n=3, cutoff=0.3) or MODELS
        raise ek.TaskError(f"this example has no model {model!r}; close names: {', '.join(close)}")
    if classes < 2 or samples < classes or size < 32:
        raise ek.TaskError(
            f"classes={classes}, samples={samples}, size={size}; at least 2 classes, as many samples, size 32"
        )
    images: Callable[[], np.ndarray] = partial(sources, "", size, seed, classes)
    learning = Channels(Copies(images, LEARNING_COPIES, seed + 1))
    return ek.Task(
        name=f"keras-{model.lower()}",
        model=partial(build, model, size, width, seed, learning),
        example_inputs=(np.zeros((1, size, size, 3), np.float32),),
        calibration=learning,
        metric=CopyTop1(Channels(Copies(images, samples // classes, seed + 2))),
        preprocessing=ek.Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), layout="NHWC"),
    )
