"""Where an artifact departs from the float model, layer by layer."""

from typing import Literal

from edgekit.records._base import Record


class LayerDegradation(Record):
    """One operator of the candidate's program, and how far its output is from what it is compared with.

    Where the tensor holds infinity or NaN, both ratios are -200 and the other figures None. Steps are quantization steps of
    an integer tensor.

    Attributes:
        node: Its name in the program.
        module: The torch module it came from.
        tensor: What it is called in the file.
        snr_db: Signal to error with everything before it as it really ran; None where there is no error at all.
        local_snr_db: Signal to error of the operator alone, given the right inputs; None where there is no error at all.
    """

    node: str
    module: str
    op: str
    tensor: str
    matched: Literal["name", "order"]
    snr_db: float | None
    local_snr_db: float | None
    max_abs_error: float | None
    max_steps: float | None = None
    rms_steps: float | None = None
    wrong: bool = False
    reason: str = ""


class ChannelDegradation(Record):
    """The channel of an output that keeps the least of its signal, beside what it is compared with.

    Attributes:
        channel: Its index, None where the output has no channels.
        lost: How many of all `channels` are below `limit_db`.
    """

    output: str
    channel: int | None
    snr_db: float
    lost: int
    channels: int
    limit_db: float


class Blame(Record):
    """Where an artifact departs from the float model.

    It is in the file or its runtime (conversion), or in the numbers (compression).

    Attributes:
        conversion: The artifact against the candidate's program, in the order of execution.
        compression: That program against float, in the order of execution.
        wrong_operator: The first row of `conversion` out of tolerance, if any.
        degraded_layer: The first row of `compression` out of tolerance, if any.
        skip: The option that leaves the degraded layer in float.
        matched: How tensors of the file were found to be those of the program.
        weakest: The channel of the candidate's program that keeps the least to float, None where nothing was quantized.
    """

    runtime: str
    samples: int
    conversion: tuple[LayerDegradation, ...]
    compression: tuple[LayerDegradation, ...]
    wrong_operator: LayerDegradation | None
    degraded_layer: LayerDegradation | None
    skip: str
    matched: str
    conclusion: str
    doubts: tuple[str, ...] = ()
    weakest: ChannelDegradation | None = None
