"""NNCF on an OpenVINO model: mixed preset, with `OverflowFix.ENABLE`, which halves the range of the weights.

Without that flag its int8 products saturate on x86 without VNNI, as ONNX Runtime's do.
"""

from collections.abc import Callable

from peers._records import Job, Row
from peers._samples import Samples

NEEDS = {"nncf": "nncf", "openvino": "openvino"}
ROWS = {
    "nncf-openvino": Row(
        runtime="openvino", summary="preset MIXED, OverflowFix.ENABLE", settings={"overflow_fix": "ENABLE"}
    )
}
STAGES = ("calibrate",)


def calibrate(job: Job) -> Callable[[], None]:
    import nncf
    import openvino
    from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, OverflowFix

    samples = Samples(job.source.load(), [spec.name for spec in job.float_file.inputs], job.float_file.layout)
    model = openvino.convert_model(job.float_file.path)
    count = sum(1 for _ in samples)

    def call() -> None:
        fix = OverflowFix[str(job.row.settings["overflow_fix"])]
        quantized = nncf.quantize(
            model,
            nncf.Dataset(samples, lambda feeds: list(feeds.values())),
            subset_size=count,
            preset=nncf.QuantizationPreset.MIXED,
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=fix),
        )
        openvino.save_model(quantized, job.out, compress_to_fp16=False)

    return call
