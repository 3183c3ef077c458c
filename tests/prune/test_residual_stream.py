"""The layers whose channels meet others."""

import prune_nets as nets
import pytest
import torch
from torch import nn

from edgekit.prune import residual_stream

EXAMPLE = (torch.zeros(1, 1, 8, 8),)


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (nets.Plain, {}, {}),
        (
            nets.Residual,
            {},
            {
                **{f"layer{i}.{j}.conv2": "add" for i in (1, 2) for j in (0, 1)},
                "conv1": "add", "layer2.0.short": "add",
            },
        ),
        (nets.Mobile, {}, {"stem.0": "add", "narrow": "add"}),
        (nets.Joined, {}, {"left.0": "cat", "right.0": "cat"}),
    ],
)  # fmt: skip
def test_sums_and_joins(kind: type[nn.Module], given: dict[str, bool], expected: dict[str, str]) -> None:
    assert residual_stream.layers(nets.made(kind, **given), EXAMPLE) == expected


def test_pads_of_channels_and_attention() -> None:
    padded = residual_stream.layers(nets.made(nets.Residual, padded=True), EXAMPLE)
    assert set(padded) == {"conv1", *(f"layer{i}.{j}.conv2" for i in (1, 2) for j in (0, 1))}
    met = residual_stream.layers(nets.made(nets.Transformer), EXAMPLE)
    assert "patch" in met and "layers.0.mlp.2" in met and "layers.0.mlp.0" not in met
