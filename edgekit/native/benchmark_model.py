"""LiteRT's `benchmark_model`: Android and desktop builds, from 2.4 (2020) to 2.3 of LiteRT (2026).

    count=50 first=79449 curr=81350 min=77385 max=88213 avg=79732 std=1929 p5=78000 median=79700 p95=82000
    Inference timings in us: Init: 38467, First inference: 83235, Warmup (avg): 83235, Inference (avg): 79760.9
    Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859

The first `count=` is of the warm-up, the last one counts. Lines may begin with a log tag.
"""

import re

from edgekit.native import Output, Unknown

FORMATS = (".tflite",)
PROVES = False
_NUMBER = r"([0-9][0-9.eE+]*)"
_COUNTS = re.compile(
    r"count=(\d+) .*?min=" + _NUMBER + " max=" + _NUMBER + " avg=" + _NUMBER + " std=" + _NUMBER
)
_MEDIAN = re.compile(r"median=" + _NUMBER)
_TIMES = re.compile(
    rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): {_NUMBER}, Inference \(avg\): {_NUMBER}"
)
_MEMORY = re.compile(rf"[Mm]emory footprint[^\n]*\(MB\): init={_NUMBER} overall={_NUMBER}")
_TAKEN = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(([^)]+)\)")


def command(program: str, model: str, threads: int, runs: int) -> list[str]:
    """How it is called."""
    return [program, f"--graph={model}", f"--num_threads={threads}", f"--num_runs={runs}", "--warmup_runs=3"]


def parse(text: str) -> Output:
    """Reads its output. Raises Unknown where it is another."""
    lines = [line for line in text.splitlines() if _COUNTS.search(line)]
    times = _TIMES.search(text)
    if times is None or not lines:
        raise Unknown("no line 'count=...' with 'min=' and no line 'Inference timings in us: Init: ...'")
    counts, median = _COUNTS.search(lines[-1]), _MEDIAN.search(lines[-1])
    assert counts is not None
    memory, taken = _MEMORY.search(text), _TAKEN.findall(text)
    return Output(
        runs=int(counts[1]),
        mean_s=_us(times[4]),
        median_s=_us(median[1]) if median else None,
        min_s=_us(counts[2]),
        max_s=_us(counts[3]),
        std_s=_us(counts[5]),
        load_s=_us(times[1]),
        first_s=_us(times[2]),
        delegated=(sum(int(n) for n, _, _ in taken), max(int(m) for _, m, _ in taken)) if taken else None,
        delegate=", ".join(dict.fromkeys(name for _, _, name in taken)),
        memory_bytes=int(float(memory[2]) * 1e6) if memory else None,
    )


def _us(text: str) -> float:
    return float(text) / 1e6
