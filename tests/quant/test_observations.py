"""What calibrating saw is kept for the next who would see the same, and gives the same ranges."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
from torch import nn

from edgekit.engine.specs import Context
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Quant, Recipe
from edgekit.techniques import ptq

pytestmark = pytest.mark.long

QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)


class Counted:
    """Calibration batches that count how often they are read."""

    def __init__(self) -> None:
        self.reads = 0

    def __iter__(self) -> Iterator[torch.Tensor]:
        self.reads += 1
        generator = torch.Generator().manual_seed(1)
        return iter([torch.randn(2, 3, 12, 12, generator=generator) for _ in range(4)])


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, 2),
        nn.ReLU6(),
        nn.Conv2d(8, 8, 3),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(72, 4),
    ]
    x = torch.randn(1, 3, 12, 12)
    traced = torch.export.export(nn.Sequential(*layers).eval(), (x,))
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(torch.export.export(prepare_graph(traced.module()), (x,)), path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="int8", steps=()), quant=QUANT)


def quantized(candidate: Candidate, work: Path, observed: str = "", bits: int = 7, **options: object):
    work.mkdir()
    batches = Counted()
    given = msgspec.structs.replace(candidate, quant=msgspec.structs.replace(QUANT, weight_bits=bits))
    task = SimpleNamespace(calibration=batches, training=None)
    done = ptq.apply(given, task, ptq.Options(**options), Context(work=str(work), observed=observed))
    program = programs.load(done.program)
    return batches.reads, str(program.graph), program.state_dict, done.figures


@pytest.mark.parametrize("estimator", ["mse", "minmax", "moving_average"])
def test_other_weights_take_what_was_observed_and_become_the_same(
    candidate, tmp_path, estimator: str
) -> None:
    kept = str(tmp_path / "observed")
    quantized(candidate, tmp_path / "first", kept, estimator=estimator)
    reads, graph, weights, figures = quantized(
        candidate, tmp_path / "second", kept, bits=8, estimator=estimator
    )
    alone = quantized(candidate, tmp_path / "alone", bits=8, estimator=estimator)
    assert (reads, alone[0]) == (1, 2)  # the samples that judge are read, those that calibrate are not
    assert graph == alone[1]
    assert all(torch.equal(value, alone[2][name]) for name, value in weights.items())
    assert [f for f in figures if f.name != "seconds"] == [f for f in alone[3] if f.name != "seconds"]


def test_what_is_observed_otherwise_is_observed_anew(candidate, tmp_path) -> None:
    kept = str(tmp_path / "observed")
    for number, options in enumerate(({}, {"batches": 2}, {"bias_correction": "off"}, {"skip": "conv2d"})):
        assert quantized(candidate, tmp_path / str(number), kept, **options)[0] == 2


def test_a_damaged_file_is_observed_anew(candidate, tmp_path) -> None:
    kept = tmp_path / "observed"
    _, graph, *_ = quantized(candidate, tmp_path / "first", str(kept))
    (file,) = kept.glob("*.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    reads, again, *_ = quantized(candidate, tmp_path / "second", str(kept))
    assert (reads, again) == (2, graph)
