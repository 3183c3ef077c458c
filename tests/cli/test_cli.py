"""The command line: help, the verbs that need no run, what goes to stdout and what to stderr."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from commands import SMALL
from commands import edgekit as any_edgekit
from edgekit_runner import __version__

from edgekit.cli.main import main
from edgekit.profile.reading import load_target
from edgekit.records import Budget

pytestmark = pytest.mark.long

TARGETS = ["arm-mobile", "coreml-fp16", "tflite-int8", "x86-server"]  # what "all" means
PROFILES = sorted([*TARGETS, "coreml-int8", "coreml-small", "tflite-integer"])
OPTIONS = {
    "targets": ["--json"],
    "plan": [
        "--target",
        "--isa",
        "--set",
        *["--max-drop", "--min-speedup", "--max-size", "--max-latency"],
        "--json",
    ],
    "export": [
        "--target",
        "--isa",
        "--set",
        "--out",
        "--max-memory",
        "--seed",
        "--jobs",
        "--explore",
        "--resume",
        "--stage-timeout",
        "--keep-work",
        "--no-cache",
        "--timings",
        "--quiet",
        "--json",
    ],
    "verify": ["--key", "--runtime", "--arm", "--json"],
    "ort": ["--out", "--arm", "--json"],
    "bench": ["--device", "--threads", "--protocol", "--python", "--timeout", "--json"],
    "compare": ["--device", "--threads", "--tolerance", "--protocol", "--python", "--timeout", "--json"],
    "compare-models": ["--json"],
    "explain": ["--target", "--json"],
    "report": ["--out", "--json"],
    "schema": [],
    "doctor": ["--json"],
    "demo": ["--out", "--quiet", "--json"],
    "techniques": ["--json"],
    "cache": ["list", "clear"],
    "check": ["--budget", "--json"],
    "diff": ["--json"],
    "index": ["--sign", "--days", "--out", "--json"],
    "inspect": ["--input", "--set", "--json"],
    "new": ["--input", "--out"],
    "package": [
        "--name",
        "--version",
        "--license",
        "--for",
        "--java-package",
        "--sign",
        "--previous",
        "--image-input",
        "--classifier",
        "--tflite-numbers",
        "--out",
        "--json",
    ],
}


def edgekit(*arguments: object, exit_code: int = 0) -> Result:
    return any_edgekit(*arguments, exit_code=exit_code)


def test_help_lists_every_verb() -> None:
    shown = edgekit("--help").stdout
    listed = re.findall(r"^  ([\w-]+)  +\w", shown.partition("Commands:")[2], re.MULTILINE)
    assert listed == sorted(OPTIONS)
    assert edgekit("-h").stdout == shown


@pytest.mark.parametrize("verb", OPTIONS)
def test_help_of_a_verb(verb: str) -> None:
    result = edgekit(verb, "--help")
    assert result.stdout.startswith(f"Usage: main {verb} [OPTIONS]")
    assert result.stderr == ""
    missing = [option for option in OPTIONS[verb] if option not in result.stdout]
    assert missing == []
    described = result.stdout.split("\n\n")[1].strip()
    assert described.endswith(".")


def test_version() -> None:
    assert edgekit("--version").stdout == f"{__version__}\n"


def test_without_a_verb_help_is_shown() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "Commands:" in result.output


def test_unknown_verb() -> None:
    result = edgekit("deploy", exit_code=2)
    assert "No such command 'deploy'" in result.stderr
    assert result.stdout == ""


def test_targets_as_text() -> None:
    lines = edgekit("targets").stdout.splitlines()
    assert [line.split()[0] for line in lines] == PROFILES
    assert lines[-1] == (
        "x86-server      x86-64 servers, ONNX Runtime CPU, int8 (7-bit weights without VNNI); avx2 unless --isa"
    )


def test_targets_as_json() -> None:
    profiles = json.loads(edgekit("targets", "--json").stdout)
    assert [p["name"] for p in profiles] == PROFILES
    assert {p["format"] for p in profiles} == {"onnx", "coreml", "tflite"}
    assert all(p["ladder"] for p in profiles)


def test_plan_as_text() -> None:
    shown = edgekit("plan", f"{SMALL}:task", "-t", "x86-server", "-t", "coreml-fp16", "--max-drop", "0.02")
    lines = shown.stdout.splitlines()
    assert lines[0].startswith("x86-server (avx2), budget: ")
    assert lines[1].startswith("  1. ptq(mse) -> int8: ")
    assert "7-bit per_channel weights" in lines[1]
    assert "  -  dynamic left out: 99 % of the multiply-accumulates are convolutions: " in shown.stdout
    assert any(line.startswith("coreml-fp16 (") for line in lines)
    assert re.search(r"  -  ptq.* left out: profile .*admits float16", shown.stdout)
    assert "0.02" in lines[0]


def test_plan_as_json() -> None:
    shown = edgekit(
        "plan", f"{SMALL}:task", "-t", "all", "--isa", "avx512-vnni", "--min-speedup", "1.5", "--json"
    )
    plans = {plan["target"]: plan for plan in json.loads(shown.stdout)}
    assert sorted(plans) == TARGETS
    assert plans["x86-server"]["isa"] == "avx512-vnni"
    assert plans["arm-mobile"]["isa"] == load_target("arm-mobile").default_isa
    assert plans["x86-server"]["task"] == "small"
    assert "8-bit per_channel" in plans["x86-server"]["recipes"][0]["steps"][0]["reason"]
    assert all(plan["budget"]["min_speedup"] == 1.5 for plan in plans.values())
    assert plans["x86-server"]["budget"]["max_drop"] == Budget().max_drop
    assert all(step["reason"] for plan in plans.values() for r in plan["recipes"] for step in r["steps"])
    assert all(skipped["reason"] for plan in plans.values() for skipped in plan["skipped"])


def test_plan_without_calibration_says_why_ptq_is_left_out() -> None:
    shown = edgekit("plan", f"{SMALL}:metric_random", "-t", "x86-server").stdout
    assert "ptq(mse) left out: no calibration data in the task" in shown


def test_plan_takes_settings() -> None:
    edgekit("plan", f"{SMALL}:task", "-t", "x86-server", "--set", "width=3")


def test_plan_of_a_profile_by_path(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "targets" / "x86-server.toml").read_text()
    (tmp_path / "my-board.toml").write_text(text)
    shown = edgekit("plan", f"{SMALL}:task", "-t", tmp_path / "my-board.toml")
    assert shown.stdout.startswith("my-board (avx2), budget: ")


def test_doctor_as_json() -> None:
    health = json.loads(edgekit("doctor", "--json").stdout)
    assert set(health) == {"machine", "isa", "int8_saturates", "packages", "targets"}
    assert [t["target"] for t in health["targets"]] == PROFILES
    assert all(t["ready"] == (not t["missing"]) for t in health["targets"])
    assert health["packages"]["torch"] != "not installed"


def test_doctor_as_text() -> None:
    lines = edgekit("doctor").stdout.splitlines()
    assert lines[0].startswith("machine  ")
    assert {line.split()[0] for line in lines} == {"machine", "package", "target"}
    assert [line.split()[1].rstrip(":") for line in lines if line.startswith("target")] == PROFILES


@pytest.mark.parametrize("verb", ["plan", "export"])
def test_a_target_is_required(verb: str) -> None:
    result = edgekit(verb, f"{SMALL}:task", exit_code=2)
    assert "Missing option '--target'" in result.stderr
    assert result.stdout == ""


def test_errors_go_to_stderr_in_a_real_shell() -> None:
    command = [sys.executable, "-m", "edgekit", "plan", f"{SMALL}:task", "-t", "toaster", "--json"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("edgekit: unknown target 'toaster'; allowed: arm-mobile, ")
    assert len(result.stderr.splitlines()) == 1
