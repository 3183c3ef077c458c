"""A model on disk: one exported program, the form in which every stage hands it to the next.

The file is what `torch.export.save` writes. Besides the arithmetic it keeps, for every node, the module that
the node came from (`nn_module_stack`), through saving, quantizing and exporting again; `origin` reads it.

A quantized program is always saved with its weights in float behind a quantize operator (unfolded): TFLite needs
them so. `fold_weights` replaces them with stored integers for the formats that want those (ONNX, Core ML).
"""

import operator
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec
import torch
import torchao.quantization.pt2e.quantize_pt2e  # noqa: F401  registers the quantized_decomposed operators
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e.constant_fold import constant_fold

from edgekit.errors import UserError
from edgekit.quant import program_file
from edgekit.records import Interface, TensorSpec

_QUANTIZE = ("quantize_per_tensor.default", "quantize_per_channel.default")


def load(path: str | Path) -> ExportedProgram:
    """Reads a saved program.

    Raises:
        UserError: There is no such file, or it holds something else, or what could run code (`edgekit.quant.program_file`).
    """
    if not Path(path).is_file():
        raise UserError(
            f"no exported program at {path}; expected a file that edgekit.quant.program.save wrote"
        )
    try:
        return program_file.read(Path(path))
    except Exception as error:  # torch raises anything here: zip, JSON, version and operator errors
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path} is not a program that torch.export.save wrote: {reason}") from error


def save(program: ExportedProgram, path: str | Path) -> None:
    """Writes the program so that a reader sees either the whole file or none."""
    with _partial(Path(path)) as partial, program_file.quick():
        torch.export.save(program, partial)


def write(path: str | Path, data: bytes | memoryview) -> None:
    """Writes bytes as `save` does: a reader sees either the whole file or none."""
    with _partial(Path(path)) as partial:
        partial.write_bytes(data)


@contextmanager
def _partial(path: Path) -> Iterator[Path]:
    """Yields a file beside `path` that takes its place at the end, and is removed after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def export(module: torch.nn.Module, like: ExportedProgram | tuple[torch.Tensor, ...]) -> ExportedProgram:
    """Exports a module with static shapes.

    Args:
        module: The module.
        like: A program that takes the same inputs, or example inputs.
    """
    return torch.export.export(module, like if isinstance(like, tuple) else user_inputs(like), strict=False)


def user_inputs(program: ExportedProgram) -> tuple[torch.Tensor, ...]:
    """Returns zeros in the shape and type of every input, in the order of the program."""
    values = _values(program, program.graph_signature.user_inputs)
    return tuple(torch.zeros([int(d) for d in value.shape], dtype=value.dtype) for value in values)


def specs(program: ExportedProgram) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns the inputs and outputs of a program as artifacts declare them.

    Returns:
        (inputs, outputs): inputs by the model's argument names, outputs as output_i.
    """
    signature = program.graph_signature
    named = [(str(name), str(name)) for name in signature.user_inputs]
    made = [(f"output_{i}", str(name)) for i, name in enumerate(signature.user_outputs)]
    inputs, outputs = (
        tuple(
            _spec(name, value)
            for (name, _), value in zip(pairs, _values(program, [k for _, k in pairs]), strict=True)
        )
        for pairs in (named, made)
    )
    return inputs, outputs


def named(
    program: ExportedProgram, interface: Interface | None
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Returns the inputs and outputs of a program as `specs` does, by the names that the user's code gives them."""
    found = specs(program)
    if interface is None:
        return found
    given = (interface.inputs, interface.input_axes), (interface.outputs, interface.output_axes)
    inputs, outputs = (
        tuple(msgspec.structs.replace(s, name=n, batch_axis=a) for s, n, a in zip(side, *pair, strict=True))
        for side, pair in zip(found, given, strict=True)
    )
    return inputs, outputs


def layout(program: ExportedProgram) -> Literal["NCHW", "as the model"]:
    """Returns the input layout of a file that takes its inputs as `program` does."""
    images = any(value.ndim == 4 for value in _values(program, program.graph_signature.user_inputs))
    return "NCHW" if images and not takes_channels_last(program) else "as the model"


def takes_channels_last(program: ExportedProgram) -> bool:
    """Whether images come as [N, H, W, C], as in Keras.

    True where some input of rank 4 is read only by permutes to [N, C, H, W].
    """
    names = set(program.graph_signature.user_inputs)
    inputs = [n for n in program.graph.nodes if n.name in names and n.meta["val"].ndim == 4]
    return any(readers and all(map(_is_to_first, readers)) for readers in map(_readers, inputs))


def _readers(node: Node) -> list[Node]:
    """Lists what reads a tensor, behind its quantize and dequantize."""
    found: list[Node] = []
    for user in node.users:
        found += _readers(user) if "quantized_decomposed" in str(user.target) else [user]
    return found


def _is_to_first(node: Node) -> bool:
    return node.target is torch.ops.aten.permute.default and list(node.args[1]) == [0, 3, 1, 2]


def _spec(name: str, tensor: torch.Tensor) -> TensorSpec:
    dtype = str(tensor.dtype).removeprefix("torch.")
    return TensorSpec(name=name, shape=tuple(int(d) for d in tensor.shape), dtype=dtype)


def _values(program: ExportedProgram, names: Sequence[object]) -> tuple[torch.Tensor, ...]:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    return tuple(values[str(name)] for name in names)


def is_quantized(program: ExportedProgram) -> bool:
    """Whether the program has any quantize or dequantize operator."""
    return any("quantized_decomposed" in str(node.target) for node in program.graph.nodes)


def fold_weights(program: ExportedProgram) -> ExportedProgram:
    """Returns the same program with every quantized constant stored as integers: constant -> q -> dq becomes int -> dq."""
    module = program.module()
    constant_fold(module, lambda node: node.op == "call_function" and str(node.target).endswith(_QUANTIZE))
    return export(module, program)


def operator_of(node: Node) -> str:
    """Returns the operator, such as "aten.lstm_cell.default"; for one of several results, the operator that has them."""
    while node.target is operator.getitem and isinstance(node.args[0], Node):
        node = node.args[0]
    return str(node.target)


def origin(node: Node) -> str:
    """Returns the module a node came from, as `features.0.1 (BatchNorm2d)`; empty where nothing is known."""
    stack = node.meta.get("nn_module_stack") or {}
    for path, kind in reversed(list(stack.values())):
        name = kind if isinstance(kind, str) else kind.__name__
        if "GraphModule" not in name:
            return f"{path or 'the model itself'} ({name.rsplit('.', 1)[-1]})"
    return ""


def module_path(node: Node) -> str:
    """Returns only the dotted path of the module a node came from: `features.0.1`."""
    return origin(node).partition(" (")[0]


def calls(graph_module: GraphModule) -> list[Node]:
    """Lists the operator calls of a graph, in order."""
    return [node for node in graph_module.graph.nodes if node.op == "call_function"]


def callers(program: ExportedProgram, operator: str) -> str:
    """Names up to three modules that call an operator.

    Args:
        program: The program.
        operator: The operator, as "aten.erfinv.default" or "erfinv".

    Returns:
        A phrase for the end of a sentence, such as ` from blocks.0.norm (MyNorm)`.
    """
    wanted = operator.replace("::", ".").split(".")[-2:]
    found = [origin(node) for node in calls(program.graph_module) if _is_call_of(str(node.target), wanted)]
    names = list(dict.fromkeys(name for name in found if name))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" from {', '.join(names[:3])}{more}" if names else ""


def _is_call_of(target: str, wanted: list[str]) -> bool:
    """Whether "aten.special_erf.default" is a call of what converters print: "special_erf.default", "prims.erf"."""
    operator = (target.split(".")[-2:])[0]
    return any(operator == name or operator.endswith(f"_{name}") for name in wanted if name != "default")
