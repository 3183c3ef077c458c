"""Both wheels hold what they must, and the runner installs without the rest."""

import ast
import importlib.util
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNNER_LIMIT_BYTES = 112_000

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("hatchling") is None, reason="hatchling builds the wheels"
)


def build_wheel(project: Path, out: Path) -> Path:
    """Builds without isolation, and so without network; the sources stay as they are."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def root_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT, tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def runner_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(ROOT / "runner", tmp_path_factory.mktemp("runner"))


def test_root_wheel_holds_both_packages_and_the_data(root_wheel: Path) -> None:
    names = names_in(root_wheel)
    for source in [*(ROOT / "edgekit").rglob("*.py"), *(ROOT / "runner" / "edgekit_runner").rglob("*.py")]:
        base = ROOT if source.is_relative_to(ROOT / "edgekit") else ROOT / "runner"
        assert source.relative_to(base).as_posix() in names
    for profile in (ROOT / "targets").glob("*.toml"):
        assert f"edgekit/targets/{profile.name}" in names
    for template in (ROOT / "edgekit" / "report").glob("*.jinja"):
        assert f"edgekit/report/{template.name}" in names
    assert {"edgekit/demo/digits.py", "edgekit/py.typed", "edgekit_runner/py.typed"} <= names


def test_root_wheel_holds_nothing_else(root_wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(root_wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgekit", "edgekit_runner"}
    assert not [name for name in names_in(root_wheel) if "__pycache__" in name or name.endswith(".pyc")]


def test_wheels_carry_one_version_and_the_commands(root_wheel: Path, runner_wheel: Path) -> None:
    assert root_wheel.name.split("-")[1] == runner_wheel.name.split("-")[1]
    with zipfile.ZipFile(root_wheel) as archive:
        (entry,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        text = archive.read(entry).decode()
    assert "edgekit = edgekit.__main__:main" in text
    assert "edgekit-runner = edgekit_runner.__main__:main" in text


def test_runner_wheel_is_small_and_alone(runner_wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(runner_wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"edgekit_runner"}
    assert runner_wheel.stat().st_size <= RUNNER_LIMIT_BYTES


def without_docstrings(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def statement_lines(source: str) -> list[int]:
    return [node.lineno for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Return | ast.Raise)]


def test_the_slim_modules_are_the_same_programs_line_by_line(runner_wheel: Path) -> None:
    sources = {
        path.relative_to(ROOT / "runner").as_posix(): path
        for path in (ROOT / "runner" / "edgekit_runner").rglob("*.py")
    }
    with zipfile.ZipFile(runner_wheel) as archive:
        held = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith(".py")}
    assert set(held) == set(sources)
    for name, path in sources.items():
        source = path.read_text(encoding="utf-8")
        assert without_docstrings(held[name]) == without_docstrings(source), name
        assert statement_lines(held[name]) == statement_lines(source), name
    assert held["edgekit_runner/__main__.py"] == sources["edgekit_runner/__main__.py"].read_text("utf-8")


@pytest.fixture(scope="module")
def device(runner_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment that holds the runner and numpy, as a device would."""
    home = tmp_path_factory.mktemp("device") / "venv"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "-q"]
    done = subprocess.run([*pip, str(runner_wheel)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (site,) = home.glob("lib/python*/site-packages")
    installed = Path(importlib.import_module("numpy").__file__ or "").parents[1]
    for name in ("numpy", "numpy.libs"):
        if (installed / name).exists():
            (site / name).symlink_to(installed / name)
    return python


def run(python: Path, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, timeout=60)


def test_runner_alone_imports_and_edgekit_does_not(device: Path) -> None:
    assert run(device, "import edgekit_runner.api; print(edgekit_runner.__version__)").returncode == 0
    missing = run(device, "import edgekit")
    assert "ModuleNotFoundError: No module named 'edgekit'" in missing.stderr


def test_runner_alone_names_the_pip_line_of_a_missing_runtime(device: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"no model, but the runtime is looked for first")
    command = [device.with_name("edgekit-runner"), "bench", str(model)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3, done.stdout + done.stderr
    assert "pip install" in done.stdout + done.stderr
