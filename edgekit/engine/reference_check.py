"""Looks at the text of a task file before any framework is imported, so that a mistyped name is answered at once.

Only what the text alone makes certain is an error here; everything else is left to the process that runs the file.
"""

import ast
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgekit.engine.task_reference import convert_settings, no_attribute, no_settings, split_reference
from edgekit.errors import TaskError
from edgekit.records import foreign

Function = ast.FunctionDef | ast.AsyncFunctionDef
BLOCKS = ("body", "orelse", "finalbody", "handlers")


def check_reference(reference: str, settings: Mapping[str, str]) -> None:
    """Checks that a task's file exists, that it binds the attribute, and that the function there takes the settings.

    Args:
        reference: "file.py:task" or "package.module:task".
        settings: Text for the function that it names.

    Raises:
        TaskError: One of them is surely wrong.
    """
    place, name = split_reference(reference)
    if not place.endswith(".py"):
        top = place.partition(".")[0]
        if not top or find_spec(top) is None:
            raise TaskError(f"task module {place} does not exist; for a file write its path with .py")
        return
    if not Path(place).is_file():
        raise TaskError(f"task file {place} does not exist")
    _check_text(place)
    try:
        statements = list(_statements(ast.parse(Path(place).read_bytes()).body))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # nested too deeply, too
        return  # the process that runs it shows the line
    if _binds_unseen(statements):
        return
    names = dict.fromkeys(bound for each in statements for bound in _bound(each))
    if name not in names:
        raise no_attribute(place, name, names)
    _check_settings(reference, name, statements, settings)


def _check_text(place: str) -> None:
    """Torch notes for each operator where in the task file it stands, and takes no path that is not UTF-8."""
    path = str(Path(place).absolute())
    if not foreign.is_utf8(path):
        raise TaskError(
            f"the path of the task file, {path}, is not UTF-8, and torch cannot read it; rename the folder or the file"
        )


def _statements(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Yields the statements of a module, also those in its if, try, with and loops, but not in functions and classes."""
    for statement in body:
        yield statement
        if not isinstance(statement, Function | ast.ClassDef):
            for block in BLOCKS:
                yield from _statements(getattr(statement, block, ()))


def _bound(statement: ast.AST) -> Iterator[str]:
    if isinstance(statement, Function | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Import | ast.ImportFrom):
        yield from (each.asname or each.name.partition(".")[0] for each in statement.names)
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _binds_unseen(statements: list[ast.AST]) -> bool:
    """Whether names may come from elsewhere (a star import, `__getattr__`, `globals()`, ...), or it raises at once."""
    for statement in statements:
        if isinstance(statement, ast.Raise):
            return True
        if isinstance(statement, ast.ImportFrom) and any(each.name == "*" for each in statement.names):
            return True
        if isinstance(statement, Function) and statement.name == "__getattr__":
            return True
        for node in ast.walk(statement):
            if isinstance(node, ast.Global | ast.NamedExpr | ast.MatchAs):
                return True
            if isinstance(node, ast.Name) and node.id in ("globals", "exec", "setattr", "vars", "locals"):
                return True
    return False


def _check_settings(
    reference: str, name: str, statements: list[ast.AST], settings: Mapping[str, str]
) -> None:
    makers = [each for each in statements if name in set(_bound(each))]
    if len(makers) == 1 and isinstance(makers[0], ast.FunctionDef) and not makers[0].decorator_list:
        convert_settings(_defaults(makers[0].args), reference, settings)
    elif settings and len(makers) == 1 and _makes_task(makers[0]):
        raise no_settings(reference, settings)


def _makes_task(statement: ast.AST) -> bool:
    value = getattr(statement, "value", None)
    return isinstance(value, ast.Call) and ast.unparse(value.func).rpartition(".")[2] == "Task"


def _defaults(given: ast.arguments) -> dict[str, Any]:
    """Returns parameter -> default, None where the text does not tell its value."""
    positional = [*given.posonlyargs, *given.args]
    pairs = [
        *zip(reversed(positional), reversed(given.defaults), strict=False),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    names = [each.arg for each in (*positional, given.vararg, *given.kwonlyargs, given.kwarg) if each]
    return {**dict.fromkeys(names), **{each.arg: _value(default) for each, default in pairs}}


def _value(default: ast.expr | None) -> Any:
    try:
        return ast.literal_eval(default) if default is not None else None
    except ValueError:
        return None
