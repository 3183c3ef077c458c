"""Noise beside signal by output and channel, against arithmetic that can be written down."""

import math

import pytest
import torch

from edgekit.quant.simulate import CEILING_DB, balanced_db, snr_db
from edgekit.quant.slices import kinds, noise_ratio, powers


def test_channels_are_axis_one_and_the_smaller_of_two() -> None:
    maps, tokens, wide = torch.ones(2, 3, 4, 5), torch.ones(2, 7, 64), torch.ones(2, 64, 7)
    found = powers([maps, tokens, wide, torch.ones(2, 6), torch.ones(4)])
    assert [len(p) for p in found] == [3, 7, 7, 6, 1]
    assert found[0].tolist() == [40.0] * 3
    assert found[4].tolist() == [4.0]


def test_boxes_do_not_drown_scores() -> None:
    """Four boxes of 100 and one score of 0.1, which an error of 0.1 destroys."""
    signal = torch.tensor([1e4, 1e4, 1e4, 1e4, 1e-2])
    error = torch.full((5,), 1e-2)
    assert noise_ratio([error], [signal]) == pytest.approx((4e-6 + 1) / 5)
    assert float(error.sum() / signal.sum()) < 2e-6, "what summing over everything would say"


def test_channels_of_one_magnitude_are_one_kind() -> None:
    """Logits: what is near zero on a few samples is still read beside the others."""
    signal, error = torch.tensor([9.0, 4.0, 0.5, 1.0]), torch.tensor([0.1, 0.2, 0.4, 0.3])
    assert noise_ratio([error], [signal]) == pytest.approx(float(error.sum() / signal.sum()))
    assert [sorted(group.tolist()) for group in kinds(torch.tensor([1e4, 1e-2, 2e4, 0.0, 3e-2]))] == [
        [1, 4],
        [0, 2],
    ]


def test_each_output_counts_as_much_and_a_lost_one_as_one() -> None:
    loud, quiet = torch.full((100,), 9.0), torch.tensor([1.0])
    assert noise_ratio([loud * 0.1, quiet * 50], [loud, quiet]) == pytest.approx((0.1 + 1) / 2)


def test_dead_channels_say_nothing_and_harms_add() -> None:
    signal, first, second = torch.tensor([4.0, 0.0]), torch.tensor([0.4, 7.0]), torch.tensor([0.2, 7.0])
    assert noise_ratio([first], [signal]) == pytest.approx(0.1)
    assert noise_ratio([first + second], [signal]) == pytest.approx(
        noise_ratio([first], [signal]) + noise_ratio([second], [signal])
    )
    assert noise_ratio([first], [torch.zeros(2)]) == 0.0
    assert noise_ratio([torch.tensor([math.nan])], [torch.ones(1)]) == 1.0


def test_one_output_keeps_the_figure_of_all_its_numbers() -> None:
    right, got = [torch.tensor([3.0, 4.0])], [torch.tensor([3.0, 4.5])]
    assert balanced_db([right], [got]) == snr_db(right, got)
    assert balanced_db([right], [right]) == CEILING_DB


def test_of_two_outputs_the_worse_one_decides() -> None:
    boxes, scores = torch.full((10,), 100.0), torch.full((10,), 0.1)
    found = balanced_db([[boxes, scores]], [[boxes + 0.1, scores + 0.1]])
    assert found == pytest.approx(-10 * math.log10((1e-6 + 1) / 2))
    pooled = snr_db([torch.cat([boxes, scores])], [torch.cat([boxes + 0.1, scores + 0.1])])
    assert pooled > 56
