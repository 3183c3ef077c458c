"""Tasks whose model is an ONNX file: a small convolutional net with old-fashioned weights in Constant nodes, written where asked."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import helper, numpy_helper

import edgekit as ek

SHAPE = (3, 16, 16)
IMAGES = np.random.default_rng(0).standard_normal((48, *SHAPE)).astype(np.float32)


def write(path: Path, opset: int = 12, batch: str | int = "N", constants: bool = True) -> Path:
    """A net of three convolutions and a linear layer, as old exporters write it."""
    random = np.random.default_rng(1)
    nodes, stored = [], []

    def weight(name: str, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:]) or 1)
        tensor = numpy_helper.from_array((random.standard_normal(shape) * scale).astype(np.float32), name)
        if constants:
            nodes.append(helper.make_node("Constant", [], [name], value=tensor))
        else:
            stored.append(tensor)
        return name

    x = "image"
    for i, (before, after, stride) in enumerate(((3, 32, 1), (32, 64, 2), (64, 64, 2))):
        inputs = [x, weight(f"w{i}", after, before, 3, 3), weight(f"b{i}", after)]
        nodes.append(helper.make_node("Conv", inputs, [f"c{i}"], pads=[1, 1, 1, 1], strides=[stride, stride]))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [f"r{i}"]))
        x = f"r{i}"
    nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(
        helper.make_node("Gemm", ["flat", weight("w", 10, 64), weight("b", 10)], ["logits"], transB=1)
    )
    value = helper.make_tensor_value_info
    float32 = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "net", [value("image", float32, [batch, *SHAPE])], [value("logits", float32, [batch, 10])], stored
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)
    onnx.save(model, path)
    return path


def fidelity(path: str, inputs: np.ndarray = IMAGES, name: str = "image") -> Any:
    """One less the relative error of the artifact, beside the file itself."""
    import onnxruntime

    def metric(predict: Any) -> float:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        right = np.concatenate([session.run(None, {name: x[None]})[0] for x in inputs])
        got = np.asarray(predict(inputs))
        return float(1 - np.linalg.norm(got - right) / np.linalg.norm(right))

    return metric


def task(path: str = "net.onnx") -> ek.Task:
    return ek.Task(
        name="own-onnx",
        model=path,
        example_inputs=(torch.zeros(1, *SHAPE),),
        calibration=[torch.from_numpy(IMAGES[:16]), torch.from_numpy(IMAGES[16:32])],
        metric=fidelity(path),
    )


def cells(path: str = "cells.onnx") -> ek.Task:
    """A graph that reads series [6, 16] as x."""
    series = np.random.default_rng(2).standard_normal((24, 6, 16)).astype(np.float32)
    return ek.Task(
        name="own-cells",
        model=path,
        example_inputs=(torch.zeros(1, 6, 16),),
        calibration=[torch.from_numpy(series[:8])],
        metric=fidelity(path, series, "x"),
    )
