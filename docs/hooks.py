"""What the pages say of commands, targets and techniques is written from the sources when the site is built.

A page holds a line such as `<!-- generate: targets -->`, which is replaced. No framework is imported: options of techniques are
read from the syntax tree of their files.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from inspect import cleandoc
from pathlib import Path

import click

from edgekit.cli.main import main
from edgekit.profile.reading import load_target, target_names
from edgekit.target import LadderStep, Target

ROOT = Path(__file__).parents[1]
MARK = re.compile(r"^<!-- generate: (\w+) -->$", re.MULTILINE)
RUNTIMES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT / TensorFlow Lite", "coreml": "Core ML"}
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
TECHNIQUE = """## {name}

::: edgekit.techniques.{name}
    options:
      members: false
      show_root_heading: false
      show_root_toc_entry: false

{options}"""


def on_page_markdown(markdown: str, **_: object) -> str:
    """Called by MkDocs for each page, before its Markdown is read."""
    return MARK.sub(lambda mark: GENERATORS[mark[1]](), markdown)


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    cells = (" | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {row} |" for row in cells)])


# commands


def _commands() -> str:
    """What `--help` says of each verb."""
    return "\n\n".join(_command(name, command) for name, command in sorted(main.commands.items()))


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"edgekit {name}")
    records = (p.get_help_record(context) for p in command.params)
    options = ((f"`{record[0]}`", record[1]) for record in records if record and record[1])
    usage = command.get_usage(context).removeprefix("Usage: ")
    return f"## edgekit {name}\n\n```text\n{usage}\n```\n\n{cleandoc(command.help or '')}\n\n{_table(('option', 'meaning'), options)}"


# targets


def _targets() -> str:
    """One row a profile."""
    head = ("profile", "runtime", "precisions", "machines", "levels, weakest first")
    return _table(
        head,
        (
            (
                f"`{target.name}`",
                RUNTIMES.get(target.runtime, target.runtime),
                ", ".join(target.precisions),
                ", ".join(target.isa.arch),
                ", ".join(target.isa.levels),
            )
            for target in _profiles()
        ),
    )


def _ladders() -> str:
    """The rungs of each profile, with their reasons."""
    head = ("recipe", "gives", "needs", "why it is tried")
    return "\n\n".join(
        f"### {target.name}\n\n{target.summary}.\n\n{_table(head, _rungs(target))}" for target in _profiles()
    )


def _rungs(target: Target) -> Iterator[tuple[str, ...]]:
    for rung in target.ladder:
        recipe = " > ".join(map(_step, rung.steps))
        why = f"{rung.reason}; left out of other networks: {rung.unfit}" if rung.unfit else rung.reason
        yield f"`{recipe}`", rung.precision, ", ".join(rung.needs) or "nothing", why


def _step(step: LadderStep) -> str:
    options = ", ".join(f"{key}={value}" for key, value in step.options.items())
    return f"{step.technique}({options})" if options else step.technique


def _profiles() -> list[Target]:
    return [load_target(name) for name in target_names()]


# techniques


def _techniques() -> str:
    """The docstring of each technique, by mkdocstrings, and its options."""
    files = sorted((ROOT / "edgekit" / "techniques").glob("[a-z]*.py"))
    return "\n\n".join(TECHNIQUE.format(name=file.stem, options=_options(file)) for file in files)


def _options(file: Path) -> str:
    found = next(n for n in _tree(file).body if isinstance(n, ast.ClassDef) and n.name == "Options")
    fields = [n for n in found.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]
    if not fields:
        return "No options."
    # without descriptions in the annotations, the docstring of the class has them
    said = "" if "description" in ast.unparse(found) else f"{ast.get_docstring(found)}\n\n"
    return said + _table(("option", "default", "allowed", "meaning"), (_field(file, node) for node in fields))


def _field(file: Path, node: ast.AnnAssign) -> tuple[str, ...]:
    kind, bounds, meaning = _read(file, node.annotation)
    default = ast.unparse(node.value) if node.value is not None else "required"
    return f"`{ast.unparse(node.target)}`", f"`{default}`", ", ".join([kind, *bounds]), meaning


def _read(file: Path, annotation: ast.expr) -> tuple[str, list[str], str]:
    """(type, bounds, meaning) of an annotation; names are followed to the files that they come from."""
    if isinstance(annotation, ast.BinOp):  # X | None
        kind, bounds, meaning = _read(file, annotation.left)
        return f"{kind} or {ast.unparse(annotation.right)}", bounds, meaning
    if isinstance(annotation, ast.Name | ast.Attribute):
        home, value = _definition(file, ast.unparse(annotation))
        return _read(home, value) if value is not None else (ast.unparse(annotation), [], "")
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple | ast.Constant):
        inside = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        if ast.unparse(annotation.value) == "Literal":
            return " or ".join(ast.unparse(choice).strip("'") for choice in inside), [], ""
        if ast.unparse(annotation.value) == "Annotated":
            kind, bounds, meaning = _read(file, inside[0])
            metas = [call for call in inside[1:] if isinstance(call, ast.Call)]
            said = {k.arg: ast.literal_eval(k.value) for call in metas for k in call.keywords if k.arg}
            bounds += [f"{words} {said[key]:g}" for key, words in BOUNDS.items() if key in said]
            return kind, bounds, said.get("description", meaning)
    return ast.unparse(annotation), [], ""


def _definition(file: Path, name: str) -> tuple[Path, ast.expr | None]:
    """Where a name is assigned, in the file or in the one that it is imported from; `module.Name` too."""
    first, _, rest = name.partition(".")
    for node in _tree(file).body:
        if isinstance(node, ast.Assign) and name in map(ast.unparse, node.targets):
            return file, node.value
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("edgekit"):
            alias = next((a for a in node.names if (a.asname or a.name) == first), None)
            if alias is not None:
                home = _file(f"{node.module}.{alias.name}") if rest else _file(str(node.module))
                return _definition(home, rest or alias.name) if home else (file, None)
    return file, None


def _file(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


GENERATORS: dict[str, Callable[[], str]] = {
    "commands": _commands,
    "targets": _targets,
    "ladders": _ladders,
    "techniques": _techniques,
}
