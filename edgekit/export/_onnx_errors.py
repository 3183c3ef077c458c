"""Turns an exporter's exception into one sentence: which operator, from which torch module."""

import re

from torch.export import ExportedProgram

from edgekit.errors import ConversionError
from edgekit.quant.program import callers

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


def _operator(text: str) -> str | None:
    found = _OPERATOR.search(text)
    if not found:
        return None
    return f"{found[1].replace('::', '.')}.{found[2]}" if found[1] else found[3]
