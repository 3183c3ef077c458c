"""Preparing a graph changes its operators and never its numbers."""

import numpy as np
import pytest
import torch
from quant_nets import NETS, build, quant, targets
from torch import nn
from torch.nn import functional as F
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e

from edgekit.errors import ConversionError
from edgekit.quant import proven
from edgekit.quant.fold import observed
from edgekit.quant.prepare import prepare_graph
from edgekit.quant.quantizer import ProfileQuantizer
from edgekit.trace.model import export_with_doubts


class Apply(nn.Module):
    """A function with some layers at hand."""

    def __init__(self, function, **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x)


def prepared(model: nn.Module, x: torch.Tensor) -> torch.fx.GraphModule:
    """The prepared graph, after checking that it computes what the model does."""
    model.eval()
    graph_module = prepare_graph(torch.export.export(model, (x.clone(),)).module())
    with torch.no_grad():
        torch.testing.assert_close(graph_module(x.clone()), model(x.clone()), rtol=1e-5, atol=1e-6)
    return graph_module


@pytest.mark.parametrize("name", NETS)
def test_whole_networks_stay_equal(name: str) -> None:
    model, x = build(name)
    assert not any("_." in target for target in targets(prepared(model, x)))


def test_batch_norms_stay_for_training() -> None:
    assert targets(prepared(*build("residual"))).count("batch_norm.default") == 2


def test_later_readers_see_an_in_place_write() -> None:
    def forward(self, x):
        y = x + 1
        z = y.relu_()
        return y + z

    assert targets(prepared(Apply(forward), torch.randn(4, 4))) == [
        "add.Tensor",
        "relu.default",
        "add.Tensor",
    ]


def whole(self, x):
    y = x + 1
    y.view(-1).relu_()
    return y * 2


def seen_by_an_older_view(self, x):
    y = x + 1
    view = y.view(-1)
    y.relu_()
    return view * 2


def part(self, x):
    y = x + 1
    row = y[1]
    y[:, 1:3] = 0
    return y * 2 + row


def part_of_a_part(self, x):
    y = x + 1
    y[1:, 0].mul_(3)
    y.t()[2] = x[0]
    return y, y[1:].sum()


def twice(self, x):
    y = x.permute(1, 0) + 0
    y.permute(1, 0).view(-1)[3:9].add_(1) if y.permute(1, 0).is_contiguous() else y[1].fill_(7)
    y[0].neg_()
    return y.unsqueeze(0) * 2


def copied(self, x):
    y = x + 1
    flat = y.t().reshape(-1)  # of a tensor that is not contiguous: a copy
    flat.mul_(5)
    return y, flat


def indexed(self, x):
    y = x + 1
    y[:, :2].masked_fill_(y[:, :2] > 1, -1.0)
    y[y < 0] = 4.0
    return y


@pytest.mark.parametrize(
    "forward",
    [whole, seen_by_an_older_view, part, part_of_a_part, twice, copied, indexed],
    ids=lambda f: f.__name__,
)
def test_a_write_through_a_view_becomes_a_value_of_the_whole(forward) -> None:
    assert not any("_." in target for target in targets(prepared(Apply(forward), torch.randn(4, 4))))


def test_a_write_through_a_view_that_nothing_can_undo_is_left_alone_and_gets_no_integers() -> None:
    def forward(self, x):
        y = self.conv(x)
        y.diagonal(0, 2, 3).relu_()
        return self.conv(y)

    graph = prepared(Apply(forward, conv=nn.Conv2d(4, 4, 1)), torch.randn(1, 4, 5, 5))
    assert "relu_.default" in targets(graph)
    with pytest.raises(ConversionError, match=r"writes a part of a tensor in place \(aten.relu_.default\)"):
        observed(graph, ProfileQuantizer(quant(), "minmax"))


def test_integers_keep_what_is_written_into_a_part() -> None:
    def forward(self, x):
        y = self.conv(x)
        y[:, :, :3] = 0
        return self.conv(y)

    x = torch.randn(1, 4, 5, 5)
    torch.manual_seed(0)
    model = Apply(forward, conv=nn.Conv2d(4, 4, 1)).eval()
    observer = observed(prepared(model, x), ProfileQuantizer(quant(), "minmax"))
    observer(x)
    with torch.no_grad():
        assert proven.snr_db(model(x), convert_pt2e(observer)(x)) > 30


def test_a_write_into_the_input_goes_to_a_copy() -> None:
    x = torch.randn(4, 4)
    graph_module = prepared(Apply(lambda self, x: x.relu_() + x), x)
    assert targets(graph_module) == ["relu.default", "add.Tensor"]
    given = x.clone()
    graph_module(given)
    assert torch.equal(given, x)


def test_a_write_into_a_part_of_the_input_stays_right() -> None:
    def forward(self, x):
        x[:, 1:3] = 0
        return x * 2

    x = torch.randn(4, 4)
    graph_module = prepared(Apply(forward), x)
    given = x.clone()
    assert torch.equal(graph_module(given)[:, 1:3], torch.zeros(4, 2)) and torch.equal(given, x)


@pytest.mark.parametrize(
    ("conv", "pad", "shape"),
    [
        (nn.Conv1d(2, 3, 3), (2, 2), (1, 2, 9)),
        (nn.Conv2d(2, 3, 3, padding=1), (1, 1, 2, 2), (1, 2, 9, 8)),
        (nn.Conv2d(2, 3, 3, stride=2), (1, 1), (1, 2, 9, 8)),
        (nn.Conv3d(2, 3, 3), (0, 0, 1, 1, 2, 2), (1, 2, 5, 6, 7)),
        (nn.Conv2d(2, 4, (1, 3), dilation=(1, 2), groups=2), (2, 2, 0, 0), (1, 2, 5, 8)),
    ],
)
def test_a_symmetric_zero_pad_moves_into_the_convolution(
    conv: nn.Module, pad: tuple[int, ...], shape
) -> None:
    found = targets(prepared(Apply(lambda self, x: self.conv(F.pad(x, pad)), conv=conv), torch.randn(shape)))
    assert len(found) == 1


@pytest.mark.parametrize(
    "pad",
    [
        lambda x: F.pad(x, (0, 1, 0, 1)),
        lambda x: F.pad(x, (1, 1, 1, 1), value=0.5),
        lambda x: F.pad(x, (1, 1, 1, 1), mode="reflect"),
        lambda x: F.pad(x, (-1, -1, 1, 1)),
        lambda x: F.pad(x, (1, 1, 1, 1, 1, 1)),
    ],
)
def test_any_other_pad_stays(pad) -> None:
    channels = pad(torch.zeros(1, 2, 8, 8)).shape[1]
    model = Apply(lambda self, x: self.conv(pad(x)), conv=nn.Conv2d(channels, 3, 3))
    assert len(targets(prepared(model, torch.randn(1, 2, 8, 8)))) == 2


def test_a_pad_that_two_convolutions_read_moves_into_both() -> None:
    def forward(self, x):
        x = F.pad(x, (1, 1, 1, 1))
        return self.a(x) + self.b(x)

    model = Apply(forward, a=nn.Conv2d(2, 3, 3), b=nn.Conv2d(2, 3, 3))
    assert targets(prepared(model, torch.randn(1, 2, 8, 8))) == [
        "conv2d.default",
        "conv2d.default",
        "add.Tensor",
    ]


def test_a_pad_that_something_else_reads_stays() -> None:
    def forward(self, x):
        x = F.pad(x, (1, 1, 1, 1))
        return self.a(x).sum() + x.sum()

    assert "pad.default" in targets(prepared(Apply(forward, a=nn.Conv2d(2, 3, 3)), torch.randn(1, 2, 8, 8)))


@pytest.mark.parametrize(("kernel", "pads"), [(3, []), (4, ["constant_pad_nd.default"])])
def test_same_padding_becomes_numbers(kernel: int, pads: list[str]) -> None:
    conv = nn.Conv2d(2, 3, kernel, padding="same", dilation=1)
    assert targets(prepared(conv, torch.randn(1, 2, 8, 8))) == [*pads, "conv2d.default"]


def test_valid_padding_becomes_numbers() -> None:
    assert targets(prepared(nn.Conv1d(2, 3, 3, padding="valid"), torch.randn(1, 2, 8))) == ["conv1d.default"]


class Doubles(nn.Module):
    """A buffer of 64 bits and a number of numpy's (coremltools#1689)."""

    def __init__(self, out: bool) -> None:
        super().__init__()
        self.out = out
        self.register_buffer("mean", torch.tensor([0.4, 0.5, 0.6], dtype=torch.float64).view(1, 3, 1, 1))
        self.layer = nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = ((x - self.mean) / np.float64(0.25)) + torch.linspace(0, 1, 8, dtype=torch.float64)
        return y if self.out else self.layer(y.float())


def test_doubles_on_the_way_are_computed_in_float32_and_said() -> None:
    model, x = Doubles(out=False).eval(), torch.randn(1, 3, 8, 8)
    program, doubts = export_with_doubts(model, (x,))
    values = [node.meta["val"].dtype for node in program.graph.nodes if "val" in node.meta]
    assert torch.float64 not in values
    assert doubts == ("the model itself (Doubles) computes in float64, made so by mean: exported in float32",)
    torch.testing.assert_close(program.module()(x), model(x), rtol=1e-4, atol=1e-5)
    assert not any("_assert" in str(node.target) for node in program.graph.nodes)


def test_doubles_that_go_out_stay() -> None:
    program, doubts = export_with_doubts(Doubles(out=True).eval(), (torch.randn(1, 3, 8, 8),))
    assert not doubts and program.module()(torch.randn(1, 3, 8, 8)).dtype == torch.float64
