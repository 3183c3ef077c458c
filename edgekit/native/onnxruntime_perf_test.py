"""ONNX Runtime's `onnxruntime_perf_test`, a program of its source build.

    Session creation time cost: 0.512 s
    First inference time cost: 12 ms
    Total inference time cost: 5.88053 s
    Total inference requests: 1000
    Average inference time cost total: 5.88053 ms       (before 1.21: "Average inference time cost: 5.88053 ms")
    Peak working set size: 123456789 bytes
    Min Latency: 0.0559777 s                            (and P50, P90, ...; old ones say "Min Latency is 0.0559777 sec")

By its own inputs (-I generates random ones) it proves nothing. Its percentile lines are of the same runs.
"""

import re

from edgekit.native import Output, Unknown

FORMATS = (".onnx", ".ort")
PROVES = False
_NUMBER = r"([0-9][0-9.eE+-]*)"
_MEAN = re.compile(rf"Average inference time cost(?: total)?:\s*{_NUMBER} ms")
_RUNS = re.compile(r"Total inference requests:\s*(\d+)")
_SESSION = re.compile(rf"Session creation time cost:\s*{_NUMBER} s")
_FIRST = re.compile(rf"First inference time cost:\s*{_NUMBER} ms")
_PEAK = re.compile(r"Peak working set size:\s*(\d+) bytes")


def command(program: str, model: str, threads: int, runs: int) -> list[str]:
    """How it is called: random inputs, statistics, so many runs, threads within an operator."""
    return [program, "-I", "-s", "-m", "times", "-r", str(runs), "-x", str(threads), "-y", "1", model]


def parse(text: str) -> Output:
    """Reads its output. Raises Unknown where it is another."""
    mean, runs = _MEAN.search(text), _RUNS.search(text)
    if mean is None or runs is None:
        raise Unknown("no lines 'Average inference time cost' and 'Total inference requests'")
    session, first, peak = _SESSION.search(text), _FIRST.search(text), _PEAK.search(text)
    return Output(
        runs=int(runs[1]),
        mean_s=float(mean[1]) / 1e3,
        median_s=_latency("P50", text),
        min_s=_latency("Min", text),
        max_s=_latency("Max", text),
        load_s=float(session[1]) if session else None,
        first_s=float(first[1]) / 1e3 if first else None,
        memory_bytes=int(peak[1]) if peak else None,
    )


def _latency(name: str, text: str) -> float | None:
    found = re.search(rf"{name} Latency(?: is|:)\s*{_NUMBER} s", text)
    return float(found[1]) if found else None
