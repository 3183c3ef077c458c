"""Metrics and models that work in place: what they are given is theirs, the user's data and what is kept stay as they were."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import edgekit as ek
from edgekit.engine.specs import TraceSpec
from edgekit.errors import TaskError
from edgekit.trace.metric import score as score_of
from edgekit.trace.recorder import Recorder, Replay
from edgekit.trace.stage import trace

RNG = np.random.default_rng(0)
SHAPE = (16, 3, 8, 8)
Change = Callable[[np.ndarray], Any]


def softmax(a: np.ndarray) -> None:
    a -= a.max(1, keepdims=True)
    np.exp(a, out=a)
    a /= a.sum(1, keepdims=True)


METRICS: dict[str, Change] = {
    "softmax": softmax,
    "overwritten": lambda a: a.fill(np.nan),
    "sorted": lambda a: a.sort(1),
    "resized": lambda a: a.resize((1, 1), refcheck=False),
    "clipped": lambda a: np.clip(a, 0, 0.1, out=a),
    "torch": lambda a: torch.from_numpy(a).sigmoid_(),
}


class Net(nn.Module):
    """[N, 3, 8, 8] -> [N, 5], with something in front."""

    def __init__(self, first: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = first
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.conv(self.first(x))).mean((2, 3)))


MODELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "plain": lambda x: x,
    "relu": nn.ReLU(inplace=True),
    "normalized": lambda x: x.sub_(0.5).div_(0.25),
    "clamped": lambda x: x.clamp_(-1, 1),
    "a channel": lambda x: x[:, :1].mul_(0) + x,
}


def traced(tmp_path: Path, first: str, metric: Change) -> Any:
    """The trace of a net; the images, the calibration and the examples are the user's."""
    images = RNG.standard_normal(SHAPE).astype(np.float32)
    example, tensor = torch.randn(1, *SHAPE[1:]), torch.randn(4, *SHAPE[1:])
    model = Net(MODELS[first])
    with torch.no_grad():
        right = model.eval()(torch.from_numpy(images.copy())).argmax(1).numpy()
    calls = []

    def score(predict: Callable[..., Any]) -> float:
        answer = predict(images)
        found = float((answer.argmax(1) == right).mean())
        metric(answer)
        calls.append(found)
        return found

    mine = [images, example.numpy(), tensor.numpy()]
    before = [array.copy() for array in mine]
    task = ek.Task(
        name="mine", model=model, example_inputs=(example,), calibration=[images[:8], tensor], metric=score
    )
    (tmp_path / "work").mkdir()
    source: Any = SimpleNamespace(load=lambda: task)
    found = trace(TraceSpec(source=source, work=str(tmp_path / "work")))
    for array, kept in zip(mine, before, strict=True):
        np.testing.assert_array_equal(array, kept)
    assert calls[0] == calls[1] == 1.0, "the model as it is, and what was kept of it"
    with np.load(found.predictions) as kept, torch.no_grad():
        answers = model(torch.from_numpy(images.copy())).numpy()
        np.testing.assert_allclose(kept[kept.files[0]], answers, rtol=1e-5, atol=1e-6)
    return found


@pytest.mark.parametrize("first", [name for name in MODELS if name != "plain"])
def test_a_model_that_writes_into_its_input(tmp_path: Path, first: str) -> None:
    found = traced(tmp_path, first, softmax)
    assert not [doubt for doubt in found.doubts if "deterministic" in doubt]


def test_a_metric_that_writes_into_the_answer(tmp_path: Path) -> None:
    found = traced(tmp_path, "plain", softmax)
    assert not [doubt for doubt in found.doubts if "deterministic" in doubt]


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("outputs", [1, 2])
def test_what_is_kept_stays_whatever_a_metric_does_with_its_copy(name: str, outputs: int) -> None:
    right = [RNG.standard_normal((6, 5)).astype(np.float32) for _ in range(outputs)]
    recorder = Recorder(lambda _: [a.copy() for a in right])
    question = RNG.standard_normal((6, 3)).astype(np.float32)
    for predict in (recorder, Replay(recorder), Replay(recorder)):
        answer = predict(question)
        for given, expected in zip([answer] if outputs == 1 else answer, right, strict=True):
            np.testing.assert_array_equal(given, expected)
            METRICS[name](given)
    assert [a.tolist() for a in next(iter(recorder.answers().values()))] == [a.tolist() for a in right]


@pytest.mark.parametrize("value", [10**400, -(10**400)])
def test_a_whole_number_beyond_all_floats_is_no_metric(value: int) -> None:
    task = ek.Task(
        name="mine", model=nn.Identity(), example_inputs=(torch.zeros(1, 2),), metric=lambda predict: value
    )
    with pytest.raises(TaskError, match="it must be a finite number"):
        score_of(task, lambda *_: None)
