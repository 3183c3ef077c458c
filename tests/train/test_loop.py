"""One process: what is learned, kept, resumed and refused."""

import copy
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from train_nets import Clouds, net, training

from edgekit.errors import Diverged, TaskError, UserError
from edgekit.task import Training
from edgekit.train import checkpoint
from edgekit.train.history import Trained
from edgekit.train.loop import fit
from edgekit.train.settings import Options

pytestmark = pytest.mark.long

BASE = Options(images=640, learning_rate=1e-2, checks=4)


def options(**changed: Any) -> Options:
    return msgspec.structs.replace(BASE, **changed)


def run(
    changed: dict[str, Any] | None = None, model: nn.Module | None = None, **more: Any
) -> tuple[nn.Module, Trained]:
    model = net() if model is None else model
    return model, fit(model, more.pop("training", None) or training(), options(**(changed or {})), **more)


def same(first: nn.Module, second: nn.Module) -> bool:
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_within_its_budget() -> None:
    model, done = run()
    assert (done.steps, done.images, done.epochs, done.processes) == (40, 640, 5, 1)
    assert len(done.losses) == 40 and [c.step for c in done.checks] == [10, 20, 30, 40]
    assert done.losses[-1] < 0.3 * done.losses[0] and not model.training
    assert done.checks[-1].loss == pytest.approx(sum(done.losses[30:]) / 10)


def test_steps_are_a_budget_too() -> None:
    assert run({"steps": 7})[1].steps == 7


def test_the_same_seed_gives_the_same_weights() -> None:
    torch.manual_seed(5)
    first = run(model=net(0.2))
    torch.manual_seed(6)
    second = run(model=net(0.2))
    assert same(first[0], second[0]) and first[1].losses == second[1].losses
    assert not same(first[0], run({"seed": 1}, model=net(0.2))[0])


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    "at", [pytest.param(3, marks=pytest.mark.slow), 11, pytest.param(25, marks=pytest.mark.slow), 39]
)
@pytest.mark.parametrize(
    "changed", [{}, {"ema": 0.9, "accumulate": 2, "optimizer": "sgd"}], ids=["plain", "ema"]
)
def test_killed_anywhere_it_ends_with_the_same_weights(
    tmp_path: Path, at: int, changed: dict[str, Any]
) -> None:
    changed = {"learning_rate": 0.0, **changed, "images": 640 * changed.get("accumulate", 1)}
    whole, undisturbed = run(changed, net(0.2, norm=True))
    calls = 0

    def kill(progress: float) -> None:
        nonlocal calls
        calls += 1
        if calls == at + 1:
            raise Killed

    with pytest.raises(Killed):
        run(changed, net(0.2, norm=True), on_step=kill, folder=tmp_path)
    resumed, done = run(changed, net(0.2, norm=True), folder=tmp_path)
    assert same(whole, resumed) and done.losses == undisturbed.losses
    assert done.resumed_at == (at // 10) * 10 and done.learning_rate == undisturbed.learning_rate
    assert done.checks == undisturbed.checks


def test_a_finished_training_is_not_run_again(tmp_path: Path) -> None:
    first = run(folder=tmp_path)
    again, done = run(folder=tmp_path)
    assert same(first[0], again) and done.resumed_at == done.steps == 40


def test_accumulated_batches_are_one_batch() -> None:
    small = training(Clouds(8, 8, draws=False))
    done = run({"accumulate": 2, "clip_norm": 0.0}, training=small)[1]

    class Pairs:
        def __iter__(self) -> Any:
            batches = iter(small.batches)
            for one, two in zip(batches, batches, strict=True):
                yield tuple(torch.cat(parts) for parts in zip(one, two, strict=True))

    twice = run({"clip_norm": 0.0}, training=training(Pairs()))[1]
    assert done.steps == twice.steps == 40
    assert done.losses == pytest.approx(twice.losses, rel=1e-4)


def test_the_average_is_the_result() -> None:
    plain, averaged = run()[0], run({"ema": 0.9})[0]
    assert not same(plain, averaged)
    with torch.no_grad():
        x, y = next(iter(Clouds(1, 256)))
        assert F.cross_entropy(averaged(x), y) < 0.5


def test_the_best_is_kept_and_no_gain_ends_it() -> None:
    scores = iter([0.1, 0.9, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.1])
    seen = []

    def validate(model: nn.Module) -> float:
        assert not model.training
        seen.append(copy.deepcopy(model))
        return next(scores)

    model, done = run({"checks": 10, "patience": 3}, validate=validate)
    assert done.stopped_early and len(done.checks) == 5
    assert done.best == done.checks[1] and done.best.metric == 0.9
    assert same(model, seen[1])


def test_a_rate_that_is_found() -> None:
    done = run({"learning_rate": 0.0})[1]
    assert f"{done.learning_rate:g}" in done.probe and len(done.probe) == 6
    assert done.probe[f"{done.learning_rate:g}"] <= 1.05 * min(done.probe.values())
    assert done.losses[-1] < 0.5 * done.losses[0]


def test_the_probe_leaves_the_model_alone() -> None:
    before = net()
    again = copy.deepcopy(before)
    run({"learning_rate": 0.0, "steps": 1, "warmup": 1.0}, before)
    assert not same(before, again)  # one step
    assert (
        max(
            float((a - b).detach().abs().max())
            for a, b in zip(before.parameters(), again.parameters(), strict=True)
        )
        < 1e-3
    )


def test_half_precision_arithmetic() -> None:
    model, done = run({"precision": "bfloat16"})
    assert done.losses[-1] < 0.5 * done.losses[0] and done.losses != run()[1].losses
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert "forward" not in vars(model), "accelerate's wrapper is taken off again"


# -- what goes wrong


@pytest.mark.parametrize("folder", [True, False])
def test_a_loss_that_diverges_keeps_the_best(tmp_path: Path, folder: bool) -> None:
    calls = 0

    def breaks(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return F.cross_entropy(outputs, labels) * (math.nan if calls > 26 else 1.0)

    model, place = net(), tmp_path / "c" if folder else None
    with pytest.raises(
        Diverged, match=r"loss became nan after 25 steps at learning rate .* weights of step 20"
    ) as caught:
        run(model=model, training=training(loss=breaks), folder=place)
    assert caught.value.exit_code == 1
    reference = net()
    run({"steps": 20, "images": 640}, reference)  # another cosine: only the numbers must be finite
    assert all(torch.isfinite(p).all() for p in model.parameters())
    if place is not None:
        assert "best.safetensors" in str(caught.value)
        kept = checkpoint.read(place, "best.safetensors")
        assert kept is not None and all(torch.equal(v, model.state_dict()[k]) for k, v in kept.items())


def test_a_gradient_that_diverges() -> None:
    def steep(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(outputs, labels) + (outputs[0, 0] - outputs[0, 0].detach()).abs().sqrt()

    with pytest.raises(Diverged, match="gradient's norm became"):
        run(training=training(loss=steep))


class Bad:
    """One batch that is what the test says."""

    def __init__(self, *batches: Any) -> None:
        self.batches = batches

    def __iter__(self) -> Any:
        return iter(self.batches)


X, Y = torch.zeros(4, 8), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (Bad((X, Y + 1)), "labels are 1 to 4; the model has 4 outputs, so that 0 to 3 are allowed"),
        (Bad((X, Y.float())), "training loss, given outputs .4, 4. float32 and labels .4. float32, raised"),
        (Bad((X, Y[:3])), r"holds 4 inputs and labels for \[3, 4\] samples"),
        (Bad((torch.zeros(4, 9), Y)), r"cannot take the inputs of training batch 0 \(\[4, 9\] float32\)"),
        (Bad(X), "training batch 0 is a Tensor; a training batch is a pair"),
        (Bad((X, Y, Y)), "training batch 0 is a tuple of 3"),
        (Bad(("a", Y)), "inputs of str"),
        (Bad(), "training yields no batch"),
        (iter([(X, Y)]), "one-shot iterator"),
    ],
)
def test_data_that_does_not_fit_is_named_before_the_first_step(batches: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        run(training=training(batches))


def test_a_loss_that_is_no_number() -> None:
    with pytest.raises(TaskError, match=r"returned a tensor \[16\] .* must return one number"):
        run(training=training(loss=lambda o, y: F.cross_entropy(o, y, reduction="none")))


def test_batches_that_raise() -> None:
    class Raises:
        def __iter__(self) -> Any:
            yield X, Y
            raise OSError("no such photo")

    with pytest.raises(TaskError, match=r"training batches raised OSError: no such photo \(test_loop.py"):
        run(training=training(Raises()))


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    run({"steps": 5}, folder=tmp_path)
    with pytest.raises(
        UserError, match=r"is of another model: for '4.bias' it holds \[4\], this model has \[5\]"
    ):
        run({"steps": 5}, net(classes=5), folder=tmp_path)
    with pytest.raises(UserError, match="was made with seed=0, now 1"):
        run({"steps": 5, "seed": 1}, folder=tmp_path)
    with pytest.raises(UserError, match=r"was made with teacher=None, now 'large\.pt2'"):
        run({"steps": 5}, folder=tmp_path, belongs={"teacher": "large.pt2"})
    (place,) = tmp_path.glob("step-*")
    (place / "optimizer.pt").write_bytes(b"not one")
    with pytest.raises(UserError, match=r"damaged \(optimizer.pt"):
        run({"steps": 5}, folder=tmp_path)
    (place / "model.safetensors").write_bytes(b"not one")
    with pytest.raises(UserError, match=r"damaged \(model.safetensors"):
        run({"steps": 5}, folder=tmp_path)
    (place / "progress.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        run({"steps": 5}, folder=tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": 0}, "images is 0; allowed: a whole number, at least 1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; allowed: at least 0"),
        ({"warmup": 2.0}, "warmup is 2.0; allowed: at least 0, at most 1"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"precision": "float16"}, "float16, which CPUs do not train in"),
        ({"strategy": "fsdp"}, "fsdp, but this is one process"),
    ],
)
def test_options_that_are_none(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fit(net(), training(), Options(**{"device": "cpu", **changed}))


def test_a_task_without_tensors_as_labels() -> None:
    """Labels may be anything that the loss understands."""
    data = Bad((X, {"class": Y}))
    done = run(
        {"steps": 2}, training=Training(batches=data, loss=lambda o, y: F.cross_entropy(o, y["class"]))
    )[1]
    assert done.steps == 2
