"""ONNX Runtime's `quantize_static` with its calibrators, at its default flags and at the best for x86 without VNNI.

Best flags, as its own documentation and measurements have them: weights per channel, of 7 bits (`reduce_range`),
unsigned activations. The histogram calibrators keep every activation of every sample: their memory grows with the
number of samples. `quant_pre_process` comes first, as ONNX Runtime asks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from peers._records import Job, Row
from peers._samples import Samples

NEEDS = {"onnxruntime": "onnxruntime", "onnx": "onnx"}
BEST: dict[str, Any] = {
    "per_channel": True,
    "reduce_range": True,
    "activation_type": "QUInt8",
    "weight_type": "QInt8",
}
STAGES = ("calibrate",)


def _row(method: str, best: bool) -> Row:
    flags = "per channel, 7-bit weights, u8 activations" if best else "default flags"
    settings = {"calibrate_method": method, **(BEST if best else {})}
    return Row(runtime="onnxruntime", summary=f"quantize_static, {method}, {flags}", settings=settings)


ROWS = {
    "ort-default": _row("MinMax", best=False),
    "ort-default-percentile": _row("Percentile", best=False),
    "ort-minmax": _row("MinMax", best=True),
    "ort-percentile": _row("Percentile", best=True),
    "ort-entropy": _row("Entropy", best=True),
}


def calibrate(job: Job) -> Callable[[], None]:
    import onnx
    import onnxruntime  # noqa: F401
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    samples = Samples(job.source.load(), [spec.name for spec in job.float_file.inputs], job.float_file.layout)
    loaded = onnx.load(job.float_file.path)
    settings = _enums(job.row.settings)

    def call(_held: object = loaded) -> None:
        preprocessed = str(Path(job.work) / "preprocessed.onnx")
        quant_pre_process(job.float_file.path, preprocessed)
        quantize_static(preprocessed, job.out, reader(samples), **settings)

    return call


def ranges(job: Job) -> Callable[[], None]:
    """The calibration alone, without writing the quantized file."""
    import onnx
    from onnxruntime.quantization import CalibrationMethod
    from onnxruntime.quantization.calibrate import create_calibrator

    samples = Samples(job.source.load(), [spec.name for spec in job.float_file.inputs], job.float_file.layout)
    loaded = onnx.load(job.float_file.path)
    method = CalibrationMethod[str(job.row.settings["calibrate_method"])]

    def call(_held: object = loaded) -> None:
        augmented = str(Path(job.work) / "augmented.onnx")
        calibrator = create_calibrator(
            job.float_file.path, augmented_model_path=augmented, calibrate_method=method
        )
        calibrator.collect_data(reader(samples))
        calibrator.compute_data()

    return call


def reader(samples: Samples) -> Any:
    """What ONNX Runtime calls a CalibrationDataReader."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._samples = iter(samples)

        def get_next(self) -> dict[str, Any] | None:
            return next(self._samples, None)

    return Reader()


def _enums(settings: dict[str, Any]) -> dict[str, Any]:
    from onnxruntime.quantization import CalibrationMethod, QuantType

    kinds = {"calibrate_method": CalibrationMethod, "activation_type": QuantType, "weight_type": QuantType}
    return {key: kinds[key][value] if key in kinds else value for key, value in settings.items()}
