"""The user's forward, called on example inputs: what it raises becomes one sentence that says what it was given."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from edgekit.engine.user_code import describe
from edgekit.errors import ConversionError, TaskError
from edgekit.quant.first_states import Guard
from edgekit.trace.sources import keras

_CASTS = (
    ". Weights are float32 for an export: leave casts to half precision (.half(), .bfloat16()) out of forward"
)


def shapes_of(examples: Sequence[torch.Tensor]) -> str:
    """Returns the shapes and types of example inputs, as messages name them."""
    return ", ".join(f"{list(e.shape)} {str(e.dtype).removeprefix('torch.')}" for e in examples)


@contextmanager
def called(model: torch.nn.Module, examples: Sequence[torch.Tensor]) -> Iterator[None]:
    """Holds the place of one call of the model on these inputs.

    Raises:
        TaskError: The call raised something.
    """
    try:
        with torch.no_grad(), keras.layers_named(model), Guard():
            yield
    except (ConversionError, TaskError):
        raise
    except Exception as error:
        half = any(kind in str(error) for kind in ("Half", "BFloat16"))
        raise TaskError(
            f"the model's forward, called with example_inputs ({shapes_of(examples)}), raised {describe(error)}{_CASTS if half else ''}"
        ) from error
