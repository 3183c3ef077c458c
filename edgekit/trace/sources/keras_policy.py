"""Keras models that were trained in half precision: what is exported computes in float32, with their float32 variables.

Under the policy `mixed_float16` a layer casts its float32 variables to float16 at each call. Exported like that, every weight is
float16 behind a cast, which converters and integer kernels do not take. The policy is there for the speed of training alone.
"""

from collections import Counter

import torch

from edgekit.trace.sources import keras

_HALF = ("float16", "bfloat16")
DOUBT = "edgekit_policy"  # what is said of a module


def compute_in_float32(model: torch.nn.Module) -> None:
    """Gives the Keras layers in `model` that compute in half precision the policy float32, in place."""
    layers = [
        layer
        for layer in keras.layers_of(model)
        if layer.compute_dtype in _HALF and not layer.quantization_mode
    ]
    if not layers:
        return
    policies = Counter(layer.dtype_policy.name for layer in layers)
    for layer in layers:
        layer.dtype_policy = "float32"
        if hasattr(layer, "finalize_state"):  # Normalization keeps statistics in the type that it computes in
            layer.finalize_state()
    named = " and ".join(f"{name} ({n} layer{'s' if n > 1 else ''})" for name, n in sorted(policies.items()))
    said = (
        f"the Keras policy {named} is for training and is not exported: variables and arithmetic are float32, and so is "
        "what Metric and Agreement compare with"
    )
    setattr(model, DOUBT, said)


def doubts(model: torch.nn.Module) -> tuple[str, ...]:
    """Returns what `compute_in_float32` has to say of a model: the policies that it replaced."""
    said = getattr(model, DOUBT, "")
    return (said,) if said else ()
