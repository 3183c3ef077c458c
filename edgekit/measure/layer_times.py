"""Seconds of each layer in an integer file and in its float counterpart, from the runtime's own profiler. One child process.

Mixed precision needs to know what each layer gains from integers: a convolution with three input channels gains
nothing, a large matrix multiplication three quarters. The two files are profiled in turns. Kernels are counted towards the
layer before them in the order of execution; the two files hold the same layers in the same order. Conversions at the
file's input and output tell what a border costs.

The profiler counts whole microseconds, rounded down, so small layers come out too fast, in both files.
"""

import importlib
import platform
import re
from collections.abc import Sequence
from statistics import median
from types import ModuleType

import numpy as np
import onnx
from edgekit_runner.backends import OpCall
from edgekit_runner.host.environment import local_isa

from edgekit.engine.measure_specs import LayerTimesSpec
from edgekit.records import Artifact, LayerTime, LayerTimes

ROUNDS = 3
RUNS = 60
MACS = re.compile(r"^(Fused|QLinear)?(Conv|Gemm|MatMul|QGemm|MatMulInteger)")
BORDER = re.compile(r"^(QuantizeLinear|DequantizeLinear|Transpose|Reorder(Input|Output))$")
#: what the optimizer appends to the name of a node that it merged with others
TOKEN = re.compile(r"_token_\d+$")
#: used where no conversion is seen: about half a nanosecond per element on one core
USUAL_BORDER_S = 0.5e-9

Segment = tuple[str, float]


def layer_times(spec: LayerTimesSpec) -> LayerTimes:
    """Profiles both files. A runtime without a profiler, or files whose layers do not match, give the reason instead."""
    backend = importlib.import_module(f"edgekit_runner.backends.{spec.runtime}")
    if not hasattr(backend, "profile") or spec.artifact.format != "onnx":
        return _unknown(f"{spec.runtime} tells no times of single layers")
    pairs = [(_profile(backend, spec.artifact), _profile(backend, spec.baseline)) for _ in range(ROUNDS)]
    integer, floats = (_medians([pair[side] for pair in pairs]) for side in (0, 1))
    layers, plain = segments(integer), segments(floats)
    nodes = _node_names(spec.artifact)
    names = [nodes.get(TOKEN.sub("", name)) for name, _ in layers]
    if len(layers) != len(plain) or None in names:
        unknown = names.count(None)
        return _unknown(
            f"the int8 file runs {len(layers)} layers, {unknown} of them unknown by name, the float file {len(plain)}"
        )
    return LayerTimes(
        layers=tuple(
            LayerTime(name=name, int8_s=int8_s, float_s=float_s)
            for name, (_, int8_s), (_, float_s) in zip(names, layers, plain, strict=True)
            if name is not None
        ),
        border_s_per_element=border_s_per_element(integer, spec.artifact),
        runs=ROUNDS * RUNS,
        measured_on=_here(),
    )


def _node_names(artifact: Artifact) -> dict[str, str]:
    """Maps the nodes of the file to those of the program: the exporter names a tensor after the node that made it."""
    return {node.name: node.output[0] for node in onnx.load(artifact.path).graph.node if node.output}


def _here() -> str:
    return f"{platform.machine()} {local_isa()}"


def _unknown(reason: str) -> LayerTimes:
    return LayerTimes(layers=(), border_s_per_element=0.0, runs=0, measured_on=_here(), reason=reason)


def _profile(backend: ModuleType, artifact: Artifact) -> list[list[OpCall]]:
    """The calls of each run, in the order of execution."""
    generator = np.random.default_rng(0)
    feeds = {
        spec.name: generator.standard_normal(spec.shape).astype(spec.dtype)
        if spec.dtype.startswith("float")
        else np.zeros(spec.shape, spec.dtype)
        for spec in artifact.inputs
    }
    calls = backend.profile(artifact.path, 1, {}, feeds, RUNS)
    size = len(calls) // RUNS
    return [calls[start : start + size] for start in range(0, len(calls), size)]


def _medians(rounds: Sequence[Sequence[Sequence[OpCall]]]) -> list[tuple[str, str, float]]:
    """(name, operator, median seconds) of every call of one run."""
    runs = [run for single in rounds for run in single if len(run) == len(rounds[0][0])]
    return [
        (calls[0].name, calls[0].op, median(c.seconds for c in calls)) for calls in zip(*runs, strict=True)
    ]


def segments(calls: Sequence[tuple[str, str, float]]) -> list[Segment]:
    """Groups each layer with the kernels up to the next one; what runs before the first layer is not counted."""
    found: list[Segment] = []
    for name, op, seconds in calls:
        if MACS.match(op):
            found.append((name, seconds))
        elif found and not BORDER.match(op):
            found[-1] = (found[-1][0], found[-1][1] + seconds)
    return found


def border_s_per_element(calls: Sequence[tuple[str, str, float]], artifact: Artifact) -> float:
    """Seconds of the conversions of the whole file, divided by the number of elements of its inputs and outputs."""
    seconds = sum(seconds for _, op, seconds in calls if BORDER.match(op))
    numbers = sum(int(np.prod(spec.shape)) for spec in artifact.inputs + artifact.outputs)
    return seconds / numbers if seconds and numbers else USUAL_BORDER_S
