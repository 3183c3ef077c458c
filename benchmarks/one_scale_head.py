"""What int8 makes of boxes in pixels and scores of 0 to 1 that leave a detector in one array: its mean average precision.

    python benchmarks/one_scale_head.py --out one-scale-out

`examples/detection.py` has the head in two forms with the same weights. Each is exported by edgekit for arm-mobile; the float file of the
plain form is also quantized by ONNX Runtime's own `quantize_static` (per channel, QDQ, the same calibration inputs), which gives the array
one scale: that is what most exporters ship.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
RECIPE = "ptq(estimator=mse)"


class Scenes(CalibrationDataReader):  # type: ignore[misc]
    """The calibration inputs of the example, one by one."""

    def __init__(self, batches: Iterator[Any]) -> None:
        self._samples = (sample[None].numpy() for batch in batches for sample in batch)

    def get_next(self) -> dict[str, np.ndarray] | None:
        sample = next(self._samples, None)
        return None if sample is None else {"x": sample}


def exported(plain: bool, out: Path) -> dict[str, Any]:
    """edgekit's file of one form: the report of its target."""
    command = [
        sys.executable,
        "-m",
        "edgekit",
        "export",
        f"{EXAMPLES / 'detection.py'}:task",
        "-t",
        "arm-mobile",
        "-o",
        str(out),
    ]
    command += [
        "--set",
        f"plain={str(plain).lower()}",
        "--recipe",
        RECIPE,
        "--max-drop",
        "1",
        "--min-speedup",
        "0",
        "--json",
        "-q",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)["targets"][0]
    return found


def by_the_runtime(float_file: Path, out: Path) -> float:
    """The mean average precision of the float file, quantized by ONNX Runtime."""
    sys.path.insert(0, str(EXAMPLES))
    import detection

    task = detection.task(plain=True)
    quantize_static(
        float_file, out, Scenes(iter(task.calibration)), quant_format=QuantFormat.QDQ, per_channel=True
    )
    session = onnxruntime.InferenceSession(str(out))
    name = session.get_inputs()[0].name
    return float(
        task.metric(lambda x: np.concatenate([session.run(None, {name: one[None]})[0] for one in x]))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    print("| head | quantized by | mAP (COCO, n=128) | beside float |\n|---|---|---|---|")
    for plain, head in ((False, "boxes and scores apart"), (True, "one array")):
        report = exported(plain, out / f"plain-{plain}")
        verdict = next(a["verdict"] for a in report["attempts"] if a["verdict"])
        print(
            f"| {head} | edgekit, {RECIPE} | {verdict['metric']:.4f} | {verdict['metric'] - verdict['float_metric']:+.4f} |"
        )
    files = list((out / "plain-True" / "baselines").glob("*.onnx"))
    metric = by_the_runtime(files[0], out / "static.onnx")
    print(
        f"| one array | ONNX Runtime's quantize_static | {metric:.4f} | {metric - verdict['float_metric']:+.4f} |"
    )


if __name__ == "__main__":
    main()
