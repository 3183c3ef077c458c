"""Turns an ONNX file with binary layers into an OpenVINO IR with one-bit kernels. Experimental, x86 only.

OpenVINO reads the file that `edgekit.techniques.binarize` led to; each where(x > t, 1, -1) -> pad(-1) -> conv
with weights of -1 and 1 becomes FakeQuantize and BinaryConvolution, the rest stays. Nothing is written before
`edgekit.binary.selftest` has proven every layer on its own, every layer has matched its reference in its
place in the network, both bit by bit, and the whole file has been compared with float arithmetic on the same
signs. The last comparison cannot be exact: other layers round differently in the two, and a value that meets
its threshold there flips its sign.

Cost: seconds. OpenVINO's own `convert_model` is not used: it reports its use where openvino-telemetry is
installed.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openvino as ov
from edgekit_runner.stats.deviation import ratio_db

from edgekit.binary import selftest
from edgekit.binary.kernels import Layer, convolution, reference
from edgekit.errors import UserError, VerificationError
from edgekit.records import Record

LEAST_DB = 6.0  # unrelated outputs of equal power have -3
CEILING_DB = 200.0  # stands for no error at all
SAMPLES = 4


class Written(Record):
    """What was written.

    Attributes:
        path: The .xml file; the .bin file lies beside it.
        layers: The binary layers.
        float_weight_bytes: The size of their weights before.
        weight_bytes: The size of their weights now.
        size_bytes: The size of both files.
        snr_db: The signal-to-noise ratio against float arithmetic, on random inputs.
    """

    path: str
    layers: tuple[str, ...]
    float_weight_bytes: int
    weight_bytes: int
    size_bytes: int
    snr_db: float


def write(source: Path, out: Path) -> Written:
    """Converts a file.

    Args:
        source: The ONNX file.
        out: The .xml file to write; the .bin file is written beside it.

    Raises:
        UserError: The file cannot be read, or has no binary layer.
        VerificationError: The kernels compute something else; then nothing is left behind.
    """
    plain, model = read(source), read(source)
    found = list(binary_layers(model))
    if not found:
        raise UserError(f"{source} has no binary layer; give a file made with the technique binarize")
    selftest.run(layer for _, _, layer in found)
    made = [_in_place(node, x, layer) for node, x, layer in found]
    model.validate_nodes_and_infer_types()
    _prove(model, made)
    ratio, size = _save(model, plain, source, out)
    weights = sum(layer.weight.size for _, _, layer in found)
    return Written(
        path=str(out),
        layers=tuple(str(layer) for _, _, layer in found),
        float_weight_bytes=4 * weights,
        weight_bytes=sum(-(-layer.weight.size // 8) for _, _, layer in found),
        size_bytes=size,
        snr_db=ratio,
    )


def _save(model: ov.Model, plain: ov.Model, source: Path, out: Path) -> tuple[float, int]:
    """Writes both files, or none if they differ from `plain`; returns (SNR in dB, bytes)."""
    partial = out.with_name(f".{out.stem}.partial.xml")
    out.parent.mkdir(parents=True, exist_ok=True)
    files = [(partial, out), (partial.with_suffix(".bin"), out.with_suffix(".bin"))]
    try:
        ov.save_model(model, partial, compress_to_fp16=False)
        ratio = _snr_db(plain, selftest.compiled(partial))
        if ratio < LEAST_DB:
            raise VerificationError(
                f"the binary file of {source} answers unlike float arithmetic of the same signs: {ratio:.1f} dB, at least "
                f"{LEAST_DB:g} are asked for; nothing is written"
            )
        for written, place in reversed(files):
            written.replace(place)
    finally:
        for written, _ in files:
            written.unlink(missing_ok=True)
    return ratio, sum(place.stat().st_size for _, place in files)


def read(source: Path) -> ov.Model:
    """Reads an ONNX file.

    Raises:
        UserError: OpenVINO cannot read it.
    """
    if not source.is_file():
        raise UserError(f"no file at {source}; expected an ONNX file that edgekit exported")
    try:
        return ov.Core().read_model(source)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise UserError(f"OpenVINO cannot read {source}: {reason}") from error


def binary_layers(model: ov.Model) -> Iterator[tuple[ov.Node, ov.Output, Layer]]:
    """Yields (convolution, the float tensor that is compared, layer) for each binary layer, in order."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convolution":
            found = _layer(node)
            if found is not None:
                yield node, *found


def _layer(node: ov.Node) -> tuple[ov.Output, Layer] | None:
    weight, chosen = _constant(node.input_value(1)), node.input_value(0).get_node()
    settings = node.get_attributes()
    if weight is None or not (np.abs(weight) == 1).all() or set(settings["dilations"]) != {1}:
        return None
    padding: tuple[int, int] | None = (0, 0)
    if chosen.get_type_name() == "Pad":
        padding, chosen = _border(chosen), chosen.input_value(0).get_node()
    if padding is None or any(settings["pads_begin"]) or any(settings["pads_end"]):
        return None
    compared = _compared(chosen)
    if compared is None:
        return None
    x, threshold = compared
    layer = Layer(
        name=node.get_friendly_name(),
        weight=weight,
        threshold=threshold.ravel(),
        input_shape=tuple(x.get_shape()),
        stride=tuple(settings["strides"]),
        padding=padding,
    )
    return x, layer


def _border(pad: ov.Node) -> tuple[int, int] | None:
    """The rows and columns of -1 on both sides; None for another pad."""
    before, after, value = (_constant(pad.input_value(i)) for i in (1, 2, 3))
    if before is None or after is None or value is None or value != -1 or list(before) != list(after):
        return None
    return int(before[2]), int(before[3])


def _compared(select: ov.Node) -> tuple[ov.Output, np.ndarray] | None:
    """The x and t of where(x > t, 1, -1); None for anything else."""
    if select.get_type_name() != "Select":
        return None
    above, *chosen = (select.input_value(i) for i in range(3))
    values = [value for value in map(_constant, chosen) if value is not None]
    if above.get_node().get_type_name() != "Greater" or [v.item() for v in values if v.size == 1] != [1, -1]:
        return None
    threshold = _constant(above.get_node().input_value(1))
    return None if threshold is None else (above.get_node().input_value(0), threshold)


def _constant(output: ov.Output) -> np.ndarray | None:
    node = output.get_node()
    return np.array(node.data) if node.get_type_name() == "Constant" else None


def _in_place(node: ov.Node, x: ov.Output, layer: Layer) -> tuple[ov.Output, ov.Output, Layer]:
    """Replaces the convolution with the one-bit kernel; returns its input and output."""
    y = convolution(x, layer).output(0)
    node.output(0).replace(y)
    return x, y, layer


def _prove(model: ov.Model, made: list[tuple[ov.Output, ov.Output, Layer]]) -> None:
    """Runs the network with every binary layer's input and output exposed.

    Raises VerificationError where an output is not the reference's.
    """
    shown = [output for x, y, _ in made for output in (x, y)]
    answers = ov.Core().compile_model(
        ov.Model(shown, model.get_parameters(), "shown"), "CPU", selftest.SETTINGS
    )
    found = list(answers(_feeds(model, np.random.default_rng(0))).values())
    for (_, _, layer), x, y in zip(made, found[::2], found[1::2], strict=True):
        wrong = int((y != reference(x, layer)).sum())
        if wrong:
            raise VerificationError(
                f"binary layer {layer}: {wrong} of its sums are wrong in the net, though it is right alone; nothing is written"
            )


def _feeds(model: ov.Model, random: np.random.Generator) -> list[np.ndarray]:
    return [random.standard_normal(tuple(x.shape)).astype(x.element_type.to_dtype()) for x in model.inputs]


def _snr_db(plain: ov.Model, binary: ov.CompiledModel) -> float:
    """The signal-to-noise ratio of the binary file, where the noise is the difference to float arithmetic."""
    floats, random = ov.Core().compile_model(plain, "CPU", selftest.SETTINGS), np.random.default_rng(0)
    signal = noise = 0.0
    for _ in range(SAMPLES):
        feeds = _feeds(plain, random)
        for want, got in zip(floats(feeds).values(), binary(feeds).values(), strict=True):
            signal += float((want**2).sum())
            noise += float(((want - got) ** 2).sum())
    return min(ratio_db(signal, noise), CEILING_DB)
