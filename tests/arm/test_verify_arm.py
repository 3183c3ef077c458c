"""`edgekit verify --arm`, `edgekit ort --arm` and `edgekit export --arm` on the command line, and a slower net that `edgekit check` catches."""

import json
from pathlib import Path

import numpy as np
import pytest
from commands import edgekit
from exported_net import write_export

from edgekit.arm.userland import Userland
from edgekit.package import manifest_file

pytestmark = pytest.mark.arm
DIGITS = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, here: Userland) -> Path:
    return write_export(tmp_path_factory.mktemp("export"), isa="arm-neon")


def test_an_export_is_run_on_both_cpus_and_its_counts_are_written(folder: Path, tmp_path: Path) -> None:
    counts = tmp_path / "counts.json"
    done = edgekit("verify", folder, "--arm", "--counts", counts)
    assert done.exit_code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1].startswith("arm-mobile  cortex-a72") and lines[2].startswith("arm-mobile  cortex-a76")
    assert "emulated CPUs, one thread: no cache, no memory and no time is in a count" in lines[3]
    data = json.loads(counts.read_text())
    assert data["kind"] == "instructions" and data["emulator"].startswith("qemu-aarch64 7.2")
    assert [each["cpu"] for each in data["counts"]] == ["cortex-a72", "cortex-a76"]
    assert {each["artifact_sha256"] for each in data["counts"]} == {manifest_file.read(folder).file.sha256}


def test_more_inputs_than_the_golden_one(folder: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.npz"
    np.savez(inputs, input_0=np.random.default_rng(3).standard_normal((7, 3, 8, 8)).astype(np.float32))
    done = edgekit("verify", folder, "--arm", "--cpu", "cortex-a76", "--inputs", inputs, "--json")
    ((run,),) = [each["runs"] for each in json.loads(done.stdout)]
    assert (run["samples"], run["top1_ratio"], run["passed"]) == (7, 1.0, True)


def test_a_slower_net_is_caught_by_check(folder: Path, tmp_path: Path) -> None:
    base, now = tmp_path / "base.json", tmp_path / "now.json"
    slow = write_export(tmp_path / "slow", isa="arm-neon", more_layers=60)
    for place, counts in ((folder, base), (slow, now)):
        done = edgekit("verify", place, "--arm", "--cpu", "cortex-a72", "--counts", counts)
        assert done.exit_code == 0, done.stderr
    budget = tmp_path / "budget.toml"
    budget.write_text(
        '[targets.arm-mobile]\ninstructions = "now.json"\ninstructions_baseline = "base.json"\n'
    )
    caught = edgekit("check", slow, "--budget", budget)
    assert caught.exit_code == 1 and "emulated, no time" in caught.stdout
    now.write_bytes(base.read_bytes())
    assert edgekit("check", folder, "--budget", budget).exit_code == 0


def test_the_format_of_minimal_builds_is_proven_there(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ort"
    done = edgekit("ort", folder, "-o", out, "--arm", "--json")
    assert done.exit_code == 0, done.stderr
    (found,) = json.loads(done.stdout)
    assert found["proven_on"] == ["this machine", "cortex-a72, emulated", "cortex-a76, emulated"]
    operators = (out / "arm-mobile" / "model.required_operators_and_types.config").read_text()
    assert "# - model.ort" in operators and str(tmp_path) not in operators
    assert edgekit("ort", folder, "-o", out).exit_code == 2


@pytest.mark.long
def test_an_export_is_held_to_the_emulated_cpus(here: Userland, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [
        "export",
        f"{DIGITS}:task",
        "-t",
        "arm-mobile",
        "--recipe",
        "ptq",
        "--arm",
        "-o",
        out,
        "--json",
        "--quiet",
    ]
    done = edgekit(*command)
    assert done.exit_code in (0, 1), done.stderr
    (attempt,) = json.loads(done.stdout)["targets"][0]["attempts"]
    runs = attempt["measurement"]["emulated"]
    assert [(run["cpu"], run["passed"], run["samples"]) for run in runs] == [
        ("cortex-a72", True, 8), ("cortex-a76", True, 8)
    ]  # fmt: skip
    assert all(len(run["count"]["float_runs"]) == 5 for run in runs)
    assert "On emulated ARM CPUs" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--cpu", "cortex-a72"], "--cpu belongs to --arm"),
        (["--counts", "c.json"], "--counts belongs to --arm"),
        (["--arm", "--cpu", "cortex-x4"], "'cortex-x4' is no CPU that is emulated"),
        (["--arm", "--inputs", "away.npz"], "there is no such file"),
    ],
)
def test_what_is_asked_for_wrongly_is_one_sentence(folder: Path, options: list[str], why: str) -> None:
    done = edgekit("verify", folder, *options)
    assert done.exit_code == 2 and why in done.stderr and "Traceback" not in done.stderr


def test_inputs_of_another_shape_are_told_with_what_the_file_takes(folder: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", input_0=np.zeros((2, 3, 9, 9), np.float32))
    done = edgekit("verify", folder, "--arm", "--inputs", tmp_path / "x.npz")
    assert done.exit_code == 2
    assert "holds input_0 [2, 3, 9, 9]" in done.stderr and "takes input_0 [1, 3, 8, 8]" in done.stderr


def test_a_target_that_is_not_emulated_is_told(tmp_path: Path) -> None:
    done = edgekit("verify", write_export(tmp_path, target="x86-server"), "--arm")
    assert done.exit_code == 2 and "x86-server: it runs in onnxruntime on avx2" in done.stderr
