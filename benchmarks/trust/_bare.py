"""The plainest loop a person would write: load, warm up, time each run, take the median. Nothing of edgekit.

Reads {"paths": [...], "warm_up_s": W, "runs_count": N, "seconds": S} from stdin; several models take turns, run by
run. Prints one JSON list: p50_s by the wall clock, cpu_p50_s and runs_count of each model.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np


def opened(path: str) -> Callable[[], Any]:
    """One inference of the model on one thread, as a function."""
    rng = np.random.default_rng(0)
    if path.endswith(".onnx"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        feeds = {given.name: rng.random(given.shape, np.float32) for given in session.get_inputs()}
        return lambda: session.run(None, feeds)
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    detail = interpreter.get_input_details()[0]
    interpreter.set_tensor(detail["index"], rng.random(tuple(detail["shape"]), np.float32))
    invoke: Callable[[], Any] = interpreter.invoke
    return invoke


def warm_up(runs: list[Callable[[], Any]], seconds: float) -> None:
    """Runs all models in turns, `seconds` for each."""
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end:
        for run in runs:
            run()


def measure(runs: list[Callable[[], Any]], runs_count: int, seconds: float) -> list[dict[str, float]]:
    """Times all models in turns, until each has enough runs and the time is over."""
    wall: list[list[float]] = [[] for _ in runs]
    cpu: list[list[float]] = [[] for _ in runs]
    end = time.perf_counter() + seconds
    while len(wall[0]) < runs_count or time.perf_counter() < end:
        for i, run in enumerate(runs):
            c0, t0 = time.process_time(), time.perf_counter()
            run()
            t1, c1 = time.perf_counter(), time.process_time()
            wall[i].append(t1 - t0)
            cpu[i].append(c1 - c0)
    return [figures(*both) for both in zip(wall, cpu, strict=True)]


def figures(wall: list[float], cpu: list[float]) -> dict[str, float]:
    """Medians, and of how many runs."""
    return {
        "p50_s": float(np.median(wall)),
        "cpu_p50_s": float(np.median(cpu)),
        "runs_count": len(wall),
    }


if __name__ == "__main__":
    job = json.load(sys.stdin)
    loops = [opened(path) for path in job["paths"]]
    warm_up(loops, job["warm_up_s"])
    print(json.dumps(measure(loops, job["runs_count"], job["seconds"])))
