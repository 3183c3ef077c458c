"""Models in half precision: exported in float32, said so, and the user's own module left as it is."""

import pytest
import torch
from torch import nn

import edgekit as ek
from edgekit.errors import TaskError
from edgekit.trace.model import checked, model_of
from edgekit.trace.sources import keras_policy
from edgekit.trace.sources.other_precisions import in_float32


def test_a_model_in_half_precision_is_copied_and_said() -> None:
    net = nn.Sequential(nn.Linear(4, 4).half(), nn.Linear(4, 4))
    own = in_float32(net)
    assert {p.dtype for p in own.parameters()} == {torch.float32}
    assert net[0].weight.dtype is torch.float16 and own[1].weight is not net[1].weight
    (said,) = keras_policy.doubts(own)
    assert said == "the model holds float16 (2 tensors): weights and arithmetic are exported in float32"
    assert in_float32(own) is own


class Casts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.bfloat16())


def test_casts_of_forward_itself_are_named() -> None:
    task = ek.Task(
        name="casts",
        model=Casts().bfloat16(),
        example_inputs=(torch.zeros(1, 4),),
        calibration=[torch.zeros(1, 4)],
        metric=lambda predict: 1.0,
    )
    with pytest.raises(
        TaskError, match=r"leave casts to half precision \(.half\(\), .bfloat16\(\)\) out of forward"
    ):
        checked(model_of(task), (torch.zeros(1, 4),))
