"""What torch says against a free batch, in a sentence."""

import torch
from torch import nn

import edgekit as ek
from edgekit.records import TensorSpec
from edgekit.trace import axes


class Flat(nn.Module):
    """[1, 2, 4] -> [3], with the batch among the features."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(x))


def test_a_model_that_mixes_samples_with_features() -> None:
    image = torch.zeros(1, 2, 4)
    task = ek.Task(name="flat", model=Flat(), example_inputs=(image,), metric=lambda predict: 1.0)
    specs = [TensorSpec(name="x", shape=(1, 2, 4), dtype="float32", batch_axis=0)]
    found = axes.find(task, specs, Flat(), (image,))
    assert found is not None
    assert found.reason == (
        "the axis batch cannot be free: the model mixes it with the features, 8 of each sample, as flatten without start_dim "
        "does; write torch.flatten(x, 1)"
    )
