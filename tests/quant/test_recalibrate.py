"""Statistics of batch norms against the data's own."""

import pytest
import torch
from torch import nn

from edgekit.quant.recalibrate import recalibrate

IMAGES = torch.randn(96, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1


def test_mean_and_variance_are_those_of_the_images() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    assert recalibrate(net, [(part,) for part in IMAGES.split(32)], 96) == 96
    assert torch.allclose(net[0].running_mean, IMAGES.mean((0, 2, 3)), atol=1e-5)
    parts = torch.stack([part.var((0, 2, 3)) for part in IMAGES.split(32)]).mean(0)
    assert torch.allclose(net[0].running_var, parts, rtol=1e-4)
    assert not net[0].training and net[0].momentum == 0.1 and not any(m.training for m in net)


@pytest.mark.parametrize(
    ("size", "images", "taken"), [(96, 40, 40), (5, 50, 50), (1, 64, 64), (32, 500, 96), (33, 34, 33)]
)
def test_it_takes_as_many_images_as_asked(size: int, images: int, taken: int) -> None:
    net = nn.BatchNorm2d(3)
    assert recalibrate(net, [(part,) for part in IMAGES.split(size)], images) == taken
    assert torch.allclose(net.running_mean, IMAGES[:taken].mean((0, 2, 3)), atol=0.1)


def test_norms_of_one_pixel_get_batches_of_several_images() -> None:
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3))
    assert recalibrate(net, [(IMAGES[i : i + 1],) for i in range(33)], 33) >= 32


def test_nothing_else_changes() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)
    )
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    recalibrate(net, [(IMAGES,)], 96)
    changed = {name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])}
    assert all(name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in changed)
    assert sum(name.endswith("running_mean") for name in changed) == 2
    assert all(p.grad is None for p in net.parameters())


def test_without_norms_or_images_nothing_is_read() -> None:
    def never() -> object:
        raise AssertionError
        yield

    assert recalibrate(nn.Linear(2, 2), never(), 10) == 0  # type: ignore[arg-type]
    assert recalibrate(nn.BatchNorm2d(2), never(), 0) == 0  # type: ignore[arg-type]
