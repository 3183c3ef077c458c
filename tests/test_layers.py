"""Imports point down only: every edgekit import, at any depth of a function, is held to one literal table.

`cli > deploy > report, bench, package, verify > compress, export > train > quant > plan > target, task > records >
errors`. Helpers stand in the row where what they import puts them. Imports under TYPE_CHECKING count too.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgekit"
RUNNER = ROOT / "runner" / "edgekit_runner"

# lowest first; a part may import parts of the rows above its own, and itself
LAYERS = (
    ("errors", "machine", "demo_task"),
    ("records", "store", "arrays", "likeness"),
    ("target", "task", "child", "golden", "device", "recorder", "choose", "metric_trials"),
    ("plan", "recipe_text", "specs", "requirements", "stages", "workfolder", "fingerprint", "metric_check"),
    ("quant", "sources"),
    ("train",),  # > quant: a teacher is an exported program
    ("trace", "prune", "distill", "sparse", "binary"),
    ("compress", "export"),
    ("verify", "report"),
    ("package",),  # package > report: write_report renders the page of the folder
    ("bench_input",),  # > package: a folder's manifest says what there is to measure
    ("bench",),
    ("bench_table", "measure"),
    ("floor",),
    ("gate", "contradiction", "recheck", "doctor", "progress", "cli_options", "cli_output"),
    ("cli_devices",),
    ("site",),
    ("timed_cut",),
    ("making",),
    ("rung",),
    ("ladder",),
    ("deploy",),
    ("cli",),
)
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}

FRAMEWORKS = {
    "torch", "torchvision", "torchao", "tensorflow", "coremltools", "onnx", "onnxruntime", "onnxscript",
    "ai_edge_litert", "ai_edge_quantizer", "litert_torch", "accelerate", "safetensors", "deepspeed", "sklearn", "jax",
    "keras", "torch_pruning", "openvino",
}  # fmt: skip
# the only parts that know a framework, at their top or inside a function
LEAVES = {
    "trace",
    "sources",
    "quant",
    "train",
    "prune",
    "distill",
    "sparse",
    "binary",
    "compress",
    "export",
    "verify",
}
RUNTIME_BACKENDS = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert", "coreml": "coremltools"}


def sources(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def module_of(path: Path) -> tuple[str, ...]:
    root = ROOT / "runner" if path.is_relative_to(RUNNER) else ROOT
    parts = path.relative_to(root).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def is_module(parts: tuple[str, ...]) -> bool:
    place = ROOT.joinpath(*parts)
    return place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()


def imports(path: Path) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line, dotted parts) of every import of a file, at any depth; `from a import b` is a.b where that is a module."""
    base = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, tuple(alias.name.split("."))) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = base[: len(base) - node.level + 1] if node.level else ()
            parent = above + tuple((node.module or "").split(".") if node.module else ())
            for alias in node.names:
                inner = (*parent, alias.name)
                yield node.lineno, inner if parent[:1] == ("edgekit",) and is_module(inner) else parent


def part(module: tuple[str, ...]) -> str:
    """edgekit.verify.mil.plan -> verify."""
    return module[1] if len(module) > 1 else ""


FILES = [path for path in sources(PACKAGE) if path != PACKAGE / "__init__.py"]
IDS = [str(path.relative_to(ROOT)) for path in FILES]


def test_the_table_names_every_part_once_and_no_other() -> None:
    there = {part(module_of(path)) for path in FILES}
    named = [name for row in LAYERS for name in row]
    assert len(named) == len(set(named))
    assert there - set(named) == set(), "give the new part its row in LAYERS"
    assert set(named) == there, "LAYERS names a part that is gone"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_imports_point_down(path: Path) -> None:
    own = part(module_of(path))
    wrong = []
    for line, imported in imports(path):
        if imported[0] != "edgekit":
            continue
        other = part(imported)
        if not other or (other != own and LEVEL[other] >= LEVEL[own]):
            wrong.append(f"line {line}: {own} imports {'.'.join(imported)}")
    assert not wrong


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_only_leaves_know_a_framework(path: Path) -> None:
    if part(module_of(path)) in LEAVES:
        return
    found = [f"line {line}: {name[0]}" for line, name in imports(path) if name[0] in FRAMEWORKS]
    assert not found


def test_no_leaf_is_imported_by_the_host_process() -> None:
    """deploy, ladder, gate, cli... start leaves as children by name; of a leaf they may read only data of __init__."""
    allowed = {("making", ("edgekit", "compress"))}
    found = {
        (part(module_of(path)), imported)
        for path in FILES
        for _, imported in imports(path)
        if imported[0] == "edgekit" and part(imported) in LEAVES and part(module_of(path)) not in LEAVES
    }
    assert found <= allowed
    light = [name[0] for _, name in imports(PACKAGE / "compress" / "__init__.py")]
    assert not light, "edgekit.compress is imported by the host: its __init__ holds data only"


def test_stages_that_are_started_by_name_exist() -> None:
    """ "edgekit.trace:trace" is an import too, one that no tool checks."""
    named = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                module, _, function = node.value.partition(":")
                if module.startswith("edgekit.") and function.isidentifier():
                    named.add((module, function))
    assert len(named) >= 5
    for module, function in named:
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        assert path.is_file(), f"{module}:{function}"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert function in {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}, (
            f"{module}:{function}"
        )


@pytest.mark.parametrize("path", sources(RUNNER), ids=lambda path: path.name)
def test_the_runner_is_another_program(path: Path) -> None:
    """Standard library, numpy, psutil off Linux, and each runtime in its own back end only."""
    own = RUNTIME_BACKENDS.get(path.stem) if path.parent.name == "backends" else None
    allowed = {*sys.stdlib_module_names, "numpy", "psutil", "edgekit_runner", *([own] if own else [])}
    assert {name[0] for _, name in imports(path)} - allowed == set()


def test_no_import_cycle_inside_a_part() -> None:
    """Within one part nothing but order of names is prescribed; a cycle would still be a knot."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for path in FILES:
        own = module_of(path)
        graph[own] = {i for _, i in imports(path) if i[0] == "edgekit" and i != own and is_module(i)}
    done: set[tuple[str, ...]] = set()

    def visit(node: tuple[str, ...], trail: tuple[tuple[str, ...], ...]) -> None:
        assert node not in trail, " > ".join(".".join(step) for step in (*trail, node))
        if node not in done:
            for after in sorted(graph.get(node, ())):
                visit(after, (*trail, node))
            done.add(node)

    for node in sorted(graph):
        visit(node, ())
