"""What a model's file says of its own inputs, so that nobody has to type it: ONNX files and exported programs hold it."""

from collections.abc import Iterable
from pathlib import Path

import torch

from edgekit.engine.specs import FileSpec, Takes
from edgekit.errors import TaskError
from edgekit.quant import onnx_graph, program_file
from edgekit.records import TensorSpec
from edgekit.trace.sources import weights_file

Sizes = list[int | str]


def takes(spec: FileSpec) -> Takes:
    """Reads the inputs of an .onnx or .pt2 file, one sample of each.

    Raises:
        TaskError: The file cannot be read, or leaves more free than the number of samples.
    """
    path = Path(spec.path)
    found = list(_of_onnx(path) if path.suffix == ".onnx" else _of_program(path))
    for name, sizes, _ in found:
        if any(isinstance(size, str) for size in sizes[1:]):
            shown = ", ".join(f"{n} [{', '.join(map(str, s))}] {kind}" for n, s, kind in found)
            raise TaskError(
                f"{path.name} leaves axes of {name} free: say a length for each, --input once for each of its inputs, in their order: "
                f"{shown}"
            )
    return Takes(
        inputs=tuple(
            TensorSpec(name=name, shape=tuple(1 if isinstance(n, str) else n for n in sizes), dtype=kind)
            for name, sizes, kind in found
        )
    )


def _of_onnx(path: Path) -> Iterable[tuple[str, Sizes, str]]:
    for name, value in onnx_graph.inputs_of(onnx_graph.read(path)).items():
        kind = value.type.tensor_type
        sizes: Sizes = [dim.dim_value or dim.dim_param or "N" for dim in kind.shape.dim]
        yield name, sizes, onnx_graph.TYPES.get(kind.elem_type, "of a type that no target takes")


def _of_program(path: Path) -> Iterable[tuple[str, Sizes, str]]:
    program = weights_file.read_by_torch(path, lambda name: program_file.read(Path(name)))
    wanted = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op == "placeholder" and node.name in wanted and isinstance(value, torch.Tensor):
            sizes: Sizes = [n if isinstance(n, int) else str(n) for n in value.shape]
            yield node.name, sizes, str(value.dtype).removeprefix("torch.")
