"""Olive's OnnxStaticQuantization pass, at the flags that are best for x86 without VNNI.

As it comes, Olive 0.13 drops `reduce_range` (its footprint says true, the weights span +-127), so there are two rows:
what a user asks for and gets, and the same with `prepare_qdq_config` off, which keeps the flag. `olive optimize`
takes no data of one's own; a workflow does, by components that are registered in Python.
"""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from peers._records import Job, Row
from peers._samples import Samples

NEEDS = {"olive": "olive-ai"}
ROWS = {
    "olive": Row(
        runtime="onnxruntime",
        summary="OnnxStaticQuantization, per channel, reduce_range (dropped by Olive 0.13)",
    ),
    "olive-fixed": Row(
        runtime="onnxruntime",
        summary="OnnxStaticQuantization, per channel, reduce_range, prepare_qdq_config off",
        settings={"prepare_qdq_config": False},
    ),
}
STAGES = ("calibrate",)
COMPONENT = "edgekit_samples"


def calibrate(job: Job) -> Callable[[], None]:
    import olive.passes.onnx.quantization  # noqa: F401
    import onnx
    import onnxruntime.quantization  # noqa: F401
    from olive.data.registry import Registry
    from olive.workflows import run

    samples = Samples(job.source.load(), [spec.name for spec in job.float_file.inputs], job.float_file.layout)

    loaded = onnx.load(job.float_file.path)

    def dataset(**_: Any) -> Samples:
        return samples

    def dataloader(found: Samples, **_: Any) -> "Pairs":
        return Pairs(found)

    Registry.register_dataset(COMPONENT)(dataset)
    Registry.register_dataloader(COMPONENT)(dataloader)

    def call(_held: object = loaded) -> None:
        out = Path(job.work) / "olive"
        run(_workflow(job, out))
        (made,) = out.rglob("*.onnx")
        shutil.move(made, job.out)

    return call


class Pairs:
    """(inputs, label) of every sample, as Olive's calibration wants them."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def __iter__(self) -> Iterator[tuple[dict[str, Any], int]]:
        return ((feeds, 0) for feeds in self._samples)


def _workflow(job: Job, out: Path) -> dict[str, Any]:
    return {
        "input_model": {"type": "ONNXModel", "model_path": job.float_file.path},
        "data_configs": [
            {
                "name": "calibration",
                "type": "DataContainer",
                "load_dataset_config": {"type": COMPONENT},
                "pre_process_data_config": {"type": "skip_pre_process"},
                "dataloader_config": {"type": COMPONENT},
            }
        ],
        "passes": {
            "quantize": {
                "type": "OnnxStaticQuantization",
                "data_config": "calibration",
                "per_channel": True,
                "reduce_range": True,
                "activation_type": "uint8",
                "precision": "int8",
                "quant_format": "QDQ",
                **job.row.settings,
            }
        },
        "output_dir": str(out),
        "cache_dir": str(Path(job.work) / "olive-cache"),
    }
