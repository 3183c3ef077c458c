"""ai-edge-quantizer, the quantizer of LiteRT: its full-integer recipe on the float flatbuffer."""

from collections.abc import Callable
from pathlib import Path

from peers._records import Job, Row
from peers._samples import Samples

NEEDS = {"ai_edge_quantizer": "ai-edge-quantizer", "ai_edge_litert": "ai-edge-litert"}
ROWS = {
    "ai-edge-quantizer": Row(
        runtime="litert", summary="static_wi8_ai8", settings={"recipe": "static_wi8_ai8"}
    )
}
STAGES = ("calibrate",)
PREFIX = "serving_default_"  # litert's tensor of an input, before the name that the signature gives it


def calibrate(job: Job) -> Callable[[], None]:
    from ai_edge_quantizer import quantizer, recipe

    names = [spec.name.removeprefix(PREFIX).partition(":")[0] for spec in job.float_file.inputs]
    samples = Samples(job.source.load(), names, job.float_file.layout)
    peer = quantizer.Quantizer(job.float_file.path)
    peer.load_quantization_recipe(getattr(recipe, str(job.row.settings["recipe"]))())

    def call() -> None:
        ranges = peer.calibrate({"serving_default": samples})
        Path(job.out).write_bytes(peer.quantize(ranges).quantized_model)

    return call
