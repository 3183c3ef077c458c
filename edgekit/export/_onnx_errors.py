"""Turns an exporter's exception into one sentence: which operator, from which torch module."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from torch.export import ExportedProgram

from edgekit.errors import ConversionError
from edgekit.quant.program import callers

log = logging.getLogger("edgekit")
_ONNX_OPERATOR = re.compile(r"op_type:(\w+)|OpType: (\w+)|Op registered for (\w+)")
_OPERATOR = re.compile(
    r"No ONNX function found for <OpOverload\(op='([\w.:]+)', overload='(\w+)'\)>|target=torch\.ops\.([\w.]+)"
)


def conversion_error(program: ExportedProgram, error: Exception) -> ConversionError:
    """Puts an exporter's exception into one sentence.

    The last cause says most; the operator is looked for in the whole chain.
    """
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None and cause not in chain:
        chain.append(cause)
    operator = next((found for text in map(str, chain) if (found := _operator(text))), None)
    if operator is None:
        lines = [line.strip() for line in str(chain[-1]).splitlines() if line.strip()] or [
            type(error).__name__
        ]
        return ConversionError(f"torch.onnx cannot export the model: {lines[0]}")
    return ConversionError(
        f"ONNX has no translation of {operator}{callers(program, operator)}; "
        "replace it in the model, or choose a target of another format"
    )


@contextmanager
def valid_onnx() -> Iterator[None]:
    """Puts what ONNX's own checks raise of a file that torch.onnx wrote into one sentence."""
    try:
        yield
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        log.info("the file is not valid: %s", error)
        found = _ONNX_OPERATOR.search(str(error))
        operator = next(filter(None, found.groups())) if found else "an operator"
        raise ConversionError(
            f"torch.onnx writes {operator} of this model against the rules of ONNX; replace what becomes of it in the model, or choose "
            "a target of another format"
        ) from error


def _operator(text: str) -> str | None:
    found = _OPERATOR.search(text)
    if not found:
        return None
    return f"{found[1].replace('::', '.')}.{found[2]}" if found[1] else found[3]
