"""Rounding by second moments: better than nearest by its own measure, exact in the file, and no worse than its maths."""

import copy
from itertools import product

import pytest
import torch
from quant_nets import build, quant, traced
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.quant import bias, least_squares, patches, rounding, tensors
from edgekit.quant import program as programs
from edgekit.quant.calibrate import calibrate
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.simulate import Simulation, answers, snr_db

LAYERS = {
    "pointwise": (lambda: nn.Conv2d(6, 8, 1), (2, 6, 5, 5)),
    "strided": (lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1), (2, 6, 9, 9)),
    "dilated groups": (lambda: nn.Conv2d(6, 8, 3, groups=2, dilation=2, padding=(2, 1)), (2, 6, 9, 9)),
    "depthwise": (lambda: nn.Conv2d(6, 12, 3, groups=6), (2, 6, 9, 9)),
    "one dimension": (lambda: nn.Conv1d(6, 8, 3, padding=1, stride=2), (2, 6, 9)),
    "linear": (lambda: nn.Linear(6, 8), (4, 6)),
    "linear of a sequence": (lambda: nn.Linear(6, 8), (2, 7, 6)),
}


def prepared(
    model: nn.Module, samples: list[torch.Tensor], bits: int = 4, **choices: str
) -> torch.fx.GraphModule:
    quantizer = ProfileQuantizer(quant(bits=bits, **choices), "minmax")
    graph = prepare_pt2e(traced(model, samples[0]).module(), quantizer)
    calibrate(graph, samples, (samples[0],), len(samples))
    return graph


def layers(graph: torch.fx.GraphModule) -> list[torch.fx.Node]:
    return rounding.roundable(graph)


@pytest.mark.parametrize("name", LAYERS)
def test_patches_times_weights_is_the_layer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    model, x = make(), torch.randn(shape)
    (layer,) = layers(prepared(model, [x]))
    found = patches.patches(layer, x, model.weight.shape)
    rows = model.weight.reshape(found.shape[0], -1, found.shape[1]) @ found + model.bias.view(
        found.shape[0], -1, 1
    )
    outputs = model(x).movedim(-1 if name.startswith("linear") else 1, 0).flatten(1)
    torch.testing.assert_close(rows.flatten(0, 1), outputs)
    monkeypatch.setattr(patches, "POSITIONS", 4)
    few = patches.patches(layer, x, model.weight.shape)
    assert few.shape[:2] == found.shape[:2] and few.shape[2] <= 4 * len(x)
    columns = {tuple(column) for column in found.flatten(0, 1).T.tolist()}
    assert all(tuple(column) in columns for column in few.flatten(0, 1).T.tolist())


def loss(integers: torch.Tensor, target: torch.Tensor, hessian: torch.Tensor) -> float:
    error = integers - target
    return float((error @ hessian @ error.transpose(1, 2)).sum())


def test_gptq_comes_near_the_best_of_all_roundings() -> None:
    torch.manual_seed(0)
    totals = torch.zeros(3)
    for _ in range(30):
        mix = torch.randn(4, 40, dtype=torch.float64) + 2 * torch.randn(1, 40, dtype=torch.float64)
        hessian, target = (mix @ mix.T)[None] / 40, torch.randn(1, 1, 4, dtype=torch.float64) * 2
        ups = [target.floor() + torch.tensor(up).view(1, 1, 4) for up in product((0, 1), repeat=4)]
        tried = [target.round(), least_squares.gptq(target, hessian, -7, 7)]
        best = min(loss(integers, target, hessian) for integers in ups)
        totals += torch.tensor([*(loss(integers, target, hessian) for integers in tried), best])
    nearest, found, best = totals.tolist()
    assert best <= found < 1.2 * best < 0.6 * nearest


def test_gptq_stays_on_the_grid_and_rounds_to_nearest_where_inputs_are_independent() -> None:
    target = torch.tensor([[[0.4, -0.6, 9.9, -9.9]]], dtype=torch.float64)
    found = least_squares.gptq(target, torch.eye(4, dtype=torch.float64)[None], -7, 7)
    assert found.tolist() == [[[0, -1, 7, -7]]]


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
def test_the_output_is_nearer_to_float_on_other_inputs(granularity: str) -> None:
    torch.manual_seed(0)
    model, x = build("residual")
    data = [torch.randn(x.shape).cumsum(2).cumsum(3) / 8 for _ in range(48)]
    graph = prepared(model, data, granularity=granularity)
    fresh = [(sample,) for sample in data[32:]]
    reference = answers(Simulation(graph, rounds=False), fresh)
    nearest = snr_db(reference, answers(Simulation(graph), fresh))
    done = rounding.round_weights(graph, [(sample,) for sample in data[:32]])
    assert done.layers == 3 and 0 < done.changed < done.weights == 3 * 8 * 9 + 8 * 9 + 40
    assert snr_db(reference, answers(Simulation(graph), fresh)) > nearest + 3


def test_the_file_holds_the_chosen_integers(tmp_path) -> None:
    torch.manual_seed(0)
    model, x = build("residual")
    graph = prepared(model, [torch.randn(x.shape) for _ in range(8)])
    rounding.round_weights(graph, [(torch.randn(x.shape),) for _ in range(8)])
    chosen = {}
    for layer in layers(graph):
        observer = tensors.weight_observer(graph, layer.args[1])
        weight = tensors.read(graph, layer.args[1].args[0].target)
        scale = observer.calculate_qparams()[0].view(-1, *[1] * (weight.dim() - 1))
        exact = weight / scale
        torch.testing.assert_close(exact, exact.round(), rtol=0, atol=1e-5)
        chosen[layer.name] = exact.round().to(torch.int8)
    expected = Simulation(graph).run(x)
    program = programs.export(convert_pt2e(graph, fold_quantize=False), (x,))
    programs.save(program, tmp_path / "program.pt2")
    folded = programs.fold_weights(programs.load(tmp_path / "program.pt2"))
    stored = [t for t in folded.state_dict.values() if t.dtype == torch.int8]
    stored += [t for t in folded.constants.values() if t.dtype == torch.int8]
    assert len(stored) == len(chosen)
    for integers in chosen.values():
        assert any(t.shape == integers.shape and torch.equal(t, integers) for t in stored)
    assert torch.equal(folded.module()(x), expected)


def test_corrected_biases_count_from_the_float_ones() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(6, 8).eval(), [torch.rand(1, 6) + 1 for _ in range(64)]
    results = []
    for corrected in (False, True):
        graph = prepare_pt2e(traced(model, x[0]).module(), ProfileQuantizer(quant(bits=4), "minmax"))
        watchers = bias.watch(graph) if corrected else []
        calibrate(graph, x, (x[0],), 64)
        old = bias.correct(graph, watchers)
        rounding.round_weights(graph, [(sample,) for sample in x], old)
        results.append(graph.state_dict()["bias"])
    torch.testing.assert_close(*results)
    with torch.no_grad():
        mean = torch.cat([Simulation(graph).run(sample) - model(sample) for sample in x]).mean(0)
    step = float(graph.activation_post_process_2.calculate_qparams()[0])
    assert float(mean.abs().max()) < step / 2


def test_biases_stay_where_they_shall() -> None:
    torch.manual_seed(0)
    model, x = nn.Linear(6, 8).eval(), [torch.rand(1, 6) for _ in range(8)]
    graph = prepared(model, x)
    rounding.round_weights(graph, [(sample,) for sample in x], biases=False)
    assert torch.equal(graph.state_dict()["bias"], model.bias)
    assert not torch.equal(graph.state_dict()["weight"], model.weight)


def test_shared_weights_and_dead_inputs() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.last = nn.Linear(4, 4), nn.Linear(4, 2, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(self.fc(self.fc(x * 0)))

    torch.manual_seed(0)
    model, x = Twice(), [torch.rand(1, 4) for _ in range(4)]
    graph = prepared(model, x)
    before = copy.deepcopy(graph.state_dict())
    done = rounding.round_weights(graph, [(sample,) for sample in x])
    assert (done.layers, done.weights) == (1, 8)
    assert torch.equal(graph.state_dict()["fc.weight"], before["fc.weight"])
    assert torch.isfinite(graph.state_dict()["last.weight"]).all()


def test_samples_follow_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = build("residual")
    graph = prepared(model, [x])
    assert rounding.samples_within(graph) == rounding.SAMPLES
    monkeypatch.setattr(rounding, "MEMORY_BYTES", 2 * 12 * 4 * 3 * (16 * 16 + 17 * 17) * 2)
    assert rounding.FEWEST <= rounding.samples_within(graph) < rounding.SAMPLES
    monkeypatch.setattr(rounding, "MEMORY_BYTES", 1)
    assert rounding.samples_within(graph) == rounding.FEWEST


def moments(x: torch.Tensor, y: torch.Tensor) -> list[patches.Moments]:
    """The moments of the even and the odd samples of [1, D, n]."""
    halves = [patches.Moments(), patches.Moments()]
    for index, half in enumerate(halves):
        half.add(x[:, :, index::2], y[:, :, index::2])
    return halves


def test_the_target_takes_back_what_earlier_layers_did() -> None:
    torch.manual_seed(0)
    y, weight = torch.randn(1, 6, 4000), torch.randn(1, 3, 6, dtype=torch.float64)
    mixed = torch.eye(6) + 0.2 * torch.randn(6, 6)
    first, second = moments(mixed @ y + 3, y)  # x = M y + 3
    pairs = [half.spread(True) for half in (first, second)]
    target = least_squares.repaired(weight, pairs, (first + second).spread(True))
    torch.testing.assert_close(target, weight @ mixed.double(), rtol=0, atol=0.05)


def test_the_target_is_the_weight_where_one_half_does_not_predict_the_other() -> None:
    torch.manual_seed(0)
    y, weight = torch.randn(1, 40, 24), torch.randn(1, 3, 40, dtype=torch.float64)
    first, second = moments(y + torch.randn(y.shape), y)
    pairs = [half.spread(True) for half in (first, second)]
    target = least_squares.repaired(weight, pairs, (first + second).spread(True))
    assert float((target - weight).abs().max()) < 0.1 * float(weight.abs().max())
