"""A rewrite that changes an answer is undone by name; one that rounds otherwise is not."""

import logging
import math

import pytest
import torch
from torch import nn

from edgekit.errors import ConversionError
from edgekit.quant import proven

ATEN = torch.ops.aten


def graph_of(model: nn.Module, *inputs: torch.Tensor) -> torch.fx.GraphModule:
    return torch.export.export(model.eval(), inputs).module()


def doubled(graph_module: torch.fx.GraphModule) -> None:
    for name in list(dict(graph_module.named_parameters())):
        owner, _, last = name.rpartition(".")
        old = graph_module.get_parameter(name)
        setattr(graph_module.get_submodule(owner), last, nn.Parameter(2 * old.detach()))


def relu_to_sigmoid(graph_module: torch.fx.GraphModule) -> None:
    for node in graph_module.graph.nodes:
        if node.target is ATEN.relu.default:
            node.target = ATEN.sigmoid.default


def relu_to_clamp(graph_module: torch.fx.GraphModule) -> None:
    for node in graph_module.graph.nodes:
        if node.target is ATEN.relu.default:
            node.target, node.args = ATEN.clamp_min.default, (node.args[0], 0.0)


def small() -> tuple[torch.fx.GraphModule, proven.Reference]:
    torch.manual_seed(0)
    graph = graph_of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.zeros(1, 4))
    return graph, proven.reference(graph, (torch.zeros(1, 4),))


def test_a_right_pass_stays() -> None:
    graph, before = small()
    assert proven.rewrite(graph, [relu_to_clamp], before) == ()
    assert any(node.target is ATEN.clamp_min.default for node in graph.graph.nodes)


@pytest.mark.parametrize("wrong", [doubled, relu_to_sigmoid])
def test_a_wrong_pass_alone_is_undone_and_named(wrong, caplog) -> None:
    graph, before = small()
    with caplog.at_level(logging.WARNING, "edgekit"):
        said = proven.rewrite(graph, [wrong, relu_to_clamp], before)
    assert len(said) == 1 and f"the pass {wrong.__name__} is left out" in said[0] and said[0] in caplog.text
    assert not before.difference(graph)
    assert any(node.target is ATEN.clamp_min.default for node in graph.graph.nodes), "the other one stays"


def test_what_must_not_be_undone_is_refused_with_its_name() -> None:
    graph, before = small()
    relu_to_sigmoid(graph)
    graph.recompile()
    with pytest.raises(
        ConversionError, match=r"^swapping changed what the model computes: output 0 keeps -?\d"
    ):
        before.demand(graph, "swapping")


def test_whole_numbers_are_compared_one_by_one() -> None:
    x = torch.tensor([[3, 1, 2]])
    before = proven.Reference(lambda x: x.sort(-1).values, (x,))
    assert before.difference(lambda x: x) == "output 0 has 3 of 3 numbers changed"


def test_nan_and_infinities_must_stay_in_their_places() -> None:
    nan, inf = math.nan, math.inf
    was = torch.tensor([nan, inf, -inf, 1.0])
    assert proven.snr_db(was, was.clone()) == inf
    for now in ([nan, inf, inf, 1.0], [0.0, inf, -inf, 1.0], [nan, inf, -inf, nan]):
        assert proven.snr_db(was, torch.tensor(now)) == -inf


def test_the_figure_is_the_signal_to_noise_ratio() -> None:
    assert proven.snr_db(torch.tensor([10.0]), torch.tensor([10.1])) == pytest.approx(40, abs=1e-3)


def test_a_model_that_swells_the_last_bits_is_allowed_its_own_noise() -> None:
    """1e5 (x + 1) - 1e5 x loses five digits whatever is done to it; an error of a tenth is still none of them."""

    def run(x: torch.Tensor) -> torch.Tensor:
        return torch.sin(3e3 * x)

    before = proven.Reference(run, (torch.linspace(1, 2, 64)[None],))
    shifted = before.difference(lambda x: torch.sin(3e3 * x * (1 + 1e-7)))
    assert shifted == ""
    assert "keeps" in before.difference(lambda x: 1.1 * run(x))


def test_noise_stands_in_for_zeros_and_gives_way_where_the_model_has_no_answer_to_it() -> None:
    zeros = (torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))
    floats, whole = proven.reference(lambda x, n: x + n, zeros).sample
    assert floats.abs().min() > 0 and torch.equal(whole, zeros[1])
    assert torch.equal(proven.reference(lambda x: x.sqrt(), zeros[:1]).sample[0], zeros[0])


def test_random_numbers_are_the_same_each_time() -> None:
    before = proven.Reference(lambda x: x + torch.randn(1, 4), (torch.zeros(1, 4),))
    assert before.difference(lambda x: x + torch.randn(1, 4)) == ""


class Last(nn.Module):
    """The last step of a padded sequence: a length of 0 is none."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.longest = longest

    def forward(self, x: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        return x.gather(1, length[:, None] - 2 + self.longest)


def test_a_graph_that_takes_no_zeros_is_asked_about_ones() -> None:
    example = torch.zeros(1, 5), torch.ones(1, dtype=torch.int64)
    assert int(proven.of_graph(graph_of(Last(1), *example)).sample[1]) == 1
    with pytest.raises(ConversionError, match="it raises for whole numbers of 0 and of 1 alike"):
        proven.of_graph(graph_of(Last(9), *example))
