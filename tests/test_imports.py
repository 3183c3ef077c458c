"""What a command loads: `edgekit --help` and its like must not pay for a framework, nor even for numpy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = {
    "torch", "torchvision", "torchao", "tensorflow", "coremltools", "onnx", "onnxruntime", "onnxscript",
    "ai_edge_litert", "ai_edge_quantizer", "litert_torch", "accelerate", "safetensors", "sklearn", "jax", "keras",
    "openvino",
}  # fmt: skip
HEAVY = FRAMEWORKS | {"numpy", "psutil", "rich", "plotly", "jinja2", "cloudpickle", "scipy"}
VERBS = ("targets", "plan", "export", "verify", "bench", "report", "doctor", "demo")
COMMAND = "from edgekit.cli.main import main\nmain({arguments!r}, standalone_mode=False)"


def loaded(code: str) -> set[str]:
    """Top-level names in sys.modules after `code` ran in a fresh interpreter."""
    tail = "\nimport sys\nprint('\\nMODULES', *sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code + tail],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runner")])},
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES ")[2].split())


def test_the_probe_sees_what_is_loaded() -> None:
    assert "numpy" in loaded("import numpy")


@pytest.mark.parametrize(
    "code",
    [
        "import edgekit",
        "import edgekit\nedgekit.Budget, edgekit.load_target, edgekit.UserError, edgekit.plan, edgekit.Task",
        "import edgekit_runner",
        COMMAND.format(arguments=["--help"]),
        COMMAND.format(arguments=["targets"]),
        COMMAND.format(arguments=["targets", "--json"]),
    ],
    ids=["package", "public names", "runner", "help", "targets", "targets json"],
)
def test_light(code: str) -> None:
    assert loaded(code) & HEAVY == set()


def test_help_of_every_verb_is_light() -> None:
    """One process for all of them: whichever is heavy shows, and the list of verbs is the contract."""
    code = "from edgekit.cli.main import main\n"
    code += f"assert set(main.commands) >= set({VERBS!r}), set(main.commands)\n"
    code += "for verb in main.commands: main([verb, '--help'], standalone_mode=False)"
    assert loaded(code) & HEAVY == set()


@pytest.mark.parametrize(
    "code",
    [
        "import edgekit\nedgekit.deploy",
        COMMAND.format(arguments=["doctor"]),
        "import edgekit_runner.__main__",
        "import edgekit_runner.api",
    ],
    ids=["deploy", "doctor", "runner command", "runner api"],
)
def test_no_framework_in_the_host_process(code: str) -> None:
    """numpy is allowed here; frameworks live in the children."""
    assert loaded(code) & FRAMEWORKS == set()


def test_pyproject_bans_the_same_frameworks_at_module_level() -> None:
    import tomllib

    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    banned = set(lint["flake8-tidy-imports"]["banned-module-level-imports"])
    assert {"torch", "torchvision", "tensorflow", "coremltools", "onnx", "onnxruntime"} <= banned
