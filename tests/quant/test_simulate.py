"""The simulation is the converted program, number by number; and what it is judged by."""

import copy

import pytest
import torch
from quant_nets import NETS, build, quant, traced
from torch import nn
from torch.nn import functional as F
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.quant.calibrate import calibrate
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.simulate import (
    CEILING_DB,
    Compared,
    Simulation,
    answers,
    layer_by_layer,
    live_bytes,
    snr_db,
    spread,
)


def prepared(name: str, **choices: object) -> tuple[torch.fx.GraphModule, torch.nn.Module, torch.Tensor]:
    model, x = build(name)
    graph = prepare_pt2e(traced(model, x).module(), ProfileQuantizer(quant(**choices), "minmax"))
    calibrate(graph, [torch.randn(4, *x.shape[1:])], (x,), 1)
    return graph, model, x


@pytest.mark.parametrize("granularity", ["per_channel", "per_tensor"])
@pytest.mark.parametrize("name", NETS)
def test_rounding_gives_what_the_converted_program_gives(name: str, granularity: str) -> None:
    graph, model, x = prepared(name, granularity=granularity)
    converted = convert_pt2e(copy.deepcopy(graph), fold_quantize=False)
    with torch.no_grad():
        assert torch.equal(Simulation(graph).run(x), converted(x))
        torch.testing.assert_close(Simulation(graph, rounds=False).run(x), model(x))


def test_running_observes_nothing_and_sees_new_weights() -> None:
    graph, _, x = prepared("residual")
    state = {key: value.clone() for key, value in graph.state_dict().items() if "post_process" in key}
    simulation = Simulation(graph)
    first = answers(simulation, [(x * 100,)])
    assert state and all(torch.equal(value, graph.state_dict()[key]) for key, value in state.items())
    with torch.no_grad():
        graph.fc.weight.mul_(0.5)
    assert not torch.equal(first[0], answers(simulation, [(x * 100,)])[0])


def test_snr_in_decibels() -> None:
    signal = [torch.tensor([3.0, 4.0]), torch.tensor([0.0])]
    assert snr_db(signal, [torch.tensor([3.0, 4.0]), torch.tensor([0.5])]) == pytest.approx(20.0)
    assert snr_db(signal, signal) == CEILING_DB
    assert snr_db([torch.zeros(2)], [torch.ones(2)]) == -CEILING_DB
    assert snr_db([torch.ones(2)], [torch.tensor([1.0, torch.nan])]) == -CEILING_DB


def test_a_choice_is_kept_only_where_it_gains() -> None:
    kept = Compared(choice="equalization", with_db=21.3, without_db=19.9, samples=16)
    left = Compared(choice="equalization", with_db=21.34, without_db=21.3, samples=3)
    assert kept.helps and str(kept).startswith("equalization kept: SNR 21.3 dB with")
    assert not left.helps
    assert str(left) == "equalization left out: SNR 21.3 dB with, 21.3 dB without (3 samples)"


def test_layer_by_layer_is_the_same_run_and_sees_what_is_written_on_the_way() -> None:
    graph, _, x = prepared("residual")
    samples = [(x,), (2 * x,)]

    def last_inputs(halve: bool) -> list[list[torch.Tensor]]:
        models = [
            Simulation(graph, rounds=False, stored={"stem.weight": graph.stem.weight}),
            Simulation(graph),
        ]
        for node, values in layer_by_layer(models, samples):
            if node.name == "conv2d":
                assert torch.equal(values[0][1], F.pad(2 * x, [0, 1, 0, 1]))
                graph.stem.weight = nn.Parameter(graph.stem.weight * (0.5 if halve else 1))
            if node.name == "linear":
                return values
        raise AssertionError("the last layer never came")

    with torch.no_grad():
        before, halved = last_inputs(False), last_inputs(True)
        assert torch.equal(before[0][1], halved[0][1])  # its weight is the stored one
        assert not torch.equal(before[1][1], halved[1][1])
        assert torch.equal(halved[1][1], last_inputs(False)[1][1])


def test_live_bytes_counts_what_is_alive_together() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    graph = traced(model, torch.zeros(3, 4)).module().graph
    assert live_bytes(graph) == 3 * (8 + 8) * 4


@pytest.mark.parametrize(
    ("sizes", "batch", "count", "expected"),
    [
        ([1] * 8, 1, 4, [0, 2, 4, 6]),  # evenly, of batches of one
        ([5, 5], 1, 3, [0, 3, 6]),  # and of larger ones
        ([2, 2], 2, 16, [0, 2]),  # not more than there are
    ],
)
def test_samples_are_evenly_spread(sizes: list[int], batch: int, count: int, expected: list[int]) -> None:
    values = torch.arange(sum(sizes), dtype=torch.float32)[:, None].split(sizes)
    like = (torch.zeros(batch, 1),)
    found = spread(values, like, sum(sizes) // batch, count)
    assert [int(piece[0][0]) for piece in found] == expected
