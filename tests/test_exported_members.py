"""The public names: listed once, in the stub, and resolved when they are first used."""

import ast
import importlib
from pathlib import Path

import pytest

import edgekit
from edgekit import errors
from edgekit.errors import EdgekitError

NAMES = [name for name in edgekit.__all__ if name != "__version__"]


def homes() -> dict[str, str]:
    """Public name -> the module that its stub takes it from."""
    stub = Path(edgekit.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    imports = [node for node in ast.parse(stub).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: f"edgekit.{node.module or alias.name}" for node in imports for alias in node.names}


def test_the_stub_names_what_can_be_reached_each_once() -> None:
    assert edgekit.__all__ == sorted(set(edgekit.__all__)) == sorted(homes())
    assert dir(edgekit) == edgekit.__all__


@pytest.mark.parametrize("name", NAMES)
def test_each_name_stays_what_its_home_defines(name: str) -> None:
    """Asked for twice, and after its home was imported."""
    home = importlib.import_module(homes()[name])
    found = getattr(edgekit, name)
    if found is home:  # a module of its own
        return
    assert found is getattr(home, name)
    assert getattr(edgekit, name) is found
    assert f"{found.__module__}.".startswith(f"{home.__name__}.")
    assert found.__doc__ or issubclass(found, EdgekitError)


def test_version_is_the_runners() -> None:
    import edgekit_runner

    assert edgekit.__version__ == edgekit_runner.__version__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="deplyo"):
        edgekit.deplyo  # noqa: B018


def test_the_error_tree_in_the_docstring_is_the_real_one() -> None:
    """Each line "├── Name   exit N" names a class and its exit code; none is left out."""
    drawn = dict.fromkeys(
        line.lstrip("│├└─ ").split()[0] for line in str(errors.__doc__).splitlines() if "──" in line
    )
    real = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, EdgekitError)}
    assert set(drawn) == real - {"EdgekitError"}
    for line in str(errors.__doc__).splitlines():
        if "──" in line and " exit " in line:
            name, code = line.lstrip("│├└─ ").split()[0], int(line.partition(" exit ")[2].split()[0])
            assert getattr(errors, name).exit_code == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("UserError", 2), ("TaskError", 2), ("TargetError", 2), ("BudgetError", 1), ("VerificationError", 1),
        ("ConversionError", 2), ("ChildCrash", 1), ("MissingRuntime", 3),
    ],
)  # fmt: skip
def test_exit_codes_are_the_contract(name: str, code: int) -> None:
    assert errors.by_name(name).exit_code == code


@pytest.mark.parametrize("name", ["ValueError", "by_name", "", "NoSuchError"])
def test_a_foreign_error_name_falls_back_to_the_base(name: str) -> None:
    assert errors.by_name(name) is EdgekitError


def test_missing_runtime_holds_the_pip_line() -> None:
    error = errors.MissingRuntime.of("onnxruntime", "verifying onnxruntime artifacts")
    assert (
        str(error)
        == "onnxruntime is not installed, but verifying onnxruntime artifacts needs it: pip install onnxruntime"
    )
