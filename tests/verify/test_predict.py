"""predict of an artifact: the torch model's arrays in and out, whatever the file's names, dtype, layout and batch."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pytest
import torch

from edgekit.errors import TaskError, VerificationError
from edgekit.records import Artifact, TensorSpec
from edgekit.verify.predict import Predictor, decode, encode

Layout = Literal["NCHW", "NHWC", "as the model"]


def tensor(name: str, *shape: int, dtype: str = "float32", **quant: Any) -> TensorSpec:
    return TensorSpec(name=name, shape=shape, dtype=dtype, **quant)


def artifact(inputs: list[TensorSpec], outputs: list[TensorSpec], layout: Layout = "NCHW") -> Artifact:
    return Artifact(
        path="m.onnx",
        format="onnx",
        precision="float32",
        size_bytes=1,
        sha256="",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        layout=layout,
        toolchain={},
    )


class Fake:
    """A session of batch 1 that keeps what it was fed."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.fed = answer, list[dict[str, np.ndarray]]()

    def run(self, feeds: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        self.fed.append(dict(feeds))
        return self.answer(feeds)  # type: ignore[no-any-return]


def images(n: int) -> np.ndarray:
    return np.arange(n * 2 * 3 * 4, dtype=np.float32).reshape(n, 2, 3, 4)


# ---------------------------------------------------------------------------------------------- batches and layout


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_batch_is_split_into_samples_and_joined(n: int) -> None:
    session = Fake(lambda feeds: {"y": feeds["x"].sum((1, 2, 3), keepdims=False)[:, None]})
    predict = Predictor(
        session, artifact([tensor("x", 1, 2, 3, 4)], [tensor("y", 1, 1)]), [tensor("m", 1, 2, 3, 4)]
    )
    batch = images(n)
    got = predict(batch)
    assert [fed["x"].shape for fed in session.fed] == [(1, 2, 3, 4)] * n
    np.testing.assert_array_equal(got, batch.sum((1, 2, 3))[:, None])
    assert got.dtype == np.float32


def test_nhwc_files_are_fed_and_read_channels_last() -> None:
    session = Fake(lambda feeds: {"y": feeds["x"] * 2})
    file = artifact([tensor("x", 1, 3, 4, 2)], [tensor("y", 1, 3, 4, 2)], "NHWC")
    batch = images(2)
    got = Predictor(session, file, [tensor("m", 1, 2, 3, 4)])(batch)
    np.testing.assert_array_equal(session.fed[1]["x"], np.moveaxis(batch[1:], 1, -1))
    assert session.fed[0]["x"].flags.c_contiguous, "runtimes read the buffer as it lies"
    np.testing.assert_array_equal(got, batch * 2)


def test_only_images_have_a_layout() -> None:
    session = Fake(lambda feeds: {"y": feeds["x"]})
    file = artifact([tensor("x", 1, 2, 3)], [tensor("y", 1, 2, 3)], "NHWC")
    batch = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    np.testing.assert_array_equal(Predictor(session, file, [tensor("m", 1, 2, 3)])(batch), batch)


def test_several_inputs_and_outputs_keep_their_order() -> None:
    """The session answers a dict in its own order; predict answers in the order of the artifact."""
    session = Fake(lambda f: {"second": f["b"] + 1, "first": f["a"] - 1})
    file = artifact([tensor("a", 1, 2), tensor("b", 1, 3)], [tensor("first", 1, 2), tensor("second", 1, 3)])
    predict = Predictor(session, file, [tensor("p", 1, 2), tensor("q", 1, 3)])
    got = predict(np.zeros((2, 2)), np.zeros((2, 3)))
    assert isinstance(got, tuple)
    np.testing.assert_array_equal(got[0], np.full((2, 2), -1.0))
    np.testing.assert_array_equal(got[1], np.full((2, 3), 1.0))


@pytest.mark.parametrize(
    "given",
    [np.ones((1, 2)), [[1.0, 1.0]], torch.ones(1, 2), torch.ones(1, 2, requires_grad=True), torch.ones(1, 2).double()],
)  # fmt: skip
def test_arrays_lists_and_tensors_are_taken(given: Any) -> None:
    session = Fake(lambda feeds: {"y": feeds["x"]})
    got = Predictor(session, artifact([tensor("x", 1, 2)], [tensor("y", 1, 2)]), [tensor("m", 1, 2)])(given)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [[1, 1]])


def test_token_ids_stay_integers() -> None:
    session = Fake(lambda feeds: {"y": feeds["x"]})
    file = artifact([tensor("x", 1, 2, dtype="int32")], [tensor("y", 1, 2, dtype="int32")])
    got = Predictor(session, file, [tensor("m", 1, 2, dtype="int64")])(np.array([[70_000, 3]]))
    assert session.fed[0]["x"].dtype == np.int32
    np.testing.assert_array_equal(got, [[70_000, 3]])


# ---------------------------------------------------------------------------------------------- int8 arithmetic


@pytest.mark.parametrize(
    ("dtype", "scale", "zero"),
    [("int8", 0.1, 3), ("int8", 0.02, -128), ("uint8", 0.5, 128), ("int16", 1e-3, 0)],
)
def test_encode_and_decode_are_the_affine_formulas(dtype: str, scale: float, zero: int) -> None:
    spec = tensor("x", 1, 201, dtype=dtype, scale=scale, zero_point=zero)
    real = np.linspace(-100, 100, 201, dtype=np.float32)[None]
    stored = encode(real, spec)
    limits = np.iinfo(dtype)
    wanted = np.clip(np.rint(real / np.float32(scale)) + zero, limits.min, limits.max)
    assert stored.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(stored, wanted)
    back = decode(stored, spec)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, (wanted - zero) * scale, rtol=1e-6, atol=1e-7)
    inside = (real > (limits.min - zero + 1) * scale) & (real < (limits.max - zero - 1) * scale)
    assert inside.any()
    assert np.abs(back - real)[inside].max() <= scale / 2 * 1.001


def test_values_out_of_range_are_clipped_and_do_not_wrap() -> None:
    spec = tensor("x", 1, 3, dtype="int8", scale=1.0, zero_point=0)
    np.testing.assert_array_equal(
        encode(np.array([[-1e6, 127.6, 1e30]], np.float32), spec), [[-128, 127, 127]]
    )


def test_an_int8_artifact_end_to_end() -> None:
    quant = {"scale": 0.25, "zero_point": -4}
    session = Fake(lambda feeds: {"y": feeds["x"]})
    file = artifact([tensor("x", 1, 2, dtype="int8", **quant)], [tensor("y", 1, 2, dtype="int8", **quant)])
    got = Predictor(session, file, [tensor("m", 1, 2)])(np.array([[1.0, -0.6]]))
    np.testing.assert_array_equal(session.fed[0]["x"], [[0, -6]])
    np.testing.assert_array_equal(got, np.array([[1.0, -0.5]], np.float32))


def test_float16_outputs_are_widened_and_text_is_refused() -> None:
    assert decode(np.ones(2, np.float16), tensor("y", 2, dtype="float16")).dtype == np.float32
    with pytest.raises(VerificationError, match="output y has dtype <U1, which no metric can read"):
        decode(np.array(["a"]), tensor("y", 1))


# ---------------------------------------------------------------------------------------------- wrong inputs


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), "predict was called with 0 inputs; the model takes 2"),
        ((np.ones((1, 2)),), "predict was called with 1 inputs; the model takes 2"),
        ((np.ones((1, 3)), np.ones((1, 4))), "predict got input 0 of shape [1, 3]; the model takes [N, 2]"),
        (
            (np.ones((1, 2)), np.ones((1, 4, 1))),
            "predict got input 1 of shape [1, 4, 1]; the model takes [N, 4]",
        ),
        ((np.ones((0, 2)), np.ones((0, 4))), "predict got input 0 of shape [0, 2]; the model takes [N, 2]"),
        ((np.float32(1), np.ones((1, 4))), "predict got input 0 of shape []; the model takes [N, 2]"),
        (
            (np.ones((4, 2)), np.ones((3, 4))),
            "predict got inputs of 4 and 3 samples; every input needs the same number",
        ),
    ],
)
def test_wrong_shapes_are_one_sentence(given: tuple[Any, ...], expected: str) -> None:
    file = artifact([tensor("a", 1, 2), tensor("b", 1, 4)], [tensor("y", 1, 1)])
    session = Fake(lambda feeds: {"y": np.ones((1, 1))})
    with pytest.raises(TaskError) as caught:
        Predictor(session, file, [tensor("p", 1, 2), tensor("q", 1, 4)])(*given)
    assert str(caught.value) == expected
    assert not session.fed
