"""What edgekit costs beside the converters, quantizers and runtimes that it drives: CPU seconds of the same work, done bare.

    python benchmarks/overhead.py examples/imagenet.py:task --set photos=photos.tar

Bare is one process a family, as a script of one's own would be, imports counted: `torch` exports the model and scores it;
`onnx` writes the float file, quantizes it twice (`quantize_static`, one for each ONNX target) and scores all three; `tflite` the same
with litert-torch and ai-edge-quantizer; `coreml` converts to float32 and float16, with TensorFlow kept out, and scores
nothing, for there is no runtime. What edgekit does beyond that is its overhead: proofs, golden answers, blame, the Core ML
interpreter, interleaved timing, reports. `same work` leaves out the stages that no script above has, by their own CPU seconds:
the timing, the Core ML interpreter's answers, and the answers in a second runtime. `first` is an export of three targets with an empty cache, `one more` adds the fourth
with the cache of the first, `all` is all four with an empty cache. CPU seconds are of the process and all that it waited for.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import result_file

TARGETS = ("x86-server", "arm-mobile", "tflite-int8", "coreml-fp16")
PREFIX = "serving_default_"
HEAD = ("what", "CPU", "wall", "of it beyond bare", "CPU / bare", "same work / bare")


class Cost(NamedTuple):
    what: str
    cpu_s: float
    wall_s: float
    beyond_s: float = 0.0  # of cpu_s, in stages that bare has none of

    def row(self, bare_s: float) -> list[str]:
        same_s = self.cpu_s - self.beyond_s
        ratios = [f"{self.cpu_s / bare_s:.2f}", f"{same_s / bare_s:.2f}"]
        return [self.what, f"{self.cpu_s:.1f} s", f"{self.wall_s:.1f} s", f"{self.beyond_s:.1f} s", *ratios]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("task")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    parser.add_argument("--family", choices=sorted(BARE), help=argparse.SUPPRESS)
    asked = parser.parse_args(argv)
    if asked.family:
        BARE[asked.family](asked.task, dict(pair.split("=", 1) for pair in asked.settings))
        return 0
    given = [asked.task, *(f"--set={pair}" for pair in asked.settings)]
    bare = [timed(f"bare: {name}", [sys.executable, __file__, *given, "--family", name]) for name in BARE]
    total = Cost("bare, all", sum(cost.cpu_s for cost in bare), sum(cost.wall_s for cost in bare))
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        made = list(exports(given, Path(folder)))
    rows = [cost.row(total.cpu_s) for cost in (*bare, total, *made)]
    print("\n".join(result_file.markdown([HEAD, *rows])))
    return 0


def exports(given: list[str], place: Path) -> Iterator[Cost]:
    command = [sys.executable, "-m", "edgekit", "export", *given, "--quiet"]
    for what, cache, targets in (
        ("edgekit, all four, empty cache", "one", TARGETS),
        ("edgekit, three, empty cache", "two", TARGETS[:3]),
        ("edgekit, one more", "two", TARGETS),
    ):
        asked = [f"--target={name}" for name in targets]
        cost = timed(what, [*command, *asked, "-o", str(place / "out")], XDG_CACHE_HOME=str(place / cache))
        yield cost._replace(beyond_s=beyond_bare_s(json.loads((place / "out" / "report.json").read_text())))


def beyond_bare_s(report: dict[str, Any]) -> float:
    """CPU seconds of the stages whose work no bare script does: timing, Core ML's answers, a second runtime's answers."""
    found = []
    for target in report["targets"]:
        for attempt in target["attempts"]:
            run = [time for time in attempt["stages"] if not time["reused"]]
            checks = [time for time in run if time["stage"] == "verify"]
            found += [time for time in run if time["stage"] == "measure"]
            found += checks if target["target"].startswith("coreml") else checks[1:]
    return sum(time["cpu_s"] or 0.0 for time in found)


def timed(what: str, command: list[str], **variables: str) -> Cost:
    """Runs a command to its end; its CPU seconds hold those of all processes that it waited for."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{what} failed: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cost = Cost(what, cpu_s, time.perf_counter() - started)
    print(json.dumps(cost._asdict()), file=sys.stderr, flush=True)
    return cost


# ------------------------------------------------------------------------------------------------------- bare


def loaded(task: str, settings: dict[str, str]) -> tuple[Any, Any]:
    """The task and its model in eval mode; torch is imported first, as all of them want it."""
    import torch
    import torchvision  # noqa: F401

    from edgekit.engine.task_reference import load_task

    found = load_task(task, settings)
    model = found.model if isinstance(found.model, torch.nn.Module) else found.model()
    return found, model.eval()


def of_torch(task: str, settings: dict[str, str]) -> None:
    import torch

    found, model = loaded(task, settings)
    torch.export.export(model, found.example_inputs)
    with torch.no_grad():
        found.metric(lambda x: model(torch.from_numpy(x)).numpy())


def of_onnx(task: str, settings: dict[str, str]) -> None:
    import torch

    found, model = loaded(task, settings)
    from onnxruntime.quantization import QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as work:
        path = f"{work}/float.onnx"
        torch.onnx.export(model, found.example_inputs, path, dynamo=True)
        quant_pre_process(path, f"{work}/plain.onnx")
        for name, narrow in (("x86", True), ("arm", False)):
            quantize_static(
                f"{work}/plain.onnx",
                f"{work}/{name}.onnx",
                Reader(found.calibration, onnx_input(path)),
                per_channel=True,
                reduce_range=narrow,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        for name in ("float", "x86", "arm"):
            found.metric(onnx_session(f"{work}/{name}.onnx"))


def onnx_input(path: str) -> str:
    import onnxruntime

    return str(onnxruntime.InferenceSession(path).get_inputs()[0].name)


def onnx_session(path: str) -> Callable[[Any], Any]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = os.cpu_count() or 1
    session = onnxruntime.InferenceSession(path, options)
    name = session.get_inputs()[0].name
    return lambda x: np.concatenate([session.run(None, {name: x[i : i + 1]})[0] for i in range(len(x))])


def as_stored(x: Any, tensor: dict[str, Any]) -> Any:
    """The numbers as the file wants them; the scale of the answers does not change their order."""
    import numpy as np

    scale, zero_point = tensor["quantization"]
    if tensor["dtype"] == np.float32:
        return x
    return np.clip(np.round(x / scale) + zero_point, -128, 127).astype(tensor["dtype"])


class Reader:
    """What `quantize_static` reads: one sample at a time."""

    def __init__(self, batches: Any, name: str) -> None:
        self._samples = ({name: batch[i : i + 1]} for batch in batches for i in range(len(batch)))

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def of_tflite(task: str, settings: dict[str, str]) -> None:
    import numpy as np

    found, model = loaded(task, settings)
    import litert_torch
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    def score(path: str) -> None:
        interpreter = Interpreter(path, num_threads=os.cpu_count() or 1)
        interpreter.allocate_tensors()
        (given,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()

        def predict(x: Any) -> Any:
            rows = []
            for i in range(len(x)):
                interpreter.set_tensor(given["index"], as_stored(x[i : i + 1], given))
                interpreter.invoke()
                rows.append(interpreter.get_tensor(made["index"]).astype(np.float32))
            return np.concatenate(rows)

        found.metric(predict)

    with tempfile.TemporaryDirectory() as work:
        litert_torch.convert(model, found.example_inputs).export(f"{work}/float.tflite")
        name = (
            Interpreter(f"{work}/float.tflite")
            .get_input_details()[0]["name"]
            .removeprefix(PREFIX)
            .partition(":")[0]
        )
        peer = quantizer.Quantizer(f"{work}/float.tflite")
        peer.load_quantization_recipe(recipe.static_wi8_ai8())
        samples = [{name: batch[i : i + 1]} for batch in found.calibration for i in range(len(batch))]
        ranges = peer.calibrate({"serving_default": samples})
        Path(f"{work}/int8.tflite").write_bytes(peer.quantize(ranges).quantized_model)
        score(f"{work}/float.tflite")
        score(f"{work}/int8.tflite")


def of_coreml(task: str, settings: dict[str, str]) -> None:
    import torch

    found, model = loaded(task, settings)
    sys.modules["tensorflow"] = sys.modules["sklearn"] = None  # type: ignore[assignment]
    import coremltools as ct

    program = torch.export.export(model, found.example_inputs).run_decompositions({})
    with tempfile.TemporaryDirectory() as work:
        for precision in (ct.precision.FLOAT32, ct.precision.FLOAT16):
            target = ct.target.iOS17
            made = ct.convert(
                program, compute_precision=precision, minimum_deployment_target=target, skip_model_load=True
            )
            made.save(f"{work}/{precision}.mlpackage")


BARE: dict[str, Callable[[str, dict[str, str]], None]] = {
    "torch": of_torch,
    "onnx": of_onnx,
    "tflite": of_tflite,
    "coreml": of_coreml,
}

if __name__ == "__main__":
    sys.exit(main())
