"""Whether the one-bit kernels on this machine are correct: equal, bit by bit, to the convolution of -1 and 1.

Every layer of the file is tested on its own, saved and read back, on inputs of which many lie exactly at the
threshold. A set of shapes that must work everywhere comes first, to tell a broken runtime from an unusual
layer.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import openvino as ov

from edgekit.binary.kernels import Layer, convolution, reference
from edgekit.errors import VerificationError

#: (input channels, output channels, kernel, stride, rows and columns)
SHAPES = ((16, 16, 3, 1, 9), (32, 20, 1, 1, 7), (24, 40, 3, 2, 11), (64, 7, 1, 2, 8), (8, 33, 5, 1, 6))
INPUTS = 2
#: bfloat16, the default on some CPUs, would round what is compared with the thresholds
SETTINGS = {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}


def run(layers: Iterable[Layer] = ()) -> int:
    """Tests SHAPES and then `layers`.

    Returns:
        How many layers were tested.

    Raises:
        VerificationError: The first layer that is wrong.
    """
    tried = [*_usual(), *layers]
    with tempfile.TemporaryDirectory() as folder:
        for layer in tried:
            _try(layer, Path(folder) / "layer.xml")
    return len(tried)


def _usual() -> Iterator[Layer]:
    random = np.random.default_rng(0)
    for inputs, outputs, kernel, stride, size in SHAPES:
        yield Layer(
            name="self-test",
            weight=random.choice([-1.0, 1.0], (outputs, inputs, kernel, kernel)),
            threshold=random.integers(-1, 2, inputs).astype(np.float32),
            input_shape=(1, inputs, size, size),
            stride=(stride, stride),
            padding=(kernel // 2, kernel // 2),
        )


def _try(layer: Layer, path: Path) -> None:
    if layer.weight.shape[1] % 8:
        raise VerificationError(
            f"binary layer {layer}: the kernels of one bit need input channels that divide by 8 and answer "
            "wrong for others; leave this layer out of the binary ones"
        )
    random = np.random.default_rng(1)
    answer = _compiled(layer, path)
    for _ in range(INPUTS):
        steps = random.integers(-2, 3, layer.input_shape).astype(np.float32) / 2
        x = steps + layer.threshold.reshape(-1, 1, 1)
        wrong = int((answer(x)[0] != reference(x, layer)).sum())
        if wrong:
            raise VerificationError(
                f"binary layer {layer}: OpenVINO {ov.get_version()} answers {wrong} of its sums wrong on this machine, "
                "compared with the convolution of -1 and 1; nothing is written. Leave this layer out of the binary ones"
            )


def _compiled(layer: Layer, path: Path) -> ov.CompiledModel:
    """The layer on its own, as a file."""
    x = ov.opset1.parameter(list(layer.input_shape), np.float32)
    ov.save_model(ov.Model([convolution(x.output(0), layer)], [x], "layer"), path, compress_to_fp16=False)
    return compiled(path)


def compiled(path: Path) -> ov.CompiledModel:
    """Compiles a file for one CPU thread, in float32.

    Raises:
        VerificationError: OpenVINO cannot run it.
    """
    try:
        core = ov.Core()
        return core.compile_model(core.read_model(path), "CPU", SETTINGS)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise VerificationError(f"OpenVINO {ov.get_version()} cannot run {path.name}: {reason}") from error
