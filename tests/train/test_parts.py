"""The parts of the loop that can be held against arithmetic."""

import math
import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from train_nets import Clouds

from edgekit.errors import Diverged, UserError
from edgekit.train import data, schedule
from edgekit.train.objective import Distillation, TaskLoss, distance
from edgekit.train.settings import Options
from edgekit.train.weight_average import Average


@pytest.mark.parametrize(
    ("progress", "rate"),
    [(0.0, 0.1), (0.1, 0.55), (0.2, 1.0), (0.6, 0.55), (1.0, 0.1), (2.0, 0.1)],
)
def test_warm_up_and_cosine(progress: float, rate: float) -> None:
    options = Options(warmup=0.2, final=0.1)
    assert schedule.rate(options, 1.0, progress) == pytest.approx(rate)


def test_without_warm_up_it_starts_at_the_peak() -> None:
    assert schedule.rate(Options(warmup=0.0), 3.0, 0.0) == 3.0


def test_a_constant_rate() -> None:
    options = Options(schedule="constant", learning_rate=0.3)
    assert schedule.given_peak(options) == 0.3
    assert [schedule.rate(options, 0.3, progress) for progress in (0.0, 0.5, 1.0)] == [0.3] * 3


def test_rewinding_scales_the_original_peak_to_the_budget() -> None:
    short = Options(schedule="rewinding", learning_rate=0.1, original_images=8_000_000, images=8_000)
    assert schedule.given_peak(short) == pytest.approx(0.01)
    long = Options(schedule="rewinding", learning_rate=0.1, original_images=1_000, images=8_000)
    assert schedule.given_peak(long) == 0.1, "never above it"
    assert schedule.rate(short, 0.01, 0.525) == pytest.approx(0.005), "a cosine, as it was first"
    with pytest.raises(UserError, match="rewinding, which needs learning_rate"):
        Options(schedule="rewinding", original_images=100)


def test_gradients_are_clipped_as_the_optimizer_needs_it() -> None:
    assert Options(optimizer="adamw").largest_norm == 1.0
    assert Options(optimizer="sgd").largest_norm == 5.0
    assert Options(optimizer="sgd", clip_norm=0.0).largest_norm == 0.0
    with pytest.raises(UserError, match=r"clip_norm is -1\.0; allowed: at least 0, or none"):
        Options(clip_norm=-1.0)


def test_progress_is_of_the_budget_that_is_used_up_first() -> None:
    options = Options(images=100, steps=10)
    assert (options.progress(50, 2), options.progress(10, 5), options.progress(500, 0)) == (0.5, 0.5, 1.0)


def test_the_highest_of_rates_that_are_as_good_as_the_best() -> None:
    found = {1e-4: 1.0, 1e-3: 0.9, 1e-2: 0.94, 1e-1: 3.0}
    assert schedule.highest(found) == 1e-2
    assert schedule.highest({1e-4: 1.0, 1e-3: math.inf}) == 1e-4
    with pytest.raises(Diverged, match="no learning rate of the probe"):
        schedule.highest({1e-4: math.inf})


@pytest.mark.parametrize(("rows", "processes"), [(8, 2), (7, 2), (1, 2), (5, 3)])
def test_parts_are_all_rows_once_and_weigh_what_they_hold(rows: int, processes: int) -> None:
    x = torch.arange(float(rows)).reshape(rows, 1)
    parts = [data.part(((x,), x[:, 0], rows), rank, processes) for rank in range(processes)]
    mean = sum(float(p.inputs[0].mean()) * p.share for p in parts) / processes
    assert mean == pytest.approx(float(x.mean())) and sum(p.share for p in parts) == pytest.approx(processes)
    held = torch.cat([p.inputs[0] for p in parts if p.share])
    assert torch.equal(held, x)


def take(stream: data.Stream, count: int, disturb: bool = False) -> list[torch.Tensor]:
    found = []
    for batch, _ in zip(stream, range(count), strict=False):
        found.append(batch.inputs[0])
        if disturb:
            torch.rand(5), np.random.rand(3), random.random()
    return found


def test_what_the_model_draws_does_not_reach_the_data() -> None:
    plain = take(data.Stream(Clouds(4), 0), 10)
    assert all(
        torch.equal(a, b) for a, b in zip(plain, take(data.Stream(Clouds(4), 0), 10, True), strict=True)
    )
    assert not torch.equal(plain[0], plain[4]), "another epoch"
    assert not torch.equal(plain[0], take(data.Stream(Clouds(4), 1), 1)[0]), "another seed"


def test_what_the_data_draws_does_not_reach_the_model() -> None:
    data.seed_step(0, 3, 0)
    expected = torch.rand(3)
    stream = iter(data.Stream(Clouds(4), 0))
    data.seed_step(0, 3, 0)
    next(stream)
    assert torch.equal(torch.rand(3), expected)
    data.seed_step(0, 3, 1)
    assert not torch.equal(torch.rand(3), expected)


def test_a_stream_goes_on_anywhere() -> None:
    whole = take(data.Stream(Clouds(4), 0), 10)
    for at in (1, 4, 6):
        rest = take(data.Stream(Clouds(4), 0, epoch=at // 4, index=at % 4), 10 - at)
        assert all(torch.equal(a, b) for a, b in zip(whole[at:], rest, strict=True))


def test_arrays_are_batches_too() -> None:
    (batch,) = data.first(
        data.Training(batches=[(np.zeros((3, 2), np.float32), np.arange(3))], loss=F.mse_loss), 0, 1
    )
    assert batch.inputs[0].dtype == torch.float32 and batch.labels.tolist() == [0, 1, 2] and batch.rows == 3


def test_the_distance_to_a_teacher() -> None:
    a, b = torch.randn(6, 4), torch.randn(6, 4)
    p = torch.softmax(b / 2, 1)
    expected = (p * (p.log() - torch.log_softmax(a / 2, 1))).sum(1).mean() * 4
    assert float(distance(a, b, 2.0)) == pytest.approx(float(expected), rel=1e-5)
    assert float(distance(b, b, 2.0)) == pytest.approx(0.0, abs=1e-6)
    one = torch.randn(5, 1)
    assert float(distance(one + 1, one, 2.0)) == pytest.approx(1 / float(one.var(unbiased=False)), rel=1e-4)


def test_the_gradient_keeps_its_size_at_any_temperature() -> None:
    b = torch.randn(64, 10)
    sizes = []
    for temperature in (1.0, 2.0, 4.0, 8.0):
        a = torch.zeros(64, 10, requires_grad=True)
        distance(a, b, temperature).backward()
        sizes.append(float(a.grad.norm()))
    assert max(sizes) < 1.6 * min(sizes)


def test_alpha_weighs_task_and_teacher() -> None:
    model, teacher = nn.Linear(3, 4), nn.Linear(3, 4)
    x, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 3, 0])

    def value(alpha: float) -> float:
        return Distillation([teacher], F.cross_entropy, alpha, 4.0)(model, (x,), y).item()

    task = TaskLoss(F.cross_entropy)(model, (x,), y).item()
    assert value(1.0) == pytest.approx(task)
    assert value(0.25) == pytest.approx(0.25 * task + 0.75 * value(0.0), rel=1e-5)
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_teacher_of_several_outputs() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(3, 1)

        def forward(self, x: torch.Tensor) -> Any:
            return self.a(x), self.b(x)

    x, model, teacher = torch.randn(5, 3), Two(), Two()
    loss = Distillation([teacher], lambda o, y: o[0].sum(), 0.0, 2.0)(model, (x,), None)
    parts = [distance(p(x), t(x), 2.0) for p, t in ((model.a, teacher.a), (model.b, teacher.b))]
    assert float(loss) == pytest.approx(float(torch.stack(parts).mean()), rel=1e-5)


def test_averaged_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = Average(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(2.0)
    average.update(model)
    decay = 2 / 11  # young averages forget fast
    assert float(average.tensors["weight"]) == pytest.approx(decay * 1 + (1 - decay) * 2)
    with average.applied(model):
        assert float(model.weight) == pytest.approx(2 - decay)
    assert float(model.weight) == 2.0
