"""The wheel for devices holds the modules without docstrings and comments, and with one space for each four: a third of
its bytes, and a device reads neither. Line numbers stay, so a traceback there points into the source here; `edgekit`'s
own wheel and the source distribution hold everything. The verbs in `cli/` stay whole, because their docstrings are the help texts.
"""

import ast
import io
import tempfile
import tokenize
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "edgekit_runner"
_WHOLE = ("__main__.py", "commands.py", "tools.py")


class SlimSources(BuildHookInterface):
    """Puts a slim copy of each module in the wheel; an editable install keeps the files as they are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Maps the slim copies to their places in the wheel."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        root = Path(self.root) / PACKAGE
        for path in sorted(root.rglob("*.py")):
            name = path.relative_to(root)
            copy = Path(self._folder.name) / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text(encoding="utf-8")
            copy.write_text(text if path.name in _WHOLE else slim(text), encoding="utf-8")
            build_data["force_include"][str(copy)] = f"{PACKAGE}/{name.as_posix()}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the copies."""
        if version != "editable":
            self._folder.cleanup()


def slim(source: str) -> str:
    """The same program, line by line, without docstrings and comments.

    Args:
        source: A module that is indented by four spaces.
    """
    lines = source.splitlines()
    inside: set[int] = set()  # strings of several lines keep their spaces
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column].rstrip()
        elif token.start[0] != token.end[0]:
            inside |= set(range(token.start[0], token.end[0]))
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            text = node.body[0]
            first, last = text.lineno - 1, (text.end_lineno or text.lineno) - 1
            indent = lines[first][: text.col_offset]
            lines[first : last + 1] = [""] * (last - first + 1)
            if len(node.body) == 1:
                lines[first] = f"{indent}pass"
    return "\n".join(line if row in inside else _narrow(line) for row, line in enumerate(lines)) + "\n"


def _narrow(line: str) -> str:
    rest = line.lstrip(" ")
    return " " * ((len(line) - len(rest)) // 4) + rest
