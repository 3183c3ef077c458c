"""TFLite files in LiteRT: the operators of the flatbuffer by the dtype they read and write."""

from collections import Counter

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from edgekit_runner.backends import litert as backend

from edgekit.records import Artifact, Lint
from edgekit.verify.lint import HEAVY, HYBRID, build_lint
from edgekit.verify.predict import Session, usable_cpus


def open_session(path: str, exact: bool = False) -> Session:
    """`exact` changes nothing here: LiteRT's int8 kernels sum in 32 bits everywhere."""
    return backend.open(path, threads=usable_cpus(), options={})


def lint(artifact: Artifact) -> Lint:
    """Counts "OP:in->out" over the file, read without a delegate so that every operator shows.

    A full-integer file must also take and return int8, unless layers stay float; a dynamic one stays float outside its
    layers; a float16 file is one of storage, widened at load.
    """
    ops = op_counts(artifact.path)
    findings = []
    if artifact.precision == "int8" and artifact.scheme == "static" and not artifact.float_layers:
        sides = {"input": artifact.inputs, "output": artifact.outputs}
        findings = [
            f"{side} {t.name} is {t.dtype}, not int8"
            for side, ts in sides.items()
            for t in ts
            if t.dtype == "float32"
        ]
    return build_lint(artifact, ops, findings, stored_only=artifact.precision == "float16")


def op_counts(path: str) -> dict[str, int]:
    """ "CONV_2D:int8->int8" -> count, in the order of the graph. The dtype read is that of the first tensor input; a layer
    that reads float and multiplies by int8 is "FULLY_CONNECTED:hybrid"."""
    interpreter = Interpreter(
        path, experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter.allocate_tensors()
    dtype = {t["index"]: np.dtype(t["dtype"]).name for t in interpreter.get_tensor_details()}
    counts: Counter[str] = Counter()
    for op in interpreter._get_ops_details():
        inputs = [i for i in op["inputs"] if i >= 0]
        read = dtype[inputs[0]] if inputs else "none"
        hybrid = HEAVY.search(op["op_name"]) and [dtype[i] for i in inputs[:2]] == ["float32", "int8"]
        how = HYBRID if hybrid else f"{read}->{dtype[op['outputs'][0]]}"
        counts[f"{op['op_name']}:{how}"] += 1
    return dict(counts)
