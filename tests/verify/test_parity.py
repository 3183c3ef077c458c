"""Parity figures against numpy's formulas, streamed in batches of any size."""

import math

import msgspec
import numpy as np
import pytest

from edgekit.arrays import digest
from edgekit.errors import VerificationError
from edgekit.records import Artifact, Measure, Parity, TensorSpec
from edgekit.verify.parity import ComparingPredictor, Comparison
from edgekit.verify.predict import Predictor


def compare(reference: np.ndarray, got: np.ndarray, batch: int = 100) -> Parity:
    comparison = Comparison()
    for i in range(0, len(reference), batch):
        comparison.add([reference[i : i + batch]], [got[i : i + batch]])
    return comparison.parity()


def arrays(n: int = 37, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(n, classes)).astype(np.float32)
    return reference, reference + rng.normal(scale=0.3, size=(n, classes)).astype(np.float32)


@pytest.mark.parametrize("batch", [1, 5, 37])
def test_the_figures_are_numpys_whatever_the_batches(batch: int) -> None:
    reference, got = arrays()
    error = got.astype(np.float64) - reference
    parity = compare(reference, got, batch)
    assert parity.samples == 37
    assert parity.max_abs_error == pytest.approx(np.abs(error).max())
    assert parity.rms_error == pytest.approx(np.sqrt(np.mean(error**2)))
    power = np.sum(reference.astype(np.float64) ** 2) / np.sum(error**2)
    assert parity.snr_db == pytest.approx(10 * np.log10(power))
    agreement = np.mean(reference.argmax(1) == got.argmax(1))
    assert 0 < agreement < 1
    assert parity.agreement == pytest.approx(agreement)


def test_no_error_at_all() -> None:
    reference, _ = arrays()
    found = compare(reference, reference.copy())
    assert msgspec.structs.replace(found, outputs=()) == Parity(
        samples=37, max_abs_error=0.0, rms_error=0.0, snr_db=None, agreement=1.0
    )
    (output,) = found.outputs
    assert (output.snr_db, output.stuck_ratio, output.lost) == (None, 0.0, ())
    assert output.correlation == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(4, 1), (4,), (4, 2, 3), (4, 2, 3, 3)])
def test_only_class_scores_are_ranked(shape: tuple[int, ...]) -> None:
    assert compare(np.ones(shape), np.ones(shape)).agreement is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 20, 36])
def test_nan_and_infinity_are_an_infinite_error_wherever_they_stand(bad: float, row: int) -> None:
    reference, got = arrays()
    got[row, 3] = bad
    parity = compare(reference, got, batch=10)
    assert parity.max_abs_error == math.inf
    assert parity.rms_error == math.inf
    assert parity.snr_db == -math.inf


def test_every_output_counts_and_the_first_is_ranked() -> None:
    comparison = Comparison()
    scores = np.eye(3)
    comparison.add([scores, np.zeros((3, 2))], [scores, np.full((3, 2), 0.5)])
    parity = comparison.parity()
    assert (parity.samples, parity.agreement, parity.max_abs_error) == (3, 1.0, 0.5)
    assert parity.rms_error == pytest.approx(math.sqrt(6 * 0.25 / 15))
    assert parity.snr_db == pytest.approx(10 * math.log10(3 / 1.5))


def test_an_output_of_another_shape_is_not_broadcast() -> None:
    with pytest.raises(VerificationError) as caught:
        Comparison().add([np.ones((2, 3)), np.ones((2, 3))], [np.ones((2, 3)), np.ones((2, 1))])
    assert str(caught.value) == "output 1 of the artifact has shape [2, 1]; the float model's has [2, 3]"


def test_sums_do_not_overflow_in_float16() -> None:
    big = np.full((2, 4), 60_000, np.float16)
    parity = compare(big, -big)
    assert parity.max_abs_error == 120_000
    assert parity.snr_db == pytest.approx(10 * math.log10(1 / 4))


# ------------------------------------------------------------------------------ the predict that a metric is given


class Doubles:
    def run(self, feeds: "dict[str, np.ndarray]") -> "dict[str, np.ndarray]":
        return {"y": feeds["x"] * 2}


def comparing(predictions: dict[str, np.ndarray]) -> ComparingPredictor:
    x, y = (TensorSpec(name=name, shape=(1, 2), dtype="float32") for name in "xy")
    file = Artifact(
        path="",
        format="onnx",
        precision="float32",
        size_bytes=1,
        sha256="",
        inputs=(x,),
        outputs=(y,),
        layout="as the model",
        toolchain={},
    )
    return ComparingPredictor(Predictor(Doubles(), file, [x]), predictions)


def test_what_the_float_model_was_asked_is_compared_and_the_rest_is_counted() -> None:
    known, strange = np.array([[1, 2], [3, 4]], np.float32), np.ones((3, 2), np.float32)
    predict = comparing({f"{digest([known])}_0": known * 2 + 0.5})
    np.testing.assert_array_equal(predict(known), known * 2)
    np.testing.assert_array_equal(predict(strange.tolist()), strange * 2)
    assert predict.unknown == 3
    parity = predict.comparison.parity()
    assert (parity.samples, parity.max_abs_error, parity.agreement) == (2, 0.5, 1.0)


def test_outputs_that_are_no_classes_are_not_ranked() -> None:
    reference, got = arrays()
    comparison = Comparison(measures=[Measure(kind="correlation")])
    comparison.add([reference], [got])
    found = comparison.parity()
    assert found.outputs[0].measure == "correlation"
    assert found.agreement == pytest.approx(found.outputs[0].correlation)


def test_questions_that_the_artifact_did_not_reach_are_fed_to_it() -> None:
    """As with state fed back: from its second step on the metric asks what float was never asked."""
    steps = [np.full((2, 2), i, np.float32) for i in range(4)]
    predict = comparing({f"{digest([x])}_0": x * 2 + 0.5 for x in steps})
    predict(steps[0])
    predict(steps[1] + 0.1)
    assert (predict.asked, predict.unknown, predict.comparison.samples) == (4, 2, 2)
    predict.force({digest([x]): [x] for x in steps}, most=100)
    assert (predict.forced, predict.comparison.samples, predict.comparison.parity().max_abs_error) == (
        6,
        8,
        0.5,
    )


def test_at_most_so_many_samples_are_fed_evenly_spread() -> None:
    steps = [np.full((2, 2), i, np.float32) for i in range(10)]
    predict = comparing({f"{digest([x])}_0": x * 2 + i for i, x in enumerate(steps)})
    predict.force({digest([x]): [x] for x in steps}, most=8)
    assert predict.forced == 8
    assert predict.comparison.parity().max_abs_error == 9, "steps 0, 3, 6 and 9"


def test_the_same_numbers_in_another_shape_are_another_question() -> None:
    flat = np.ones((1, 4), np.float32)
    assert (
        len(
            {
                digest([flat]),
                digest([flat.reshape(2, 2)]),
                digest([flat.astype(np.int32)]),
                digest([flat, flat]),
            }
        )
        == 4
    )
    assert digest([flat]) == digest([np.asfortranarray(flat.copy())])
