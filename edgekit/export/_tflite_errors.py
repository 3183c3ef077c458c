"""Says which operator, of which torch module, the TFLite converter could not express.

litert-torch fails on an operator of its own decomposed graph. torch.fx adds the node and its source line to
the message; the saved program still knows the module (`nn_module_stack`) that each of its nodes came from.
"""

import re

import torch

from edgekit.errors import ConversionError

_OPERATOR = re.compile(r"target=torch\.ops\.([\w.]+)|Lowering not found: ([\w.]+)")
_NODE = re.compile(r"While executing %(\w+)")
_SOURCE = re.compile(r'File "([^"]+)", line (\d+), in \w+')
_MLIR_OPERATION = re.compile(r"'((?:tfl|stablehlo|chlo|func)\.[\w.]+)' op")


def explain(error: Exception, program: torch.export.ExportedProgram) -> ConversionError:
    """Puts the converter's exception into one sentence: operator, module, source line, reason, what to do."""
    text = str(error)
    operator = _operator(text)
    reason = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:300]
    if operator is None:
        return ConversionError(f"litert-torch cannot convert the model: {type(error).__name__}: {reason}")
    where = _origin(text, operator, program)
    return ConversionError(
        f"litert-torch cannot express {operator}{where}: {reason}. "
        "Replace this operator in the model, or choose a target of another runtime"
    )


def _operator(text: str) -> str | None:
    if found := _OPERATOR.search(text):
        return found[1] or found[2]
    if found := _MLIR_OPERATION.search(text):
        return found[1]
    return None


def _origin(text: str, operator: str, program: torch.export.ExportedProgram) -> str:
    """Says " from <module path> (<class>), called at <file>:<line>", as far as it is known."""
    name = found[1] if (found := _NODE.search(text)) else ""
    nodes = _calls(program, operator) or _calls(_decomposed(program), operator)
    if not nodes:
        return ""
    node = min(nodes, key=lambda node: node.name != name)
    source = _source(node)
    return _module(node) + (f", called at {source[0]}:{source[1]}" if source else "")


def _calls(program: torch.export.ExportedProgram, operator: str) -> list[torch.fx.Node]:
    return [node for node in program.graph.nodes if str(node.target) == operator]


def _decomposed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program as the converter sees it: an operator that no model calls may come out of one that a model does."""
    try:
        return program.run_decompositions()
    except Exception:  # torch raises anything here, and a reason is already known
        return program


def _source(node: torch.fx.Node) -> tuple[str, str] | None:
    """File and line of the innermost frame that made this node."""
    frames: list[tuple[str, str]] = _SOURCE.findall(node.meta.get("stack_trace") or "")
    return frames[-1] if frames else None


def _module(node: torch.fx.Node) -> str:
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    if not stack:
        return ""
    path, kind = stack[-1][0], stack[-1][1]
    kind = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return f" from {path or 'the model itself'} ({kind})"
