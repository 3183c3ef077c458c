"""Intermediate tensors of a TFLite file in LiteRT's own kernels, which can keep every tensor.

A delegate (XNNPACK) takes whole groups of operators and shows nothing in between, so none is used here. Tensor names
of a converted torch program say nothing about its nodes: operators are matched in order.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgekit_runner.backends.litert import interface

from edgekit.verify.blame.match import Run, Tensor
from edgekit.verify.predict import usable_cpus


def tensors(path: str) -> list[Tensor]:
    """Lists what operators make from the inputs, in order; `name` is the index of the tensor."""
    interpreter = _interpreter(path)
    details = {int(d["index"]): d for d in interpreter.get_tensor_details()}
    live = {int(d["index"]) for d in interpreter.get_input_details()}
    found = []
    for op in interpreter._get_ops_details():
        reads = [int(i) for i in op["inputs"] if int(i) in live]
        if reads:
            live.update(int(i) for i in op["outputs"])
            found += [_tensor(details[int(i)], str(op["op_name"]), reads) for i in op["outputs"]]
    return found


def open_values(path: str, names: list[str], fused: bool = False) -> Run:
    """Opens the file and returns a function that gives some tensors for one sample.

    Args:
        path: The TFLite file.
        names: The indices of the tensors.
        fused: Has no effect here: no delegate is used.
    """
    interpreter = _interpreter(path)
    inputs = {d["name"]: int(d["index"]) for d in interface(interpreter)[0]}

    def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, array in feeds.items():
            interpreter.set_tensor(inputs[name], array)
        interpreter.invoke()
        return {name: interpreter.get_tensor(int(name)) for name in names}

    return run


def _interpreter(path: str) -> Interpreter:
    interpreter = Interpreter(
        path,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=usable_cpus(),
    )
    interpreter.allocate_tensors()
    return interpreter


def _tensor(detail: Mapping[str, Any], op: str, reads: list[int]) -> Tensor:
    scale, zero = detail["quantization"]
    return Tensor(
        name=str(int(detail["index"])),
        op=op,
        shape=tuple(int(n) for n in detail["shape"]),
        reads=tuple(map(str, reads)),
        grid=(float(scale), int(zero)) if scale and np.dtype(detail["dtype"]).kind in "iu" else None,
    )
