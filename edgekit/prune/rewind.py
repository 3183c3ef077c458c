"""Weight rewinding: the channels that stay get back the weights they had early in the original training.

Renda et al. 2020 (arXiv:2003.02389): what a pruned network is retrained from matters as much as how; from
early weights it can find another solution than the whole network did. Early weights are a file of the task's
own module; none of its tensors is guessed.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from edgekit.errors import UserError
from edgekit.prune.depth import drop
from edgekit.prune.graph import Graph
from edgekit.prune.width_attributes import follow


def rewound(
    early: nn.Module,
    examples: tuple[torch.Tensor, ...],
    kept: Mapping[str, Sequence[int]],
    dropped: Collection[str] = (),
) -> nn.Module:
    """Prunes a module with early weights in place, to the shape that an earlier pruning chose.

    Args:
        early: The module with early weights.
        examples: Inputs for the search for groups.
        kept: The channels that stay, by root, as the module numbers them.
        dropped: Names of blocks that become the identity.

    Returns:
        `early`.
    """
    drop(early, dropped)
    graph = Graph(early, examples)
    gone = {
        root: sorted(set(range(graph.groups[root].width)) - set(channels)) for root, channels in kept.items()
    }
    for root, channels in gone.items():
        if channels:
            graph.remove(root, channels)
    follow(early, {r: (graph.groups[r].width, graph.groups[r].width - len(c)) for r, c in gone.items()})
    return early


def read(module: nn.Module, place: Path) -> nn.Module:
    """Loads the weights of a .safetensors file into `module`.

    Raises:
        UserError: The file cannot be read, or belongs to another network.
    """
    try:
        state = load_file(str(place))
    except (OSError, SafetensorError) as error:
        raise UserError(f"rewind: {place} cannot be read ({error}); give a .safetensors file") from error
    own = module.state_dict()
    wrong = [
        name
        for name in {**own, **state}
        if not name.endswith("num_batches_tracked")
        and (name not in own or name not in state or own[name].shape != state[name].shape)
    ]
    if wrong:
        raise UserError(
            f"rewind: {place} is of another net than {type(module).__name__}: {wrong[0]} differs; give early weights of the "
            "same net"
        )
    module.load_state_dict(state, strict=False)
    return module
