"""The measured models, made here: plain nets of equal 3x3 convolutions with ReLU, float32, as ONNX and as TFLite.

    python _models.py FOLDER [--quick]

`conv22` is `conv20` with two more of the same layers, so its true cost is 22/20 = 1.10, but for what a run costs
beside its layers (about 1 %). `wide` has few wide layers: 13 MB of weights, for memory. Every model gets a golden
file by its own runtime. It runs as a child process, because it imports onnx and both runtimes.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np

# name -> layers, channels, side of the square image
SHAPES = {"conv20": (20, 64, 28), "conv22": (22, 64, 28), "wide": (10, 192, 8)}
QUICK_SHAPES = {"conv20": (20, 16, 14), "conv22": (22, 16, 14), "wide": (10, 32, 8)}
FORMATS = ("onnx", "tflite")


def weights(layers: int, channels: int) -> list[np.ndarray]:
    """Kernels [out, 3, 3, in], scaled so that values keep their size from layer to layer (He et al. 2015)."""
    scale = np.sqrt(2 / (9 * channels))
    rng = np.random.default_rng(0)
    shape = (channels, 3, 3, channels)
    return [(rng.standard_normal(shape) * scale).astype(np.float32) for _ in range(layers)]


def write_onnx(path: Path, layers: int, channels: int, side: int) -> None:
    """Input `x` and output `y` are [1, channels, side, side]."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, kernels, last = [], [], "x"
    for i, kernel in enumerate(weights(layers, channels)):
        kernels.append(numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(0, 3, 1, 2)), f"w{i}"))
        out = "y" if i == layers - 1 else f"r{i}"
        nodes += [
            helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{i}"], [out]),
        ]
        last = out
    shape = [1, channels, side, side]
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "convs", sides[:1], sides[1:], kernels)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_tflite(path: Path, layers: int, channels: int, side: int) -> None:
    """Input and output are [1, side, side, channels]."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    image, code, model = [1, side, side, channels], schema.OperatorCodeT(), schema.ModelT()
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [_tensor(schema, "x", image, 0)], []
    model.buffers = [_buffer(schema, None), _buffer(schema, np.zeros(channels, np.float32))]
    graph.tensors.append(_tensor(schema, "bias", [channels], 1))
    last = 0
    for i, kernel in enumerate(weights(layers, channels)):
        model.buffers.append(_buffer(schema, kernel))
        graph.tensors += [
            _tensor(schema, f"w{i}", list(kernel.shape), len(model.buffers) - 1),
            _tensor(schema, "y" if i == layers - 1 else f"r{i}", image, 0),
        ]
        out = len(graph.tensors) - 1
        graph.operators.append(_convolution(schema, [last, out - 1, 1], out))
        last = out
    graph.inputs, graph.outputs, graph.name = [0], [last], b"main"
    code.builtinCode, code.deprecatedBuiltinCode, code.version = schema.BuiltinOperator.CONV_2D, 3, 1
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _buffer(schema: Any, array: np.ndarray | None) -> Any:
    made = schema.BufferT()
    made.data = None if array is None else np.frombuffer(array.tobytes(), np.uint8)
    return made


def _tensor(schema: Any, name: str, shape: list[int], buffer: int) -> Any:
    made = schema.TensorT()
    made.name, made.shape, made.buffer, made.type = name.encode(), shape, buffer, schema.TensorType.FLOAT32
    return made


def _convolution(schema: Any, inputs: list[int], output: int) -> Any:
    made, options = schema.OperatorT(), schema.Conv2DOptionsT()
    options.padding, options.fusedActivationFunction = schema.Padding.SAME, schema.ActivationFunctionType.RELU
    options.strideW = options.strideH = options.dilationWFactor = options.dilationHFactor = 1
    made.opcodeIndex, made.inputs, made.outputs = 0, inputs, [output]
    made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    return made


def write_golden(path: Path) -> None:
    """One seeded input and what the model's own runtime makes of it, beside the model."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        x = _image(session.get_inputs()[0].shape)
        y = session.run(None, {"x": x})[0]
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(path))
        interpreter.allocate_tensors()
        detail = interpreter.get_input_details()[0]
        x = _image(detail["shape"])
        interpreter.set_tensor(detail["index"], x)
        interpreter.invoke()
        y = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.savez(path.with_suffix(path.suffix + ".npz"), input_0=x, output_0=y)


def _image(shape: Any) -> np.ndarray:
    return np.random.default_rng(1).random(tuple(shape), np.float32)


def main(folder: Path, quick: bool) -> None:
    """Writes every model in both formats."""
    for name, shape in (QUICK_SHAPES if quick else SHAPES).items():
        for form, write in zip(FORMATS, (write_onnx, write_tflite), strict=True):
            write(folder / f"{name}.{form}", *shape)
            write_golden(folder / f"{name}.{form}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--quick" in sys.argv[2:])
