"""An input that tells networks apart. The task's own example is often zeros, to which much answers the same."""

import torch


def probe(examples: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Noise from a fixed seed in place of floats; whole numbers stay, since they may be indices."""
    generator = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(x.shape, generator=generator).to(x.dtype) if x.is_floating_point() else x
        for x in examples
    )
