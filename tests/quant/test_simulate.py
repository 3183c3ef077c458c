"""The simulation is the converted program, number by number; and what it is judged by."""

import copy
import math

import pytest
import torch
from quant_nets import NETS, build, quant, traced
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

from edgekit.quant.calibrate import calibrate
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.simulate import Simulation, answers, snr_db, spread


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
    assert snr_db(signal, signal) == math.inf
    assert snr_db([torch.zeros(2)], [torch.ones(2)]) == -math.inf


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
