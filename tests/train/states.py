"""A worker: takes the state of a net and of its optimizer, spoils both and puts them back. `states.py STRATEGY`, under torchrun or not."""

import copy
import os
import sys
from typing import Any

import torch
from torch import nn

from edgekit.train import checkpoint, distributed
from edgekit.train.settings import Options


class Net(nn.Module):
    """Tied weights, buffers of every kind, and a parameter that no loss reaches."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.norm, self.tied = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.Linear(6, 6)
        self.tied.weight = self.first.weight
        self.unused = nn.Parameter(torch.ones(3))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("count", torch.tensor(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.tied(self.norm(self.first(x)))
        return y


def step(model: nn.Module, optimizer: torch.optim.Optimizer, number: int) -> None:
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(number))
    model.train()(x).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def shards(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """What this process holds."""
    found: dict[str, Any] = dict(model.state_dict())
    for index, entry in optimizer.state_dict()["state"].items():
        found |= {f"{index} {key}": value for key, value in entry.items()}
    return {n: (t.to_local() if hasattr(t, "to_local") else t).detach().clone() for n, t in found.items()}


def main(strategy: str) -> None:
    for kind in ("adamw", "sgd"):
        take_and_put_back(strategy, kind)
    print("equal", flush=True)
    distributed.stop()
    os._exit(0)


def take_and_put_back(strategy: str, kind: str) -> None:
    options = Options(strategy=strategy, device="cpu", optimizer=kind)  # type: ignore[arg-type]
    accelerator, model = distributed.start(options), Net()
    distributed.spread(model, accelerator, options)
    named = {"lr": 0.1, **({"momentum": 0.9} if kind == "sgd" else {})}
    maker = torch.optim.SGD if kind == "sgd" else torch.optim.AdamW
    optimizer = maker(model.parameters(), **named)  # type: ignore[arg-type]
    step(model, optimizer, 0)
    weights = checkpoint.state_of(model)
    moments = copy.deepcopy(checkpoint.optimizer_state(optimizer))
    if accelerator.is_main_process:
        assert weights["mask"].dtype is torch.bool and weights["first.weight"].shape == (6, 6)
        assert weights["first.weight"].data_ptr() != weights["tied.weight"].data_ptr()
    step(model, optimizer, 1)
    wanted = shards(model, optimizer)
    model.mask.logical_not_()
    model.count.add_(5)
    step(model, optimizer, 2)
    fresh = maker(model.parameters(), **named)  # type: ignore[arg-type]
    kept = {name: tensor.clone() for name, tensor in weights.items()}
    checkpoint.put(model, weights)
    checkpoint.put_optimizer(fresh, moments)
    assert all(torch.equal(weights[name], kept[name]) for name in kept), "what was given stays as it is"
    step(model, fresh, 1)
    found = shards(model, fresh)
    assert all(torch.equal(value, found[name]) for name, value in wanted.items())


if __name__ == "__main__":
    main(*sys.argv[1:])
