"""Mixed precision and half precision with islands, on nets whose trouble is known."""

import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from edgekit.engine.specs import Context, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.errors import BudgetError, NotApplicable, UserError
from edgekit.quant import program as programs
from edgekit.quant.integer_regions import IntegerRegions, Layer
from edgekit.quant.knapsack import Choice, Costs
from edgekit.quant.layer_counts import count_layers
from edgekit.quant.layer_sensitivity import Sensitivity
from edgekit.records import Budget, Candidate, LayerTime, LayerTimes, Quant, Recipe, Traced
from edgekit.task import Task
from edgekit.techniques import _mixed_reasons, mixed, mixed_half, ptq
from edgekit.techniques.mixed import Options
from edgekit.trace.metric import score
from edgekit.trace.stage import trace

pytestmark = pytest.mark.long

PLANTED = str(Path(__file__).parents[1] / "task_files" / "planted.py")
MOST = 0.3  # the net tells its classes apart by little: plain rounding costs it a quarter
QUANT = Quant(activation_dtype="uint8", weight_bits=7, granularity="per_channel", symmetric_activations=False)


def traced(name: str, folder: Path) -> tuple[Task, Traced]:
    source = TaskSource(name=name, reference=f"{PLANTED}:{name}")
    return source.load(), trace(TraceSpec(source=source, work=str(folder)))


@pytest.fixture(scope="module")
def outlier(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Traced]:
    return traced("outlier", tmp_path_factory.mktemp("outlier"))


@pytest.fixture(scope="module")
def overflow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Task, Traced]:
    return traced("overflow", tmp_path_factory.mktemp("overflow"))


def start(found: Traced, precision: Any = "int8") -> Candidate:
    recipe = Recipe(name="t", precision=precision, steps=())
    return Candidate(program=found.program, recipe=recipe, quant=QUANT if precision == "int8" else None)


def metric_of(task: Task, candidate: Candidate) -> float:
    module = programs.load(candidate.program).module()

    def predict(images: Any) -> Any:
        with torch.no_grad():
            return torch.cat([module(torch.from_numpy(image[None])) for image in images]).numpy()

    return score(task, predict)


@pytest.fixture(scope="module")
def done(outlier: tuple[Task, Traced], tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    task, found = outlier
    context = Context(work=str(tmp_path_factory.mktemp("mixed")), traced=found, budget=Budget(max_drop=MOST))
    return mixed.apply(start(found), task, Options(), context)


def test_ptq_fails_and_mixed_meets_the_budget(
    outlier: tuple[Task, Traced], done: Candidate, tmp_path: Path
) -> None:
    task, found = outlier
    plain = ptq.apply(start(found), task, ptq.Options(), Context(work=str(tmp_path)))
    assert metric_of(task, plain) < found.metric - 2 * MOST
    assert metric_of(task, done) >= found.metric - MOST


def test_only_the_planted_layers_stay_float_and_the_record_says_why(done: Candidate) -> None:
    assert {row.origin for row in done.float_layers} == {"spread (Conv2d)", "gather (Conv2d)"}
    assert sum(row.macs_ratio or 1 for row in done.float_layers) < 0.1
    assert all("leaves an SNR of" in row.reason and "n=8 samples" in row.reason for row in done.float_layers)
    quantized, left = count_layers(programs.load(done.program).module())
    assert (quantized, len(left)) == (4, 2)


def test_every_layer_is_told_with_its_noise(done: Candidate) -> None:
    loudest = max(done.layers, key=lambda row: row.noise_ratio or 0.0)
    assert len(done.layers) == 6 and loudest.origin in {"spread (Conv2d)", "gather (Conv2d)"}
    assert {row.origin for row in done.layers if row.is_float} == {row.origin for row in done.float_layers}
    assert all(row.int8_s is None and row.macs and row.weights for row in done.layers)


def test_an_estimate_is_called_one(done: Candidate) -> None:
    assert any("not by measured time" in doubt for doubt in done.doubts)
    figures = {figure.name: figure for figure in done.figures}
    assert figures["predicted cost of float"].unit == mixed.ESTIMATED
    assert figures["noise predicted"].value < figures["noise of all integers"].value - 5


def test_a_budget_that_no_set_meets(outlier: tuple[Task, Traced], tmp_path: Path) -> None:
    task, found = outlier
    impossible = Traced(**{f: getattr(found, f) for f in found.__struct_fields__} | {"metric": 1.5})
    context = Context(work=str(tmp_path), traced=impossible, budget=Budget(max_drop=0.0))
    with pytest.raises(BudgetError, match=r"no set of float layers meets the budget: the best keeps \d of 6"):
        mixed.apply(start(found), task, Options(), context)


def test_options_out_of_range() -> None:
    with pytest.raises(UserError, match=r"share is 1\.5; allowed: at least 0, at most 1"):
        Options(share=1.5)
    with pytest.raises(UserError, match=r"headroom is 0\.5; allowed: at least 1"):
        mixed_half.Options(headroom=0.5)


LAYERS = tuple(
    Layer(name=f"conv2d_{i}", module=f"m{i}", origin=f"m{i} (Conv2d)", weight=f"w{i}", macs=100, weights=9)
    for i in range(3)
)
NET = IntegerRegions(layers=LAYERS, tensors=())
SENSITIVITY = Sensitivity(
    weights={"conv2d_0": 0.1, "conv2d_1": 0.01, "conv2d_2": 0.001}, tensors=(), samples=4
)


def times(*pairs: tuple[float, float]) -> LayerTimes:
    rows = tuple(LayerTime(name=f"conv2d_{i}", int8_s=a, float_s=b) for i, (a, b) in enumerate(pairs))
    return LayerTimes(layers=rows, border_s_per_element=1e-9, runs=1, measured_on="x86_64 avx2")


def test_measured_seconds_are_the_costs_where_there_are_any() -> None:
    costs = mixed.costs_of(NET, times((3.0, 1.0), (1.0, 4.0), (1.0, 2.0)))
    assert costs == Costs(
        layers={"conv2d_0": -2.0, "conv2d_1": 3.0, "conv2d_2": 1.0}, border_per_element=1e-9, unit="s"
    )
    assert mixed.costs_of(NET, times((1.0, 1.0))).unit == mixed.ESTIMATED, "a layer is missing"


def test_an_estimate_counts_the_weights_that_stay_large() -> None:
    last = msgspec.structs.replace(LAYERS[2], weights=982)
    costs = mixed.costs_of(IntegerRegions(layers=(*LAYERS[:2], last), tensors=()), None)
    assert math.isclose(costs.layers["conv2d_0"], 1 / 3 + 0.009)
    assert math.isclose(costs.layers["conv2d_2"], 1 / 3 + 0.982)


def test_the_loosest_choice_that_the_metric_confirms() -> None:

    def judge(choice: Choice) -> float:
        return {0: 0.5, 1: 0.9, 2: 0.99, 3: 1.0}[len(choice.float_layers)]

    costs = mixed.costs_of(NET, times((1.0, 2.0), (1.0, 3.0), (1.0, 9.0)))
    assert mixed.choose(NET, SENSITIVITY, costs, judge, 0.8)[0].float_layers == ("conv2d_0",)
    assert mixed.choose(NET, SENSITIVITY, costs, judge, 0.95)[0].float_layers == ("conv2d_0", "conv2d_1")


def test_a_net_that_is_faster_in_float_as_a_whole() -> None:
    costs = mixed.costs_of(NET, times((2.0, 1.0), (3.0, 1.0), (9.0, 1.0)))
    with pytest.raises(NotApplicable, match="no layer gains from being float, or all do"):
        mixed.choose(NET, SENSITIVITY, costs, lambda _: 1.0, 0.5)


def test_a_layer_that_is_faster_in_float_says_so() -> None:
    measured = times((300e-6, 100e-6), (1e-6, 2e-6), (1e-6, 2e-6))
    costs = mixed.costs_of(NET, measured)
    choice, _ = mixed.choose(NET, SENSITIVITY, costs, lambda _: 1.0, 0.5)
    (row,) = _mixed_reasons.reasons(NET, SENSITIVITY, choice, measured)
    assert row.origin == "m0 (Conv2d)" and math.isclose(row.macs_ratio or 0, 1 / 3)
    assert "float is faster: 100 against 300 us (profiler, x86_64 avx2)" in row.reason


def test_what_float16_cannot_hold_stays_float32(overflow: tuple[Task, Traced], tmp_path: Path) -> None:
    task, found = overflow
    context = Context(work=str(tmp_path), traced=found, budget=Budget(max_drop=0.05))
    done = mixed_half.apply(start(found, "float16"), task, mixed_half.Options(), context)
    assert {row.origin for row in done.float_layers} == {"spread (Conv2d)", "gather (Conv2d)"}
    assert any("beyond float16's 65504" in row.reason for row in done.float_layers)
    assert sum(row.macs_ratio or 0 for row in done.float_layers) < 0.1


def test_a_model_that_float16_holds_needs_no_island(tmp_path: Path) -> None:
    task, found = traced("plain", tmp_path)
    context = Context(work=str(tmp_path), traced=found, budget=Budget(max_drop=0.5))
    with pytest.raises(NotApplicable, match="this is plain fp16"):
        mixed_half.apply(start(found, "float16"), task, mixed_half.Options(), context)
