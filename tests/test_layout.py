"""What import-linter (`make lint`, the contracts in pyproject.toml) cannot say of the layout."""

import ast
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "edgekit"
RUNNER = ROOT / "runner" / "edgekit_runner"
RUNTIME_BACKENDS = {
    "onnxruntime": "onnxruntime",
    "litert": "ai_edge_litert",
    "coreml": "coremltools",
    "openvino": "openvino",
}
# one contract, several modules: a technique, an exporter, a runtime's back end or graph reader, a stage's entry, a mode or a term
CONTRACTS = {"_stage", "stage", "onnxruntime", "litert", "coreml", "openvino", "__init__", "__main__"}


def imported(path: Path) -> set[str]:
    """The first part of every absolute import, at any depth."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_runner_needs_the_standard_library_numpy_and_one_runtime_a_back_end() -> None:
    for path in RUNNER.rglob("*.py"):
        own = RUNTIME_BACKENDS.get(path.stem) if path.parent.name == "backends" else None
        allowed = {*sys.stdlib_module_names, "numpy", "psutil", "edgekit_runner", *([own] if own else [])}
        assert imported(path) - allowed == set(), path


def test_one_level_of_edgekit_holds_few_modules() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 12


def test_no_two_modules_have_one_name_unless_they_hold_one_contract() -> None:
    names = Counter(path.stem for path in PACKAGE.rglob("*.py"))
    twice = {name for name, count in names.items() if count > 1}
    assert twice - CONTRACTS == set()


def test_no_module_has_the_name_of_a_public_function() -> None:
    import edgekit

    assert {path.stem for path in PACKAGE.glob("*.py")} & set(edgekit.__all__) == set()


def test_what_a_verb_writes_for_a_while_is_found_again_where_it_is_killed() -> None:
    """A stage has a temporary folder of its own in the work folder; a verb's own process has `Scratch`."""
    verbs = [PACKAGE / "api.py", *(path for name in ("cli", "package", "bench", "device") for path in (PACKAGE / name).rglob("*.py"))]  # fmt: skip
    assert [path.name for path in verbs if "TemporaryDirectory" in path.read_text(encoding="utf-8")] == []


def test_plain_data_becomes_a_record_in_one_place() -> None:
    """msgspec's own `convert` crashes the process where two threads make the first record of a kind."""
    base = PACKAGE / "records" / "_base.py"
    calls = [path for path in PACKAGE.rglob("*.py") if "msgspec.convert(" in path.read_text(encoding="utf-8")]
    assert calls == [base]
