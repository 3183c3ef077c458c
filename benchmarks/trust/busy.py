"""Interference: beside busy processes every `bench` must say so, and on a quiet machine hardly any may.

The busy processes only count: two, or one for each CPU where there are more. `litert-benchmark`, the benchmark that
comes with LiteRT, runs the same TFLite model under the same load; what it prints is kept word for word.
"""

import re
import shutil
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from edgekit.errors import VerificationError
from trust._place import Place, busy_count, busy_processes, fresh
from trust._records import Row, judged, told

TRIALS = {"busy": 20, "quiet": 20, "litert busy": 3, "litert quiet": 3}
QUIET_RATIO = 18 / 20
_MAIN_LINE = re.compile(r"^(Inference|Warmup|Model init|Fully).*$", re.MULTILINE)
_MEDIAN = re.compile(r"^Inference \(median\):\s+([\d.]+) ms", re.MULTILINE)


def measure(kind: str, index: int, place: Place) -> dict[str, Any]:
    """One `bench` of the runner or of LiteRT, with or without load."""
    busy = kind.endswith("busy")
    with busy_processes(busy_count()) if busy else nullcontext():
        if kind.startswith("litert"):
            return _litert(place)
        model = ("conv20.tflite", "conv20.onnx")[index % 2]
        record = place.bench(model)
    latency = record["latency"]
    kept = ("p50_s", "cpu_p50_s", "min_s", "cpu_min_s", "p50_valid", "processes_count", "runs_count")
    return {
        "model": model,
        "busy_processes_count": busy_count() if busy else 0,
        **{key: record["validity"][key] for key in ("verdict", "causes", "left_out_processes_count")},
        **{key: latency[key] for key in kept},
    }


def _litert(place: Place) -> dict[str, Any]:
    beside = Path(sys.executable).with_name("litert-benchmark")
    program = str(beside) if beside.exists() else shutil.which("litert-benchmark")
    if program is None:
        raise VerificationError("litert-benchmark is not installed; run: pip install ai-edge-litert")
    command = ["litert-benchmark", "--model", "conv20.tflite"]
    done = fresh([program, *command[1:]], cwd=place.folder)
    return {"command": " ".join(command), "stdout": done.stdout, "stderr": done.stderr}


def rows(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Row, ...]:
    """Both claims, what the figures are worth under load, and the peer."""
    made = []
    if busy := found["busy"]:
        k, n = sum(t["verdict"] == "disturbed" for t in busy), len(busy)
        what = f"bench beside {busy[0]['busy_processes_count']} busy processes: disturbed"
        made.append(judged("busy", what, n, TRIALS["busy"], f"{k} of {n}", "all", k == n))
    if quiet := found["quiet"]:
        k, n = sum(t["verdict"] == "ok" for t in quiet), len(quiet)
        claim = f"at least {QUIET_RATIO:.0%}"
        made.append(
            judged(
                "busy", "bench on a quiet machine: ok", n, TRIALS["quiet"], f"{k} of {n}", claim, k >= QUIET_RATIO * n,
            )
        )  # fmt: skip
        made += _causes(quiet)
    if busy and quiet:
        made += [row for model in ("conv20.tflite", "conv20.onnx") for row in _figures(busy, quiet, model)]
    return tuple(made + _peer(found["litert busy"], found["litert quiet"]))


def _causes(quiet: Sequence[Mapping[str, Any]]) -> list[Row]:
    """What made runs on a quiet machine not ok."""
    bad = [t for t in quiet if t["verdict"] != "ok"]
    quotes = tuple(f"{t['verdict']}: {' '.join(t['causes'])}" for t in bad)
    return [told("busy", "causes where it was not", len(bad), "see below", quotes)] if bad else []


def _figures(busy: Sequence[Mapping[str, Any]], quiet: Sequence[Mapping[str, Any]], model: str) -> list[Row]:
    """Medians under load over those on the quiet machine: which figure of a disturbed run still means something."""
    sides = [[t for t in trials if t["model"] == model] for trials in (busy, quiet)]
    if not all(sides):
        return []
    said = []
    for name, key in (("median", "p50_s"), ("CPU median", "cpu_p50_s"), ("minimum", "min_s")):
        loaded, alone = (median(t[key] for t in side) for side in sides)
        said.append(f"{name} {loaded * 1e3:.2f} / {alone * 1e3:.2f} ms = {loaded / alone:.2f}")
    return [told("busy", f"{model}: busy / quiet", min(map(len, sides)), "; ".join(said))]


def _peer(busy: Sequence[Mapping[str, Any]], quiet: Sequence[Mapping[str, Any]]) -> list[Row]:
    """litert-benchmark: its median, and every message that it has under load only."""
    if not busy or not quiet:
        return []
    loaded, alone = (median(_median_ms(t) for t in side) for side in (busy, quiet))
    usual = {line for t in quiet for line in _messages(t)}
    new = Counter(line for t in busy for line in _messages(t) if line not in usual)
    figure = (
        f"median {loaded:.2f} / {alone:.2f} ms = {loaded / alone:.2f}; messages under load only: {len(new)}"
    )
    lines = [match.group(0) for match in _MAIN_LINE.finditer(busy[0]["stdout"])]
    quotes = (f"$ {busy[0]['command']}    (beside busy processes)", *lines, *(f"new: {line}" for line in new))
    return [told("busy", "litert-benchmark, conv20.tflite: busy / quiet", len(busy), figure, quotes)]


def _median_ms(trial: Mapping[str, Any]) -> float:
    match = _MEDIAN.search(trial["stdout"])
    return float(match.group(1)) if match else float("nan")


def _messages(trial: Mapping[str, Any]) -> set[str]:
    """Its lines without figures, which differ from run to run."""
    return {
        re.sub(r"(0x)?[\da-f]*\d[\da-f.:]*", "#", line)
        for line in (trial["stdout"] + trial["stderr"]).splitlines()
    }
