"""Blocks that become the identity."""

from pathlib import Path

import prune_nets as nets
import pytest
import torch
from torch import nn

from edgekit.errors import NotApplicable, UserError
from edgekit.prune import saved
from edgekit.prune.depth import shorten

EXAMPLE = (torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0)),)
INPUTS = (torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(1)),)


class Deep(nets.Residual):
    """Four equal blocks in the first stage, three in the second behind one of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layer1 = nn.Sequential(*(nets.Block(16, 16, 1, False) for _ in range(4)))
        self.layer2 = nn.Sequential(
            nets.Block(16, 32, 2, False), *(nets.Block(32, 32, 1, False) for _ in range(3))
        )


def quiet(net: nn.Module, *names: str) -> nn.Module:
    """These blocks add a thousandth of what they added."""
    for name in names:
        with torch.no_grad():
            net.get_submodule(name).bn2.weight *= 1e-3
            net.get_submodule(name).bn2.bias *= 1e-3
    return net


def test_the_blocks_go_that_add_least() -> None:
    net = quiet(nets.made(Deep), "layer1.1", "layer1.2", "layer2.3")
    before = net(*INPUTS).detach()
    assert set(shorten(net, EXAMPLE, INPUTS, 0.5)) == {"layer1.1", "layer1.2", "layer2.3"}
    assert isinstance(net.layer1[1], nn.Identity) and not isinstance(net.layer2[0], nn.Identity)
    after = net(*INPUTS)
    assert torch.allclose(after, before, atol=0.02 * float(before.abs().max()))
    assert torch.equal(torch.export.export(net, EXAMPLE).module()(*EXAMPLE), net(*EXAMPLE))


def test_a_share_is_rounded_up() -> None:
    assert len(shorten(nets.made(Deep), EXAMPLE, INPUTS, 0.6)) == 1 + 1, "of four 3, of three 2"
    with pytest.raises(NotApplicable, match=r"no stage of equal residual blocks of which 0\.9 could stay"):
        shorten(nets.made(nets.Residual), EXAMPLE, INPUTS, 0.9)
    assert len(shorten(nets.made(Deep), EXAMPLE, INPUTS, 0.01)) == 3 + 2, "one of each stage stays"


def test_transformer_layers() -> None:
    assert len(shorten(nets.made(nets.Transformer), EXAMPLE, INPUTS, 0.5)) == 1


def test_it_is_rebuilt(tmp_path: Path) -> None:
    net = nets.made(Deep)
    dropped = shorten(net, EXAMPLE, INPUTS, 0.5)
    saved.save(nets.made(Deep), net, {}, tmp_path, dropped)
    again = nets.made(Deep)
    assert saved.rebuild(again, tmp_path).dropped == tuple(dropped)
    again.load_state_dict(net.state_dict())
    assert torch.equal(again(*INPUTS), net(*INPUTS))
    with pytest.raises(UserError, match=r"without its block layer\d.\d; this Plain has none of that name"):
        saved.rebuild(nets.made(nets.Plain), tmp_path)


def test_what_cannot_be_shortened() -> None:
    for share in (0, 1, 1.5):
        with pytest.raises(UserError, match=f"depth is {share}; it is the share"):
            shorten(nets.made(Deep), EXAMPLE, INPUTS, share)
    with pytest.raises(NotApplicable, match="Plain has no stage of equal residual blocks"):
        shorten(nets.made(nets.Plain), EXAMPLE, INPUTS, 0.5)
