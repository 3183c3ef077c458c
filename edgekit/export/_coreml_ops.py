"""What coremltools 9.0 lacks for programs of this torch, and how its errors are put into words."""

import re

import torch  # noqa: F401  torch and torchvision before coremltools, or the process dies (libtriton after TensorFlow)
import torchvision  # noqa: F401

# isort: split
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.frontend.torch import ops as torch_ops
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY, register_torch_op
from torch.export import ExportedProgram

from edgekit.errors import ConversionError
from edgekit.quant.program import callers

_RECURRENT = ("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
_UNKNOWN = re.compile(
    r"Unsupported fx node (\S+), kind (\S+)|Torch op '?([\w:.]+)'? not (?:implemented|supported)"
)


def register_missing() -> None:
    """Teaches coremltools aten.alias, which torch emits since 2.8 (fixed upstream, coremltools #2659, unreleased)."""
    if _TORCH_OPS_REGISTRY.get_func("alias") is not None:
        return

    def alias(context, node):  # type: ignore[no-untyped-def]
        context.add(mb.identity(x=torch_ops._get_inputs(context, node)[0], name=node.name))

    register_torch_op(alias)


def decompose(program: ExportedProgram) -> ExportedProgram:
    """Brings a program into the dialect that coremltools reads.

    It has no operator for recurrent cells, so they are unrolled, step by step.
    """
    recurrent = any(str(node.target) in _RECURRENT for node in program.graph.nodes)
    return program.run_decompositions() if recurrent else program.run_decompositions({})


def conversion_error(program: ExportedProgram, error: Exception) -> ConversionError:
    """Puts an error into one sentence: the operator and the module that calls it, or the first line of coremltools' message."""
    found = _UNKNOWN.search(str(error))
    if found is None:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return ConversionError(f"coremltools cannot convert the model: {type(error).__name__}: {lines[0]}")
    operator = found[2] or found[3]
    return ConversionError(
        f"Core ML has no translation of {operator}{callers(program, operator)}; "
        "replace it in the model, or choose a target of another format"
    )
