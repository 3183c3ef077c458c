"""What coremltools 9.0 lacks for programs of this torch, and how its errors are put into words."""

import logging
import re

import torch
import torchvision  # noqa: F401

# isort: split
from coremltools.converters.mil import Builder as mb
from coremltools.converters.mil.frontend.torch import ops as torch_ops
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY, register_torch_op
from torch._ops import OpOverload
from torch.export import ExportedProgram, default_decompositions

from edgekit.errors import ConversionError
from edgekit.quant.program import callers

log = logging.getLogger("edgekit")
_DEPTH = 6  # how often what came out of an operator is taken apart again
_MISREAD = {"aten.cosine_similarity.default"}  # coremltools demands the arguments that have defaults
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

    What it does not translate is taken apart as torch does, again and again, as far as torch can: recurrent layers and
    cells are unrolled step by step, a bicubic resize becomes picks and sums.
    """
    program, known = program.run_decompositions({}), default_decompositions()
    for _ in range(_DEPTH):
        apart = {op: known[op] for op in _untranslated(program) if op in known}
        if not apart:
            break
        program = program.run_decompositions(apart)
    return program


def wide_inputs(program: ExportedProgram) -> ExportedProgram:
    """Lets whole numbers of 8 bits come in as int32: Core ML takes no others, and the values are the same."""
    names = set(map(str, program.graph_signature.user_inputs))
    for node in program.graph.nodes:
        if node.name in names and node.meta["val"].dtype in (torch.uint8, torch.int8):
            node.meta["val"] = node.meta["val"].to(torch.int32)
    return program


def _untranslated(program: ExportedProgram) -> set[OpOverload]:
    """Returns the operators that coremltools does not translate, or not with the arguments that torch leaves out."""
    called = {node.target for node in program.graph.nodes if isinstance(node.target, OpOverload)}
    return {
        op
        for op in called
        if op.namespace == "aten" and (str(op) in _MISREAD or _TORCH_OPS_REGISTRY.get_func(op.name()) is None)
    }


def conversion_error(program: ExportedProgram, error: Exception) -> ConversionError:
    """Puts an error into one sentence: the operator and the module that calls it, or the first line of coremltools' message."""
    found = _UNKNOWN.search(str(error))
    if found is None:
        log.info("coremltools failed: %s: %s", type(error).__name__, error)
        operator = _failed_in(error)
        if operator:
            return ConversionError(
                f"coremltools cannot convert {operator}{callers(program, operator)} with these arguments; "
                "replace it in the model, or choose a target of another format"
            )
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        return ConversionError(f"coremltools cannot convert the model: {lines[0][:300]}")
    operator = found[2] or found[3]
    return ConversionError(
        f"Core ML has no translation of {operator}{callers(program, operator)}; "
        "replace it in the model, or choose a target of another format"
    )


def _failed_in(error: Exception) -> str:
    """Returns the operator whose translation raised the error: what the translating function calls its node."""
    operator, trace = "", error.__traceback__
    while trace is not None:
        node = trace.tb_frame.f_locals.get("node")
        operator = str(getattr(node, "kind", "") or operator)
        trace = trace.tb_next
    return operator
