"""The technique from file to file, and the two that only mark a precision."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from edgekit.compress import float32, fp16, ptq
from edgekit.errors import TaskError, UserError
from edgekit.quant import program as programs
from edgekit.quant.prepare import prepare_graph
from edgekit.records import Candidate, Quant, Recipe
from edgekit.specs import Context

QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(8)
    with torch.no_grad():
        norm.train()(torch.randn(8, 8, 4, 4) * 2)
    layers = [nn.Conv2d(3, 8, 3, 2), norm, nn.ReLU6(), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.Linear(72, 4)]
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def candidate(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    x = torch.randn(1, 3, 12, 12)
    program = torch.export.export(prepare_graph(torch.export.export(model, (x,)).module()), (x,))
    path = tmp_path_factory.mktemp("float") / "program.pt2"
    programs.save(program, path)
    return Candidate(program=str(path), recipe=Recipe(name="t", precision="int8", steps=()), quant=QUANT)


def batches(count: int, size: int = 1) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, 3, 12, 12, generator=generator) for _ in range(count)]


def apply(candidate: Candidate, calibration: Any, work: Path, **options: Any) -> Candidate:
    task = SimpleNamespace(calibration=calibration, training=None)
    return ptq.apply(candidate, task, ptq.Options(**options), Context(work=str(work)))


def figures(candidate: Candidate) -> dict[str, float]:
    return {figure.name: figure.value for figure in candidate.figures}


@pytest.mark.parametrize("estimator", ["mse", "minmax", "percentile", "entropy", "moving_average"])
def test_a_float_program_becomes_a_quantized_one(candidate, model, tmp_path, estimator: str) -> None:
    done = apply(candidate, batches(6, 2), tmp_path, estimator=estimator, batches=4)
    found = figures(done)
    assert done.program == str(tmp_path / "program.pt2") and Path(candidate.program).is_file()
    assert (found["calibration batches"], found["calibration runs"]) == (4, 8)
    assert (found["layers quantized"], found["layers left float"]) == (3, 0)
    assert {figure.unit for figure in done.figures} == {"count", "s"} and found["seconds"] > 0
    x = torch.cat(batches(16))
    graph_module = programs.load(done.program).module()
    got = torch.cat([graph_module(row[None]) for row in x])
    with torch.no_grad():
        noise = (got - model(x)).square().mean() / model(x).square().mean()
    assert float(noise) < (
        0.2 if estimator == "moving_average" else 10**-2
    )  # the average lags behind eight inputs


def test_weights_are_saved_unfolded(candidate, tmp_path) -> None:
    program = programs.load(apply(candidate, batches(1), tmp_path).program)
    weights = [t for t in program.state_dict.values() if t.dim() > 1]
    assert weights and all(t.dtype == torch.float32 for t in weights)
    assert programs.is_quantized(program)


def test_the_same_calibration_gives_the_same_numbers(candidate, tmp_path) -> None:
    x = batches(1)[0]
    both = [programs.load(apply(candidate, batches(3), tmp_path / n).program).module()(x) for n in ("a", "b")]
    assert torch.equal(*both)


def test_skipped_layers_are_counted_as_float(candidate, tmp_path) -> None:
    found = figures(apply(candidate, batches(1), tmp_path, skip="0, 5"))
    assert (found["layers quantized"], found["layers left float"]) == (1, 2)


def test_nothing_to_quantize_is_a_doubt(candidate, tmp_path) -> None:
    done = apply(candidate, batches(1), tmp_path, skip="0,3,5")
    assert "no layer was quantized" in done.doubts[0]


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        ([], "yields no batch"),
        (None, "yields no batch"),
        ([torch.zeros(1, 3, 12, 12), torch.zeros(1, 3, 9, 9)], r"batch 1 has shape \[1, 3, 9, 9\]"),
        ([torch.full((1, 3, 12, 12), torch.nan)], "batch 0 holds NaN"),
    ],
)
def test_calibration_errors_leave_no_file(candidate, tmp_path, calibration, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        apply(candidate, calibration, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_option_errors(candidate, tmp_path) -> None:
    with pytest.raises(UserError, match="batches is 0; it must be at least 1"):
        ptq.Options(batches=0)
    with pytest.raises(UserError, match="allowed are entropy, minmax, moving_average, mse, percentile"):
        apply(candidate, batches(1), tmp_path, estimator="histogram")
    with pytest.raises(UserError, match=r"needs a target with a \[quant\] table"):
        apply(msgspec.structs.replace(candidate, quant=None), batches(1), tmp_path)


@pytest.mark.parametrize(("technique", "bits"), [(fp16, 16), (float32, 32)])
def test_marking_a_precision_changes_no_program(candidate, tmp_path, technique, bits: int) -> None:
    done = technique.apply(candidate, None, technique.Options(), Context(work=str(tmp_path)))
    assert (done.program, figures(done), done.quant) == (candidate.program, {"bits per weight": bits}, None)
    assert list(tmp_path.iterdir()) == []
