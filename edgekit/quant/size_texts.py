"""Sizes that follow free axes, as text: "length", "length//2". torch's own expressions become such text, and it is computed again."""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.errors import ConversionError

_NAMED = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}


def identifier(name: str) -> str:
    """Returns the name of an axis as Python takes one."""
    return name if name.isidentifier() else "axis_" + "".join(c if c.isalnum() else "_" for c in name)


def size_text(expression: Any, symbols: dict[Any, str]) -> str:
    """Writes a size as Python does, in the names of axes."""
    from torch.utils._sympy.printers import PythonPrinter

    if any(symbol not in symbols for symbol in expression.free_symbols):
        raise ConversionError("a size in the model depends on its values, not on its free axes alone")
    import sympy

    names = {s: sympy.Symbol(identifier(n), integer=True, positive=True) for s, n in symbols.items()}
    return str(PythonPrinter().doprint(expression.xreplace(names)))


def evaluated(text: str, lengths: Mapping[str, int]) -> int:
    """Returns the size that a text gives for these lengths of the axes."""
    values = {identifier(name): length for name, length in lengths.items()}
    return int(computed(ast.parse(text, mode="eval").body, values, lambda function, a, b: function(a, b)))


def computed(tree: ast.AST, names: Mapping[str, Any], combine: Callable[..., Any]) -> Any:
    """Computes an expression of names and whole numbers.

    Raises:
        ConversionError: It holds anything else than sums, differences, products, quotients and remainders.
    """
    if isinstance(tree, ast.Constant):
        return tree.value
    if isinstance(tree, ast.Name):
        return names[tree.id]
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return combine(operator.mul, -1, computed(tree.operand, names, combine))
    if isinstance(tree, ast.BinOp) and type(tree.op) in _NAMED:
        left, right = (computed(side, names, combine) for side in (tree.left, tree.right))
        return combine(_NAMED[type(tree.op)], left, right)
    raise ConversionError(
        f"a size of the model is {ast.unparse(tree)}, which edgekit cannot write into a file"
    )
