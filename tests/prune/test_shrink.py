"""Nets of every build lose about half of their multiply-accumulates, run, come back from disk and export."""

import re
from pathlib import Path
from typing import Any

import prune_nets as nets
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edgekit.errors import BudgetError, ConversionError, NotApplicable, UserError
from edgekit.prune import graph, module_macs, saved
from edgekit.prune.criteria import Evidence
from edgekit.prune.shrink import Request, Shrunk, shrink

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)
INPUTS = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1))
KINDS: list[tuple[type[nn.Module], dict[str, Any], str]] = [
    (nets.Plain, {}, "all"),
    (nets.Residual, {}, "all"),
    (nets.Residual, {"padded": True}, "inner"),
    (nets.Mobile, {}, "all"),
    (nets.Grouped, {}, "all"),
    (nets.Joined, {}, "all"),
    (nets.Transformer, {}, "all"),
]
IDS = [f"{kind.__name__}{'-padded' if given else ''}" for kind, given, _ in KINDS]


def shrunk(net: nn.Module, **asked: Any) -> Shrunk:
    return shrink(net, EXAMPLE, Request(**{"multiple": 8, **asked}), Evidence())


@pytest.mark.parametrize(("kind", "given", "where"), KINDS, ids=IDS)
def test_half_of_the_macs_go(
    kind: type[nn.Module], given: dict[str, Any], where: str, tmp_path: Path
) -> None:
    net = nets.made(kind, **given)
    state = {name: t.clone() for name, t in net.state_dict().items()}
    done = shrunk(net)
    assert done.macs == module_macs.count(done.module, EXAMPLE) and done.macs_before == module_macs.count(
        net, EXAMPLE
    )
    assert done.macs / done.macs_before == pytest.approx(0.5, abs=0.1)
    assert all(after % 8 == 0 and 0 < after <= before for before, after in done.widths.values())
    assert all(len(done.kept[root]) == after for root, (_, after) in done.widths.items())
    assert all(torch.equal(t, state[name]) for name, t in net.state_dict().items()), "the net given is kept"
    outputs = done.module(INPUTS)
    assert (
        outputs.shape == (4, 10)
        and done.module.get_submodule(next(iter(done.widths))).weight.shape[0] % 8 == 0
    )
    (outputs.sum()).backward()
    assert bool(done.doubts) == (where == "inner")
    saved.save(net, done.module, done.kept, tmp_path)
    again = nets.made(kind, **given)
    assert saved.rebuild(again, tmp_path).kept == {root: tuple(kept) for root, kept in done.kept.items()}
    again.load_state_dict(done.module.state_dict())
    assert torch.equal(again.eval()(INPUTS), outputs)
    program = torch.export.export(done.module.requires_grad_(False), EXAMPLE)
    assert torch.allclose(program.module()(INPUTS[:1]), outputs[:1], atol=1e-5)


def test_shortcuts_that_pad_channels_leave_the_stream_alone() -> None:
    done = shrunk(nets.made(nets.Residual, padded=True))
    assert set(done.widths) == {"layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.1.conv1"}
    assert "inside its blocks only" in done.doubts[0] and "mat1 and mat2 shapes" in done.doubts[0]


@pytest.mark.parametrize("scope", ["global", "isomorphic"])
def test_other_scopes(scope: str) -> None:
    done = shrunk(nets.made(nets.Residual), scope=scope, multiple=1)
    assert done.macs / done.macs_before == pytest.approx(0.5, abs=0.03)
    assert len({round(after / before, 2) for before, after in done.widths.values()}) > 1


def test_in_steps_it_is_ranked_again_and_settled_between() -> None:
    settled = []
    request = Request(macs=0.4, steps=3, multiple=4)
    done = shrink(
        nets.made(nets.Residual),
        EXAMPLE,
        request,
        Evidence(),
        lambda net: settled.append(module_macs.count(net, EXAMPLE)),
    )
    shares = [value / done.macs_before for value in settled]
    assert shares == [pytest.approx(0.8, abs=0.1), pytest.approx(0.6, abs=0.1)]
    assert done.macs / done.macs_before == pytest.approx(0.4, abs=0.1)
    assert done.module(INPUTS).shape == (4, 10)
    for root, kept in done.kept.items():
        assert len(kept) == done.widths[root][1] == done.module.get_submodule(root).weight.shape[0]
        assert kept == sorted(set(kept)) and max(kept) < done.widths[root][0]


def test_steps_too_small_for_a_multiple_wait_for_the_next() -> None:
    done = shrunk(nets.made(nets.Residual), steps=10, multiple=4)
    assert done.macs / done.macs_before == pytest.approx(0.5, abs=0.1)


def test_what_is_ignored_stays_whole() -> None:
    done = shrunk(nets.made(nets.Residual), ignore=("layer1", "conv1"))
    assert set(done.widths) == {"layer2.0.conv1", "layer2.0.conv2", "layer2.1.conv1"}


class Recurrent(nn.Module):
    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.a, self.b = nets.conv(1, 32), nets.conv(32, 16)
        self.cell, self.head = cell(8 * 16, 24, batch_first=True), nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.b(self.a(x)).permute(0, 3, 1, 2).flatten(2)
        return self.head(self.cell(x)[0][:, -1])


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_recurrent_layers_and_what_they_read_stay_whole(cell: type[nn.RNNBase]) -> None:
    done = shrunk(nets.made(Recurrent, cell=cell), macs=0.6)
    assert (
        done.widths["a.0"][1] < 32
        and done.module.cell.hidden_size == 24
        and done.module.cell.input_size == 128
    )


def test_several_outputs_and_dicts() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nets.conv(1, 16), nets.conv(16, 24), nn.Conv2d(16, 24, 1)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            x = self.a(x)
            return {"one": self.b(x), "two": self.c(x)}

    done = shrunk(nets.made(Two))
    assert set(done.widths) == {"a.0"}, "layers that make an output keep their channels"
    assert done.module(INPUTS)["one"].shape == (4, 24, 8, 8)


class Shuffled(nn.Module):
    """Channels change places between two convolutions, in a way that autograd's record does not tell."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nets.conv(1, 16), nets.conv(16, 16), nets.conv(16, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x).flip(1)
        return self.head(self.c(self.b(x)).mean((2, 3)))


def test_indices_that_went_astray_are_found_though_shapes_fit() -> None:
    done = shrunk(nets.made(Shuffled), multiple=1)
    assert set(done.widths) == {"b.0", "c.0"}, "a, whose channels are moved, stays whole"
    assert "something else than with these channels zero" in done.doubts[0]


class Halved(nn.Module):
    """A layer whose channels are halved, and one with two outputs for each input."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nets.conv(1, 32), nn.Conv2d(32, 64, 3, 1, 1)
        self.c, self.d, self.e = nets.conv(32, 32), nn.Conv2d(32, 64, 3, 1, 1, groups=32), nets.conv(64, 16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.e(self.d(self.c(F.glu(self.b(self.a(x)), 1)))).mean((2, 3)))


def test_groups_with_channels_that_their_layers_lack_stay_whole() -> None:
    done = shrunk(nets.made(Halved))
    assert set(done.widths) == {"a.0", "e.0"} and "cannot follow: b, c.0, d" in done.doubts[-1]


def test_little_left_of_a_layer_is_said() -> None:
    done = shrunk(nets.made(nets.Residual), macs=0.5, multiple=1, ignore=("conv1", "layer2"))
    assert "less than 0.2 of the channels are left of layer1.0.conv1, layer1.1.conv1" in done.doubts[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"macs": 1.0}, "prune: macs is 1.0; allowed: above 0, below 1"),
        ({"macs": 0}, "macs is 0; allowed: above 0, below 1"),
        ({"scope": "local"}, "scope is 'local'; allowed: global, isomorphic, uniform"),
        ({"criterion": "L2"}, "criterion is 'L2'; allowed: bn_scale, fpgm"),
        ({"steps": 0}, "steps is 0; allowed: a whole number, at least 1"),
        ({"ignore": ("layer1.0.conv",)}, r"no layer is called 'layer1.0.conv'; did you mean layer1.0.conv\d"),
        ({"ignore": ("qqqq",)}, "no layer is called 'qqqq'; names are like conv1"),
    ],
)
def test_what_cannot_be_asked(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        shrunk(nets.made(nets.Residual), **asked)


def test_a_share_that_would_take_whole_layers_names_the_floor() -> None:
    with pytest.raises(
        BudgetError, match=r"macs 0\.02 is below the floor: .* 0\.17 of the multiply-accumulates are left"
    ):
        shrunk(nets.made(nets.Residual), macs=0.02)


def test_a_share_that_no_width_comes_near_is_said() -> None:
    done = shrunk(nets.made(nets.Residual), macs=0.7)
    assert re.search(r"0\.\d+ of the MACs are left where 0.7 was asked", done.doubts[-1])


class Narrow(nn.Module):
    """Two convolutions of 8 channels each."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nets.conv(1, 8), nets.conv(8, 8), nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.b(self.a(x)).mean((2, 3)))


@pytest.mark.parametrize(("net", "multiple"), [(Narrow, 8), (nets.Residual, 64)])
def test_widths_that_are_at_their_multiple_already(net: type[nn.Module], multiple: int) -> None:
    with pytest.raises(NotApplicable, match=f"no width changes: .* multiple of {multiple}; give a smaller"):
        shrunk(nets.made(net), macs=0.5, multiple=multiple)


def test_a_criterion_that_says_nothing_of_a_network() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 10)
    )
    with pytest.raises(NotApplicable, match="criterion 'bn_scale' says nothing of any layer; take l2"):
        shrunk(net.eval(), criterion="bn_scale")


def test_nothing_to_prune() -> None:
    with pytest.raises(NotApplicable, match="Linear has no layer whose channels could go"):
        shrink(nn.Linear(4, 2), (torch.zeros(1, 4),), Request(), Evidence())


class Shuffle(nn.Module):
    """The shuffle of ShuffleNet."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nets.conv(1, 16), nets.conv(16, 16), nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.a(x)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.head(self.b(x).mean((2, 3)))


class ShuffledEnd(Shuffle):
    """The only channels that could go are shuffled."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Identity()


def test_channels_that_can_only_go_where_they_are_moved_about() -> None:
    message = r"has no layer whose channels could go\. Channels are moved about by .* with view, transpose"
    with pytest.raises(NotApplicable, match=message):
        shrunk(nets.made(ShuffledEnd), multiple=4)


def test_a_shuffle_does_not_go_unseen() -> None:
    """In multiples of 4 every shape fits."""
    done = shrunk(nets.made(Shuffle), multiple=4)
    assert set(done.widths) == {"b.0"} and "something else than with these channels zero" in done.doubts[0]


def test_a_model_that_cannot_be_searched_is_told_with_what_stands_in_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(graph, "_dependencies", lambda *_: 1 // 0)
    message = (
        r"cannot follow the channels of Shuffle: ZeroDivisionError: .*\. Channels are moved about by the model itself "
        r"\(Shuffle\) with view, transpose, reshape"
    )
    with pytest.raises(ConversionError, match=message):
        shrunk(nets.made(Shuffle))


@pytest.mark.slow
def test_shufflenet_ends_in_a_sentence() -> None:
    torchvision = pytest.importorskip("torchvision")
    net = torchvision.models.shufflenet_v2_x1_0(weights=None)
    with pytest.raises(
        ConversionError, match=r"ZeroDivisionError: .* moved about by stage2\.0 \(InvertedResidual\)"
    ):
        shrink(net, (torch.randn(1, 3, 224, 224),), Request(), Evidence())


def test_a_search_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def forever(*_: object) -> None:
        while True:
            pass

    monkeypatch.setattr(graph, "_dependencies", forever)
    with pytest.raises(
        ConversionError, match=r"searched Transformer for 0\.2 s .* found no end\. .*reshape|view"
    ):
        shrunk(nets.made(nets.Transformer), limit_s=0.2)


@pytest.mark.parametrize("groups", [1, 4])
def test_a_view_and_grouped_transposed_layers_are_pruned_exactly(groups: int) -> None:
    """Sixteen channels of the linear layer are one of the transposed one, and each of its groups loses the same."""
    net, example = nets.Generator(groups).eval(), (torch.zeros(1, 32),)
    done = shrink(net, example, Request(macs=0.5, multiple=8), Evidence())
    assert done.widths["first"][1] % (8 * 16) == 0 and done.widths["first"][1] < 768 and not done.doubts
    assert done.macs == pytest.approx(0.5 * done.macs_before, rel=0.1)
    assert done.module.two.weight.shape == (24, 8 // groups, 4, 4) and done.module.two.groups == groups
