"""A Keras graph becomes a torch-like one: the same numbers, no permute but the interface's, batch norms as such."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import pytest
import torch
from keras import layers
from quant_nets import targets

from edgekit.quant import program
from edgekit.quant.prepare import prepare_graph
from edgekit.quant.prepare_keras import prepare_keras
from edgekit.trace.sources.keras import KerasModule, layers_named, note_origins

pytestmark = pytest.mark.long


def prepared(model: keras.Model, *shape: int) -> torch.fx.GraphModule:
    """The prepared graph, after checking that it computes what the model does."""
    random = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights(
                [random.uniform(0.5, 1.5, w.shape).astype(np.float32) for w in layer.get_weights()]
            )
    x, module = torch.from_numpy(random.standard_normal((1, *shape), np.float32)), KerasModule(model).eval()
    with layers_named(module):
        graph = torch.export.export(module, (x,)).module()
    note_origins(graph)
    graph = prepare_graph(prepare_keras(graph))
    with torch.no_grad():
        torch.testing.assert_close(graph(x), module(x), rtol=1e-4, atol=1e-5)
    return graph


def chain(*shape_then_layers: object) -> keras.Model:
    """A model of one input and layers in a row."""
    shape, *rest = shape_then_layers
    x = image = keras.Input(shape)
    for layer in rest:
        x = layer(x)
    return keras.Model(image, x)


def test_mobilenet_keeps_one_permute_and_every_batch_norm() -> None:
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    graph = prepared(model, 32, 32, 3)
    found = targets(graph)
    assert found.count("permute.default") == 1
    assert found.count("batch_norm.default") == found.count("conv2d.default") == 52
    assert {"matmul.default", "rsqrt.default", "sub.Tensor", "mul.Tensor"} & set(found) == set()
    assert not [name for name, _ in graph.named_buffers() if "lifted" in name]
    assert len(list(graph.named_parameters())) == 52 + 2 * 52 + 2


@pytest.mark.parametrize(
    "builder", [pytest.param("EfficientNetB0", marks=pytest.mark.slow), "MobileNetV3Small"]
)
def test_squeeze_and_excitation_needs_no_permute(builder: str) -> None:
    model = getattr(keras.applications, builder)(input_shape=(32, 32, 3), weights=None, classes=4)
    assert targets(prepared(model, 32, 32, 3)).count("permute.default") == 1


def test_pad_and_rescaling_move_below_the_permute() -> None:
    rescale, pool = layers.Rescaling(1 / 127.5, offset=-1), layers.GlobalMaxPooling2D()
    model = chain((8, 8, 3), rescale, layers.ZeroPadding2D(1), layers.Conv2D(4, 3), pool)
    graph = prepared(model, 8, 8, 3)
    assert targets(graph) == ["permute.default", "mul.Tensor", "add.Tensor", "conv2d.default", "amax.default"]
    assert program.takes_channels_last(program.export(graph, (torch.zeros(1, 8, 8, 3),)))


def test_bias_flatten_and_dense_are_weights() -> None:
    model = chain((6, 5, 3), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(7))
    graph = prepared(model, 6, 5, 3)
    assert targets(graph) == [
        "permute.default",
        "conv2d.default",
        "relu.default",
        "reshape.default",
        "linear.default",
    ]
    assert [tuple(p.shape) for _, p in graph.named_parameters()].count((7, 48)) == 1


def test_joins_pads_crops_and_softmax_rename_their_axis() -> None:
    image = keras.Input((9, 9, 3))
    x = layers.Conv2D(4, 3)(image)
    x = layers.Concatenate()([x, layers.ReLU()(x)])
    x = layers.Cropping2D(((1, 0), (0, 2)))(layers.ZeroPadding2D(((1, 2), (3, 4)))(x))
    x = layers.Softmax()(layers.Conv2D(5, 1, use_bias=False)(x))
    found = targets(prepared(keras.Model(image, x), 9, 9, 3))
    assert found[0] == found[-1] == "permute.default"
    assert found.count("permute.default") == 2


@pytest.mark.parametrize("size", [(8, 8), (9, 8), (9, 9)])
def test_same_padding_of_max_pooling_is_the_pools_own(size: tuple[int, int]) -> None:
    model = chain((*size, 3), layers.Conv2D(4, 1), layers.MaxPooling2D(3, 2, padding="same"))
    assert "pad.default" not in targets(prepared(model, *size, 3))


@pytest.mark.parametrize("scale", [True, False])
def test_batch_norm_of_a_vector_and_without_scale(scale: bool) -> None:
    model = chain((6,), layers.Dense(5), layers.BatchNormalization(scale=scale, center=scale))
    assert targets(prepared(model, 6)) == ["linear.default", "batch_norm.default"]


def test_origins_name_keras_layers() -> None:
    model = chain((8, 8, 3), layers.Conv2D(4, 3, name="stem"), layers.BatchNormalization(name="norm"))
    graph = prepared(model, 8, 8, 3)
    found = {str(n.target).split(".")[1]: program.origin(n) for n in program.calls(graph)}
    assert found["conv2d"] == "stem (Conv2D)"
    assert found["batch_norm"] == "norm (BatchNormalization)"


def test_what_has_no_rule_is_left_with_its_numbers() -> None:
    """A recurrent layer, attention and a transposed convolution still compute the same."""
    image = keras.Input((8, 8, 3))
    x = layers.Conv2DTranspose(4, 3, strides=2)(layers.UpSampling2D(2)(image))
    x = layers.Reshape((-1, 4))(layers.AveragePooling2D(11)(x))
    x = layers.LayerNormalization()(layers.MultiHeadAttention(2, 4)(x, x))
    prepared(keras.Model(image, layers.GRU(3)(x)), 8, 8, 3)
