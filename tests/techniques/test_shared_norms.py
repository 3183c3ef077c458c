"""A convolution that two norms share: integers, tables and teachers keep what the float net computes."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import edgekit as ek
from edgekit.engine.specs import Context
from edgekit.errors import ConversionError
from edgekit.quant import program as programs
from edgekit.quant import proven
from edgekit.records import Candidate, Quant, Recipe
from edgekit.techniques import _teachers, palettize, ptq, qat
from edgekit.trace.model import export

QUANT = Quant(activation_dtype="uint8", weight_bits=8, granularity="per_channel", symmetric_activations=False)
EXAMPLE = (torch.zeros(1, 3, 12, 12),)
PHOTOS = torch.randn(16, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """One convolution, two norms of which the second is three times as large, a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.wide, self.head = nn.Conv2d(8, 64, 3, padding=1), nn.Linear(64, 5)
        for norm, size in ((self.a, 1.0), (self.b, 3.0)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(size, size + 1)
            norm.bias.data.normal_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = torch.relu(self.a(self.conv(x)))
        second = torch.relu(self.b(self.conv(F.avg_pool2d(x, 3, 1, 1))))
        return self.head(torch.relu(self.wide(first) + self.wide(second)).mean((2, 3)))


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(export(Net().eval(), EXAMPLE), path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="int8", steps=()), quant=QUANT)


def snr_db(candidate: Candidate, done: Candidate) -> float:
    """The signal-to-noise ratio of the answers to the photos, against those of the float program."""
    runs = [programs.load(c.program).module() for c in (candidate, done)]
    float_, other = (torch.cat([run(x[None]) for x in PHOTOS]) for run in runs)
    return proven.snr_db(float_, other)


def task(**more: Any) -> Any:
    return SimpleNamespace(
        name="t",
        calibration=[PHOTOS],
        training=None,
        metric=lambda predict: float(np.abs(predict(PHOTOS.numpy())).mean()),
        **more,
    )


@pytest.mark.parametrize("equalize", ["off", "on"])
def test_integers_keep_both_norms_and_the_figure_is_the_real_one(
    candidate, tmp_path: Path, equalize: str
) -> None:
    done = ptq.apply(candidate, task(), ptq.Options(equalize=equalize), Context(work=str(tmp_path)))
    claimed = next(figure.value for figure in done.figures if figure.name == "output SNR")
    assert snr_db(candidate, done) > 35
    assert abs(claimed - snr_db(candidate, done)) < 3


def test_training_starts_from_both_norms(candidate, tmp_path: Path) -> None:
    labels = programs.load(candidate.program).module()(PHOTOS[:1]).argmax(1)
    given = SimpleNamespace(
        **{**vars(task()), "training": ek.Training(batches=[(PHOTOS[:1], labels)], loss=F.cross_entropy)}
    )
    options = qat.Options(images=1, learning_rate=1e-6)
    assert snr_db(candidate, qat.apply(candidate, given, options, Context(work=str(tmp_path)))) > 35


def test_a_graph_that_was_folded_wrongly_is_refused(candidate, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("edgekit.quant.fold.own_tensors", lambda graph: None)
    with pytest.raises(ConversionError, match="folding batch norms changed what the model computes"):
        ptq.apply(candidate, task(), ptq.Options(), Context(work=str(tmp_path)))


def test_tables_and_teachers_keep_both_norms(candidate, tmp_path: Path) -> None:
    before = proven.reference(programs.load(candidate.program).module(), EXAMPLE)
    assert before.difference(_teachers.teacher(candidate).eval()) == ""
    done = palettize.apply(candidate, task(), palettize.Options(bits=8), Context(work=str(tmp_path)))
    assert snr_db(candidate, done) > 30
