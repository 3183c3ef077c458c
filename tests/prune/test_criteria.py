"""Each criterion ranks a channel last that does nothing."""

import math

import prune_nets as nets
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.errors import TaskError, UserError
from edgekit.prune import criteria
from edgekit.prune.criteria import Evidence, Scored
from edgekit.prune.graph import Graph

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)
DEAD = 5


def evidence(images: int = 48, seed: int = 0) -> Evidence:
    generator = torch.Generator().manual_seed(7)
    batches = [
        ((torch.randn(16, 1, 8, 8, generator=generator),), torch.randint(0, 10, (16,), generator=generator))
        for _ in range(images // 16)
    ]
    return Evidence(batches, F.cross_entropy, seed)


def with_a_dead_channel() -> nn.Module:
    net = nets.made(nets.Residual)
    block = net.layer1[0]
    with torch.no_grad():
        block.conv1.weight[DEAD] = 0
        block.bn1.weight[DEAD] = block.bn1.bias[DEAD] = 0
        block.conv2.weight[:, DEAD] = 0
    return net


def scored(name: str, net: nn.Module, given: Evidence) -> Scored:
    return criteria.find(name).score(Graph(net, EXAMPLE), given)


@pytest.mark.parametrize("name", sorted(set(criteria.names()) - {"random"}))
def test_a_dead_channel_is_last(name: str) -> None:
    graph = Graph(with_a_dead_channel(), EXAMPLE)
    found = criteria.find(name).score(graph, evidence())
    assert set(found.scores) == set(graph.groups)
    for root, scores in found.scores.items():
        assert (
            scores.shape == (graph.groups[root].width,)
            and scores.isfinite().all()
            and not scores.requires_grad
        )
        assert scores.std() > 0
    scores = found.scores["layer1.0.conv1"]
    if name == "shapley":  # others may do harm: on a net that was not trained many do
        assert scores[DEAD] == 0 and (scores.abs() > 0).sum() == len(scores) - 1
    else:
        assert int(scores.argmin()) == DEAD
    assert all(p.grad is None for p in graph.module.parameters()), "no gradient is left behind"


def test_the_criteria_are_there() -> None:
    wanted = {"l1", "l2", "taylor", "hessian", "bn_scale", "fpgm", "lamp", "random", "shapley"}
    assert set(criteria.names()) == wanted
    with pytest.raises(
        UserError, match="unknown criterion 'l3'; allowed are bn_scale, fpgm, hessian, l1, l2"
    ):
        criteria.find("l3")


@pytest.mark.parametrize("name", ["taylor", "hessian", "shapley"])
def test_no_training_data(name: str) -> None:
    with pytest.raises(TaskError, match=rf"criterion '{name}' needs Training\(batches=..., loss=...\)"):
        scored(name, nets.made(nets.Residual), Evidence())


@pytest.mark.parametrize("name", ["random", "shapley"])
def test_chance_comes_from_the_seed(name: str) -> None:
    first, same, other = (
        scored(name, nets.made(nets.Plain), evidence(16, seed)).scores["b.0"] for seed in (0, 0, 1)
    )
    assert torch.equal(first, same) and not torch.equal(first, other)


class Linear(nn.Module):
    """y = v (w x): a gradient that can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.v = nn.Linear(1, 4, bias=False), nn.Linear(4, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.v(self.w(x))


def of_linear(name: str, images: torch.Tensor) -> tuple[torch.Tensor, Linear]:
    torch.manual_seed(0)
    net = Linear()
    batches = [((images,), torch.zeros(len(images)))]
    given = Evidence(batches, lambda y, _: y.mean())
    graph = Graph(net, (torch.ones(1, 1),))
    return criteria.find(name).score(graph, given).scores["w"], net


def test_taylor_and_hessian_against_arithmetic() -> None:
    images = torch.tensor([[1.0], [2.0], [-4.0]])
    for name, power in (("taylor", 1), ("hessian", 2)):
        scores, net = of_linear(name, images)
        product = (
            (net.w.weight[:, 0] * net.v.weight[0]).detach().abs()
        )  # weight x gradient of w, and of v, at x = 1
        expected = product.pow(power)
        assert torch.allclose(scores, expected / expected.mean(), rtol=1e-4), name


def test_hessian_counts_every_image() -> None:
    """Two images whose squared gradients differ: Torch-Pruning's own sum would keep the last one alone."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    given = Evidence([((images,), torch.zeros(2))], lambda y, _: y.mean())
    scores = criteria.find("hessian").score(Graph(net, (torch.ones(1, 2),)), given).scores["0"]
    w, v = net[0].weight.detach(), net[1].weight.detach()[0]
    inside = (w.square() * v.square()[:, None] / 2).sum(1)  # each weight is reached by one image of two
    outside = v.square() * w.square().mean(1)
    expected = (inside + outside) / 2
    assert torch.allclose(scores, expected / expected.mean(), rtol=1e-4)


def test_shapley_of_a_linear_net_is_the_change_of_each_channel() -> None:
    """Where channels do not meet, the order does not matter: v_i w_i x, summed over all, and no error."""
    images = torch.ones(8, 1)
    scores, net = of_linear("shapley", images)
    expected = -(net.w.weight[:, 0] * net.v.weight[0]).detach()
    assert torch.allclose(scores, expected, atol=1e-5)


def test_shapley_shares_what_twins_do() -> None:
    """Two channels that do the same have the same value; each alone could go."""
    net = nets.made(nets.Residual)
    block = net.layer1[0]
    with torch.no_grad():
        for tensor in (
            block.conv1.weight,
            block.bn1.weight,
            block.bn1.bias,
            block.bn1.running_mean,
            block.bn1.running_var,
        ):
            tensor[1] = tensor[0]
        block.conv2.weight[:, 1] = block.conv2.weight[:, 0]
    found = scored("shapley", net, evidence(192))
    values = found.scores["layer1.0.conv1"]
    assert abs(float(values[0] - values[1])) < 4 * found.figures["shapley standard error"][0] + 0.1 * float(
        values.std()
    )


def test_shapley_tells_its_error_and_more_images_lower_it() -> None:
    few, many = (scored("shapley", nets.made(nets.Plain), evidence(n)).figures for n in (16, 144))
    assert few["shapley standard error"][1] == "loss" and few["shapley noise"][1] == "ratio"
    ratio = few["shapley standard error"][0] / many["shapley standard error"][0]
    assert ratio == pytest.approx(math.sqrt(144 / 16), rel=0.4)


def test_bn_scale_says_nothing_of_groups_without_a_norm() -> None:
    assert set(scored("bn_scale", nets.made(nets.Plain), Evidence()).scores) == {"a.0", "b.0"}
