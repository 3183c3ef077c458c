"""A norm goes into a weight that no other call reads."""

import pytest
import torch
from quant_nets import quant, targets
from torch import nn
from torchao.quantization.pt2e.quantize_pt2e import prepare_pt2e
from torchao.quantization.pt2e.utils import _fuse_conv_bn_

from edgekit.errors import ConversionError
from edgekit.quant import proven
from edgekit.quant.fold import fold_batch_norms, observed
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.quant.simulate import Simulation


def norm(kind: type[nn.Module], channels: int, size: float = 1.0, **options) -> nn.Module:
    made = kind(channels, **options)
    made.running_mean.normal_()
    made.running_var.uniform_(0.5, 2.0)
    if made.weight is not None:
        made.weight.data.uniform_(size, size + 1)
        made.bias.data.normal_()
    return made


class Net(nn.Module):
    """A function with layers at hand, noisy norms among them."""

    def __init__(self, function, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def conv(**options) -> nn.Module:
    return nn.Conv2d(3, 4, 3, padding=1, **options)


def bn(size: float = 1.0, **options) -> nn.Module:
    return norm(nn.BatchNorm2d, 4, size, **options)


IMAGE = torch.zeros(1, 3, 6, 6)
CASES = {
    "two norms": (lambda s, x: s.a(s.c(x)) + s.b(s.c(2 * x)), {"c": conv, "a": bn, "b": lambda: bn(3)}, IMAGE, 0),
    "no bias": (lambda s, x: s.a(s.c(x)) + s.b(s.c(2 * x)), {"c": lambda: conv(bias=False), "a": bn, "b": bn}, IMAGE, 0),
    "plain first": (lambda s, x: s.c(2 * x) + s.a(s.c(x)), {"c": conv, "a": bn}, IMAGE, 0),
    "plain last": (lambda s, x: s.a(s.c(x)) + s.c(2 * x), {"c": conv, "a": bn}, IMAGE, 0),
    "three scales": (
        lambda s, x: torch.cat([s.a(s.c(x)).mean((2, 3)), s.b(s.c(x[..., :4])).mean((2, 3)), s.d(s.c(x[..., :2])).mean((2, 3))], 1),
        {"c": conv, "a": bn, "b": lambda: bn(2), "d": lambda: bn(3)}, IMAGE, 0,
    ),
    "one norm": (lambda s, x: s.a(s.c(x)) + s.a(s.d(x)), {"c": conv, "d": conv, "a": bn}, IMAGE, 0),
    "both shared": (lambda s, x: s.a(s.c(x)) + s.a(s.c(2 * x)), {"c": conv, "a": bn}, IMAGE, 0),
    "conv1d": (
        lambda s, x: s.a(s.c(x)) + s.b(s.c(2 * x)),
        {"c": lambda: nn.Conv1d(3, 4, 3), "a": lambda: norm(nn.BatchNorm1d, 4), "b": lambda: norm(nn.BatchNorm1d, 4, 3)},
        torch.zeros(1, 3, 8), 0,
    ),
    "linear": (
        lambda s, x: s.a(s.c(x)) + s.b(s.c(2 * x)),
        {"c": lambda: nn.Linear(3, 4), "a": lambda: norm(nn.BatchNorm1d, 4), "b": lambda: norm(nn.BatchNorm1d, 4, 3)},
        torch.zeros(1, 3), 0,
    ),
    "transposed": (
        lambda s, x: s.a(s.c(x)) + s.b(s.c(2 * x)),
        {"c": lambda: nn.ConvTranspose2d(3, 4, 2), "a": bn, "b": lambda: bn(3)}, IMAGE, 0,
    ),
    "read twice": (lambda s, x: s.a(y := s.c(x)) + y, {"c": conv, "a": bn}, IMAGE, 1),
    "own statistics": (
        lambda s, x: s.a(s.c(x)), {"c": conv, "a": lambda: nn.BatchNorm2d(4, track_running_stats=False)}, IMAGE, 1,
    ),
    "transposed with groups": (
        lambda s, x: s.a(s.c(x)), {"c": lambda: nn.ConvTranspose2d(4, 4, 2, groups=4), "a": bn}, torch.zeros(1, 4, 6, 6), 1,
    ),
    "three dimensions": (
        lambda s, x: s.a(s.c(x)), {"c": lambda: nn.Linear(3, 4), "a": lambda: norm(nn.BatchNorm1d, 5)}, torch.zeros(1, 5, 3), 1,
    ),
}  # fmt: skip


def made(name: str) -> tuple[torch.fx.GraphModule, proven.Reference, int]:
    """A graph, what it answers, and how many norms cannot be folded."""
    torch.manual_seed(0)
    function, layers, x, left = CASES[name]
    graph = torch.export.export(
        Net(function, **{k: make() for k, make in layers.items()}).eval(), (x,)
    ).module()
    return graph, proven.reference(graph, (x,)), left


@pytest.mark.parametrize("name", CASES)
def test_folding_keeps_the_answers(name: str) -> None:
    graph, before, left = made(name)
    fold_batch_norms(graph)
    assert before.difference(graph) == ""
    assert targets(graph).count("batch_norm.default") == left


@pytest.mark.parametrize("name", CASES)
def test_preparing_for_integers_keeps_the_answers(name: str) -> None:
    graph, before, left = made(name)
    prepared = observed(graph, ProfileQuantizer(quant(), "minmax"))
    assert before.difference(Simulation(prepared, rounds=False).run) == ""
    assert targets(prepared).count("batch_norm.default") == left


def test_torchao_alone_folds_both_norms_into_one_weight() -> None:
    """What the copies are for; when this fails, torchao has mended it."""
    graph, before, _ = made("two norms")
    _fuse_conv_bn_(graph)
    assert before.difference(graph)
    graph, before, _ = made("two norms")
    prepared = prepare_pt2e(graph, ProfileQuantizer(quant(), "minmax"))
    assert before.difference(Simulation(prepared, rounds=False).run)


def test_a_weight_shared_without_a_norm_is_stored_once() -> None:
    torch.manual_seed(0)
    net = Net(lambda s, x: s.a(s.d(s.c(x) + s.c(2 * x))), c=nn.Conv2d(3, 3, 1), d=conv(), a=bn())
    graph = torch.export.export(net.eval(), (IMAGE,)).module()
    fold_batch_norms(graph)
    calls = [node for node in graph.graph.nodes if node.target is torch.ops.aten.conv2d.default]
    assert calls[0].args[1] is calls[1].args[1]
    assert sorted(name for name, p in graph.named_parameters() if p.dim() == 4) == ["c.weight", "d.weight"]


def test_a_fold_that_changes_the_answers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _, _ = made("two norms")
    monkeypatch.setattr("edgekit.quant.fold.own_tensors", lambda graph: None)
    with pytest.raises(
        ConversionError, match="folding batch norms changed what the model computes: output 0 keeps"
    ):
        fold_batch_norms(graph)
