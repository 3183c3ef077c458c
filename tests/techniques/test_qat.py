"""Quantization-aware training of a small net on real digits: 2-bit weights, where post-training quantization fails."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from digits_data import (
    IMAGES,
    LABELS,
    TEST,
    TRAIN,
    Batches,
    candidate_of,
    figures,
    metric,
    task_of,
    taught,
    top1,
)
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import Diverged, TaskError, UserError
from edgekit.quant import program as programs
from edgekit.records import Candidate, Quant
from edgekit.techniques import ptq, qat
from edgekit.techniques._score import predictor

pytestmark = pytest.mark.long

HARD = Quant(activation_dtype="uint8", weight_bits=2, granularity="per_channel", symmetric_activations=False)
EASY = Quant(activation_dtype="int8", weight_bits=8, granularity="per_channel", symmetric_activations=False)


class Net(nn.Module):
    """With what training must switch: a norm behind a convolution, one before a relu, dropout, a view of fixed shape."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU())
        self.deep = nn.Sequential(
            nn.Conv2d(12, 12, 3, groups=12), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 1)
        )
        self.norm = nn.BatchNorm2d(24)
        self.drop, self.head = nn.Dropout(0.1), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(F.relu(self.deep(self.first(x)))))
        x = F.adaptive_avg_pool2d(x, 1)
        return self.head(self.drop(x.view(x.shape[0], -1)))


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return taught(Net())


@pytest.fixture(scope="module")
def candidate(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    return candidate_of(model, path, precision="int8", quant=HARD)


def task(**changed: Any) -> ek.Task:
    return task_of(Net, **{"calibration": [IMAGES[TRAIN[:64]]], **changed})


def apply(
    candidate: Candidate, work: Path, the_task: ek.Task | None = None, seed: int = 0, **options: Any
) -> Candidate:
    chosen = qat.Options(**{"images": 640, **options})
    return qat.apply(candidate, the_task or task(), chosen, Context(work=str(work), seed=seed))


def test_it_wins_back_what_rounding_lost(candidate, model, tmp_path) -> None:
    before = ptq.apply(candidate, task(), ptq.Options(), Context(work=str(tmp_path / "ptq")))
    with torch.no_grad():
        top = top1(predictor(model, 600))
    done = apply(candidate, tmp_path, images=6400, learning_rate=1e-3)
    lost, left = top - metric(before), top - metric(done)
    assert top > 0.9 and lost > 0.05, (top, lost)
    assert left < 0.4 * lost, (lost, left)
    found = figures(done)
    assert done.program == str(tmp_path / "program.pt2") and not (tmp_path / "checkpoint").exists()
    assert (found["layers quantized"], found["layers left float"]) == (4, 0)
    assert (
        found["images trained"] == pytest.approx(6400, abs=32)
        and found["loss at last"] < found["loss at first"]
    )
    assert {figure.step for figure in done.figures} == {"qat"}
    assert abs(found["conversion gap"]) <= 0.004 and found["metric converted"] == pytest.approx(
        metric(done), abs=0.004
    )


def test_the_converted_program_rounds_as_the_trained_one_did(candidate, tmp_path) -> None:
    """Batch norms were folded before: nothing is left to differ but the order of sums."""
    done = apply(msgspec.structs.replace(candidate, quant=EASY), tmp_path, images=320, learning_rate=1e-3)
    assert abs(figures(done)["conversion gap"]) <= 2 / len(TEST)
    program = programs.load(done.program)
    weights = [t for t in program.state_dict.values() if t.dim() > 1]
    assert weights and all(t.dtype == torch.float32 for t in weights) and programs.is_quantized(program)


def test_the_same_seed_gives_the_same_program(candidate, tmp_path) -> None:
    x = IMAGES[TEST[:1]]
    runs = [
        programs.load(
            apply(candidate, tmp_path / n, images=320, learning_rate=1e-3, seed=s).program
        ).module()(x)
        for n, s in (("a", 0), ("b", 0), ("c", 1))
    ]
    assert torch.equal(runs[0], runs[1]) and not torch.equal(runs[0], runs[2])


def test_a_killed_stage_goes_on(candidate, tmp_path, monkeypatch) -> None:
    calls = 0
    original = qat._Schedule.__call__

    def kill(self: Any, progress: float) -> None:
        nonlocal calls
        calls += 1
        if calls == 8:
            raise KeyboardInterrupt
        original(self, progress)

    whole = apply(candidate, tmp_path / "a", images=320, learning_rate=1e-3)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(qat._Schedule, "__call__", kill)
        apply(candidate, tmp_path / "b", images=320, learning_rate=1e-3)
    assert list((tmp_path / "b" / "checkpoint").glob("step-*"))
    resumed = apply(candidate, tmp_path / "b", images=320, learning_rate=1e-3)
    x = IMAGES[TEST[:1]]
    assert torch.equal(*(programs.load(c.program).module()(x) for c in (whole, resumed)))


def test_its_own_program_is_trained_and_not_the_users_model(candidate, tmp_path) -> None:
    """After a step that changed the net, the net as it then is."""
    wrong = task(model=lambda: nn.Linear(2, 2))
    easy = msgspec.structs.replace(candidate, quant=EASY)
    assert figures(apply(easy, tmp_path, wrong, images=64, learning_rate=1e-4))["metric converted"] > 0.9


def test_what_it_cannot_do(candidate, tmp_path) -> None:
    with pytest.raises(TaskError, match="'digits' has no training data; qat needs"):
        apply(candidate, tmp_path, task(training=None))
    bad = ek.Training(batches=[(IMAGES[:4], LABELS[:4] + 20)], loss=F.cross_entropy)
    with pytest.raises(TaskError, match="the model has 10 outputs"):
        apply(candidate, tmp_path, task(training=bad))
    with pytest.raises(UserError, match="alpha is 2; allowed: at least 0, at most 1"):
        qat.Options(alpha=2)
    with pytest.raises(UserError, match="temperature is 0; allowed: above 0"):
        qat.Options(temperature=0)
    nans = ek.Training(batches=Batches(), loss=lambda o, y: F.cross_entropy(o, y) * float("nan"))
    with pytest.raises(Diverged, match="loss became nan"):
        apply(candidate, tmp_path, task(training=nans), learning_rate=1e-3)
    assert not (tmp_path / "program.pt2").exists()
