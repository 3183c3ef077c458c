"""Each measure by hand: what it gives for answers that are the same, a little off and quite wrong."""

import numpy as np
import pytest

from edgekit.metrics import edit_distance
from edgekit.records import Measure
from edgekit.records.measure import OutOfRange
from edgekit.verify import measures
from edgekit.verify.parity import Comparison

RNG = np.random.default_rng(0)


def agreement(measure: Measure, right: np.ndarray, got: np.ndarray) -> float:
    found = measures.add(measures.Measured(measure.kind), measure, ["y"], 0, [right], [got])
    return float(found.agreement() or 0.0)


@pytest.mark.parametrize("kind", ["top1", "cosine", "sequence", "mask", "psnr"])
def test_the_same_answers_agree_wholly(kind: str) -> None:
    shape = {
        "top1": (5, 4),
        "cosine": (5, 4),
        "sequence": (5, 6, 4),
        "mask": (5, 3, 8, 8),
        "psnr": (5, 3, 8, 8),
    }[kind]
    y = RNG.standard_normal(shape).astype(np.float32)
    assert agreement(Measure(kind=kind), y, y) == pytest.approx(1.0, abs=1e-5)


def test_masks_by_their_intersection_over_union() -> None:
    right = np.zeros((1, 1, 4, 4), np.float32)
    right[..., :2] = 1
    got = np.zeros_like(right)
    got[..., :1] = 1
    assert agreement(Measure(kind="mask"), right, got) == pytest.approx((4 / 8 + 8 / 12) / 2)


def test_psnr_in_decibels_and_as_a_share_of_the_range() -> None:
    right = RNG.uniform(0, 1, (2, 1, 8, 8)).astype(np.float32)
    comparison = Comparison(["y"], [Measure(kind="psnr")])
    comparison.add([right], [right + 0.1])
    output = comparison.parity().outputs[0]
    assert output.psnr_db == pytest.approx(20, abs=1e-3) and output.agreement == pytest.approx(0.9, abs=1e-4)


def test_lines_by_their_edit_distance() -> None:
    def line(*symbols: int) -> np.ndarray:
        return np.eye(5, dtype=np.float32)[list(symbols)][None]

    right, got = line(1, 1, 0, 2, 3), line(1, 0, 0, 2, 2)
    assert agreement(Measure(kind="sequence"), right, got) == pytest.approx(1 - 2 / 5)
    assert agreement(Measure(kind="ctc"), right, got) == pytest.approx(1 - 1 / 3)
    assert edit_distance([1, 2, 3], []) == 3


def boxes(form: str, got: np.ndarray, got_scores: np.ndarray) -> float:
    measure = Measure(kind="boxes", scores="s", form=form)
    right = np.array([[[0, 0, 10, 10], [20, 20, 30, 30], [50, 50, 51, 51]]], np.float32)
    scores = np.array([[[0.9, 0.1], [0.2, 0.8], [0.1, 0.1]]], np.float32)
    if form == "cxcywh":
        right = np.concatenate([(right[..., :2] + right[..., 2:]) / 2, right[..., 2:] - right[..., :2]], -1)
    args = (measures.Measured("boxes"), measure, ["b", "s"], 0)
    return float(measures.add(*args, [right, scores], [right + got, got_scores]).agreement() or 0.0)


def test_boxes_that_both_find() -> None:
    same = np.array([[[0.9, 0.1], [0.2, 0.8], [0.1, 0.1]]], np.float32)
    assert boxes("xyxy", np.zeros(4), same) == boxes("cxcywh", np.zeros(4), same) == 1.0
    assert boxes("xyxy", np.array([9.0, 9, 9, 9]), same) == 0.0
    other_class = np.array([[[0.9, 0.1], [0.8, 0.2], [0.1, 0.1]]], np.float32)
    assert boxes("xyxy", np.zeros(4), other_class) == pytest.approx(0.5)
    assert boxes("xyxy", np.zeros(4), np.zeros_like(same)) == 0.0


def test_boxes_need_their_scores() -> None:
    with pytest.raises(OutOfRange, match="name the output of the scores"):
        Measure(kind="boxes")


def test_correlation_counts_where_no_output_has_another_measure() -> None:
    a, b = RNG.standard_normal((20, 6)), RNG.standard_normal((20, 6))
    comparison = Comparison(["y", "z"], [Measure(kind="top1"), Measure(kind="correlation")])
    comparison.add([a, b], [a, -b])
    parity = comparison.parity()
    assert parity.agreement == 1.0 and [o.agreement for o in parity.outputs] == [1.0, 0.0]
    alone = Comparison(["z"], [Measure(kind="correlation")])
    alone.add([b], [-b])
    assert alone.parity().agreement == 0.0
