"""Says which operator, of which torch module, the TFLite converter could not express.

litert-torch fails on an operator of its own decomposed graph. torch.fx adds the node and its source line to
the message; the saved program still knows the module (`nn_module_stack`) that each of its nodes came from. The converter behind
it fails on an operation of its own, and prints the program around it, which helps nobody: the operation and the source line are
taken from it, the rest is left in the log of the stage.
"""

import logging
import re

import torch

from edgekit.errors import ConversionError
from edgekit.quant.program import callers, calls, operator_of, origin

log = logging.getLogger("edgekit")
ADVICE = "Replace this operator in the model, or choose a target of another runtime"

_OPERATOR = re.compile(r"target=torch\.ops\.([\w.]+)|Lowering not found: ([\w.]+)")
_NODE = re.compile(r"While executing %(\w+)")
_SOURCE = re.compile(r'File "([^"]+)", line (\d+), in \w+')
_MLIR_OPERATION = re.compile(
    r"'((?:tfl|stablehlo|mhlo|chlo|func|tf)\.[\w.]+)' op|failed to legalize operation '([\w.]+)'|\b(tf\.\w+)(?= |\()"
)
_MLIR_SOURCE = re.compile(r"([^\s<>:]+\.py):(\d+):\d+: error")
_ARGUMENT = re.compile(r"\(\) got an unexpected keyword argument '(\w+)'")
_MLIR_HALF = re.compile(r"[x<](b?f16)>")
_NO_KERNEL = re.compile(
    r"Didn't find op for builtin opcode '(\w+)'|Node number \d+ \((\w+)\) failed to prepare"
)
#: what torch calls the operators that TFLite's converter writes without a kernel for them, or fails to write
_TORCH_NAMES = {
    "STABLEHLO_SORT": ("sort", "topk", "argsort", "msort"),
    "STABLEHLO_SCATTER": ("index_put", "scatter", "scatter_add", "col2im", "index_add"),
    "STABLEHLO_IOTA": ("arange", "eye", "linspace"),
    "tf.Conv3D": ("conv3d",),
    "tf.Conv3DBackpropInputV2": ("conv_transpose3d",),
}


def explain(error: Exception, program: torch.export.ExportedProgram) -> ConversionError:
    """Puts the converter's exception into one sentence: operator, module, source line, reason, what to do."""
    text = str(error)
    log.info("litert-torch failed: %s", text)
    operator = _operator(text)
    if operator is None:
        what = _called_there(text, program) or "the model"
        verb = "convert" if what == "the model" else "express"
        return ConversionError(
            f"litert-torch cannot {verb} {what}{_line(text)}: {_reason(error, text)}. {ADVICE}"
        )
    named = _in_torchs_words(operator, program)
    where = "" if named else _origin(text, operator, program) or _line(text)
    if not named and (there := _called_there(text, program)):
        named = f"{there}, written as {operator}"
    return ConversionError(
        f"litert-torch cannot express {named or operator}{where}: {_reason(error, text)}. {ADVICE}"
    )


def _in_torchs_words(operator: str, program: torch.export.ExportedProgram) -> str:
    """Returns the operator that a model calls, with the module, for one of the converter's; "" where that is not known."""
    name = next((name for name in _TORCH_NAMES.get(operator, ()) if callers(program, name)), "")
    return f"{name}{callers(program, name)}, written as {operator}" if name else ""


def unloadable(text: str, program: torch.export.ExportedProgram) -> ConversionError:
    """Says which operator of a finished file TFLite has no kernel for, in torch's word for it."""
    log.info("TFLite cannot load the file: %s", text)
    found = _NO_KERNEL.search(text)
    if found is None:
        return ConversionError(
            f"the converter wrote a file that TFLite cannot load: {_first_line(text)}. {ADVICE}"
        )
    kernel = found[1] or found[2]
    return ConversionError(
        f"TFLite has no kernel for {_in_torchs_words(kernel, program) or kernel}. {ADVICE}"
    )


def _reason(error: Exception, text: str) -> str:
    """Gives the first line of a message, unless it quotes the converter's own program."""
    first = _first_line(text) or type(error).__name__
    if first.startswith("Lowering not found"):
        return "it has no form of it"
    if "boolean indices must be concrete" in first or "NonConcreteBooleanIndexError" in text:
        return "its result is as long as values say, and TFLite files have fixed sizes; a product with the mask has one"
    if found := _ARGUMENT.search(first):
        return f"not with the argument {found[1]}"
    if (
        "legalize" in text
        or "%" in first
        or "Failed to run converter passes" in first
        or "flatbuffer" in first
    ):
        half = _MLIR_HALF.search(text.partition("note: see current")[0])
        if half is not None:
            kind = half[1].replace("f", "float")
            return (
                f"TFLite has no operator for it in {kind}: compute in float32 there, without half() or a cast"
            )
        return "TFLite has no operator for it in this form"
    return first


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:300].rstrip(".")


def _line(text: str) -> str:
    found = _MLIR_SOURCE.search(text)
    return f", called at {found[1]}:{found[2]}" if found else ""


def _called_there(text: str, program: torch.export.ExportedProgram) -> str:
    """Says which operators the source line calls that the converter names without one."""
    found = _MLIR_SOURCE.search(text)
    if not found:
        return ""
    nodes = [node for node in calls(program.graph_module) if _source(node) == (found[1], found[2])]
    named = [
        each for each in map(operator_of, nodes) if "quantized_decomposed" not in each
    ]  # the user called none
    names = list(dict.fromkeys(each.split(".")[1] for each in named))
    return f"{' or '.join(names)} from {origin(nodes[0])}" if names else ""


def _operator(text: str) -> str | None:
    if found := _OPERATOR.search(text):
        return found[1] or found[2]
    if found := _MLIR_OPERATION.search(text):
        return found[1] or found[2] or found[3]
    return None


def _origin(text: str, operator: str, program: torch.export.ExportedProgram) -> str:
    """Says " from <module path> (<class>), called at <file>:<line>", as far as it is known."""
    name = found[1] if (found := _NODE.search(text)) else ""
    nodes = _calls(program, operator) or _calls(_decomposed(program), operator)
    if not nodes:
        return ""
    node = min(nodes, key=lambda node: node.name != name)
    source = _source(node)
    place = origin(node)
    return (f" from {place}" if place else "") + (f", called at {source[0]}:{source[1]}" if source else "")


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
