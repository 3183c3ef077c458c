"""Inner tensors of saved programs by the names of modules, and the pairs and adapters made of them."""

from pathlib import Path

import pytest
import torch
from distill_nets import Stages, exported, graph, stages
from torch import nn

from edgekit.distill import pairs
from edgekit.distill.adapters import Adapter
from edgekit.distill.distiller import Setting
from edgekit.distill.modes import exits
from edgekit.distill.pairs import Pair
from edgekit.distill.taps import Tapped
from edgekit.errors import NotApplicable, UserError
from edgekit.quant import program as programs
from edgekit.quant.trainable import OneByOne, trainable


def hooked(net: nn.Module, names: list[str], x: torch.Tensor) -> list[torch.Tensor]:
    kept: dict[str, torch.Tensor] = {}
    for name in names:
        module = net.get_submodule(name)
        module.register_forward_hook(lambda _m, _i, out, name=name: kept.__setitem__(name, out))
    net(x)
    return [kept[name] for name in names]


@pytest.mark.parametrize("saved", [False, True])
def test_a_tap_is_what_a_hook_sees(tmp_path: Path, saved: bool) -> None:
    net, names = stages(), ["early", "late.0", "late.1", "late", "head"]
    program = exported(net)
    if saved:
        programs.save(program, tmp_path / "p.pt2")
        program = programs.load(tmp_path / "p.pt2")
    tapped = Tapped(trainable(program.module()), names, "student").eval()
    x = torch.randn(5, 1, 8, 8)
    outputs, features = tapped(x)
    assert torch.allclose(outputs, net(x), atol=1e-5)
    for feature, expected, shape in zip(features, hooked(net, names, x), tapped.shapes, strict=True):
        assert torch.allclose(feature, expected, atol=1e-5) and list(feature.shape[1:]) == shape[1:]


def test_taps_share_the_tensors_and_take_gradients() -> None:
    model = graph(stages())
    tapped = Tapped(model, ["early"], "student")
    assert {id(p) for p in tapped.parameters()} == {id(p) for p in model.parameters()}
    outputs, (feature,) = tapped.train()(torch.randn(4, 1, 8, 8))
    (outputs.sum() + feature.sum()).backward()
    assert all(p.grad is not None for p in tapped.parameters())


def test_several_outputs_and_samples_that_meet() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            y = self.a(x)
            return y, self.b(torch.softmax(y, 0))

    net = Two()
    model = trainable(exported(net, 3).module())
    assert isinstance(model, OneByOne)
    tapped, x = Tapped(model, ["b"], "student").eval(), torch.randn(1, 3)
    (first, second), (feature,) = tapped(x)
    assert all(torch.allclose(ours, own) for ours, own in zip((first, second), net(x), strict=True))
    assert torch.equal(feature, second) and tapped(torch.randn(3, 3))[1][0].shape == (3, 2)


def test_an_unknown_name_is_told_which_there_are() -> None:
    with pytest.raises(
        UserError, match=r"the student has no module 'layte'; did you mean 'late'. .* early.0, early"
    ):
        Tapped(graph(stages()), ["layte"], "student")


def test_pairs_of_a_text() -> None:
    small, large = graph(stages(4)), graph(stages(8))
    assert pairs.read("early=late:attention:2.5, head", small, large) == [
        Pair(student="early", teacher="late", term="attention", weight=2.5),
        Pair(student="head", teacher="head", term="hint", weight=1.0),
    ]
    assert pairs.read("", small, large) == []
    assert [(p.student, p.teacher, p.term) for p in pairs.read("auto:rkd", small, large)] == [
        ("early", "early", "rkd"), ("late", "late", "rkd"),
    ]  # fmt: skip
    assert [p.weight for p in pairs.read("auto,late:hint:3", small, large)] == [1.0, 3.0]
    assert pairs.exits("", small) == ["early"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("early:hint:x", "'early:hint:x' is no pair of features; write STUDENT=TEACHER:TERM:WEIGHT"),
        ("early:hint:-1", "the weight above 0"),
        ("=late", "is no pair"),
        ("early:nearest", "unknown term 'nearest'"),
        ("early=later", "the teacher has no module 'later'; did you mean 'late'"),
    ],
)
def test_texts_that_are_no_pairs(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        pairs.read(text, graph(stages(4)), graph(stages(8)))


def test_nets_without_a_name_in_common() -> None:
    other = graph(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    with pytest.raises(
        NotApplicable, match="features=auto finds no module that student and teacher both have"
    ):
        pairs.read("auto", graph(Stages()), other)
    with pytest.raises(NotApplicable, match="mode exits finds no stage to answer from"):
        pairs.exits("", other)


def test_adapters_are_there_only_where_shapes_differ() -> None:
    same = Adapter(Pair(student="a", teacher="a"), [1, 4, 8, 8], [1, 4, 8, 8])
    assert not list(same.parameters()) and same.size is None
    wider = Adapter(Pair(student="a", teacher="a"), [1, 4, 8, 8], [1, 6, 4, 2])
    assert wider(torch.randn(3, 4, 8, 8)).shape == (3, 6, 4, 2)
    flat = Adapter(Pair(student="a", teacher="a"), [1, 4], [1, 6])
    assert flat(torch.randn(3, 4)).shape == (3, 6)
    tokens = Adapter(Pair(student="a", teacher="a"), [1, 5, 4], [1, 5, 6])
    assert tokens(torch.randn(3, 5, 4)).shape == (3, 5, 6)
    attention = Adapter(Pair(student="a", teacher="a", term="attention"), [1, 4, 8, 8], [1, 6, 4, 4])
    assert attention.size == (4, 4) and not list(attention.parameters())
    assert Adapter(Pair(student="a", teacher="a", term="rkd"), [1, 4], [1, 6, 4, 4]).size is None
    with pytest.raises(
        UserError, match=r"hint cannot compare student 'a' \[1, 5, 4\] with teacher 'b' \[1, 7, 4\]"
    ):
        Adapter(Pair(student="a", teacher="b"), [1, 5, 4], [1, 7, 4])
    with pytest.raises(NotApplicable, match="hint cannot compare"):
        Adapter(Pair(student="a", teacher="a", guessed=True), [1, 5, 4], [1, 7, 4])


def test_a_net_without_classes_has_no_early_exits() -> None:
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3))
    setting = Setting(
        student=graph(net), teachers=(), loss=nn.MSELoss(), alpha=0.5, temperature=4.0, features="0"
    )
    with pytest.raises(
        NotApplicable, match=r"mode exits needs a net that answers logits .*\[\[1, 2, 4, 4\]\]"
    ):
        exits.method(setting)
