"""Running an artifact at another batch size, where it leaves the batch free."""

from typing import TYPE_CHECKING

from edgekit_runner.errors import UserError

if TYPE_CHECKING:
    from edgekit_runner.backends import Arrays, Feeds, TensorInfo


def with_batch(inputs: "tuple[TensorInfo, ...]", feeds: "Feeds", batch_count: int) -> "Arrays":
    """The feeds repeated along axis 0 up to `batch_count`. Raises `UserError` where an input fixes it."""
    import numpy as np

    fixed = next((info for info in inputs if not info.shape or info.shape[0] not in (-1, batch_count)), None)
    if fixed is not None:
        kept = fixed.shape[0] if fixed.shape else "none"
        raise UserError(
            f"input {fixed.name!r} has a fixed batch of {kept}, asked was {batch_count}; "
            "leave the batch out, or export the model with a free batch dimension."
        )
    return {name: np.resize(array, (batch_count, *array.shape[1:])) for name, array in feeds.items()}
