"""What each layer of a network costs."""

from edgekit.records._base import Record


class LayerCost(Record):
    """One operator that multiplies and adds: a convolution, a linear layer, a recurrent cell, an attention product.

    Attributes:
        name: Its node in the program.
        origin: The torch module, "features.0 (Conv2d)".
        macs: Its multiply-accumulates in one inference.
        weights: How many numbers it stores, where no layer before it stores the same.
        noise_ratio: Noise power over signal power of the outputs where this layer alone, its weight and what it makes, is
            rounded to integers; None where that was not measured.
        int8_s: Seconds in integers, with what follows up to the next layer; None where that was not measured.
        float_s: The same in float.
        is_float: Whether it stays float in an integer candidate.
    """

    name: str
    origin: str
    macs: int
    weights: int
    noise_ratio: float | None = None
    int8_s: float | None = None
    float_s: float | None = None
    is_float: bool = False
