"""Each term against arithmetic that can be written down."""

import math

import pytest
import torch
from torch.nn import functional as F

from edgekit.distill import terms
from edgekit.errors import UserError


def value(name: str, student: torch.Tensor, teacher: torch.Tensor) -> float:
    return float(terms.named(name).loss(student, teacher))


@pytest.mark.parametrize("name", terms.names())
def test_equal_tensors_are_no_distance_apart(name: str) -> None:
    x = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(0))
    assert value(name, x, x) == pytest.approx(0.0, abs=1e-6)
    student = x.clone().requires_grad_(True)
    terms.named(name).loss(student, x.roll(1, 0)).backward()
    assert student.grad is not None and torch.isfinite(student.grad).all() and student.grad.abs().sum() > 0


def test_kl() -> None:
    p, q = torch.tensor([[0.75, 0.25]]), torch.tensor([[0.5, 0.5]])
    expected = (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)) * 16
    assert value("kl", 4 * q.log(), 4 * p.log()) == pytest.approx(expected, rel=1e-5)


def test_hint_does_not_know_the_scale() -> None:
    a, b = torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 1.0]])
    assert value("hint", a, b) == pytest.approx((1 + 4) / (4 + 1))
    assert value("hint", 7 * a, 7 * b) == pytest.approx(1.0)
    assert value("hint", torch.zeros(1, 2), b) == 1.0


def test_attention_compares_where_and_not_how_much() -> None:
    student = torch.zeros(1, 2, 1, 2)
    student[0, :, 0, 0] = 5.0
    teacher = torch.zeros(1, 3, 1, 2)
    teacher[0, 1, 0, 1] = 0.1
    assert value("attention", student, teacher) == pytest.approx(2.0)
    assert value("attention", student, torch.flip(teacher, [3])) == pytest.approx(0.0, abs=1e-6)
    tokens = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    assert value("attention", tokens, torch.flip(tokens, [1])) == pytest.approx(2.0)


def test_rkd_by_hand() -> None:
    """Three points on a line and the corners of a triangle with equal sides."""
    line = torch.tensor([[0.0], [1.0], [2.0]])
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]])
    ours, theirs = torch.tensor([1.0, 2.0, 1.0]) / (4 / 3), torch.ones(3)
    distance = 2 * F.smooth_l1_loss(ours, theirs, reduction="sum") / 9
    # the cosine at each point: line 1, -1, 1; triangle 0.5; both orders of the two others, in 27 entries
    angle = (
        2 * sum(float(F.smooth_l1_loss(torch.tensor(c), torch.tensor(0.5))) for c in (1.0, -1.0, 1.0)) / 27
    )
    assert value("rkd", line, triangle) == pytest.approx(float(distance) + 2 * angle, rel=1e-5)


def test_rkd_knows_no_scale_place_or_shape() -> None:
    x = torch.randn(5, 8)
    moved = 3 * x.reshape(5, 2, 2, 2) + 1
    assert value("rkd", moved, x) == pytest.approx(0.0, abs=1e-6)
    same = torch.ones(4, 3, requires_grad=True)
    terms.named("rkd").loss(same, torch.randn(4, 3)).backward()
    assert same.grad is not None and torch.isfinite(same.grad).all(), "samples that are all the same"


def test_a_term_that_is_none() -> None:
    with pytest.raises(
        UserError, match=r"unknown term 'hints'; did you mean 'hint'. Allowed are attention, hint"
    ):
        terms.named("hints")
