"""Bad input through the command line: one clear sentence, the right exit code, nothing half-written.

Most stages run in this process (`in_process`): the same functions and the same JSON between them as in a child,
without its four seconds of imports. A few cases go through real children and a real shell.
"""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from commands import SMALL, TASKS, edgekit, in_process  # noqa: F401  a fixture
from edgekit_runner.artifact import sha256

from edgekit.package import sums

pytestmark = pytest.mark.long

FLOAT_ONLY = """
summary = "float32 in ONNX Runtime"
runtime = "onnxruntime"
format = "onnx"
precisions = ["float32"]

[isa]
arch = ["x86_64", "aarch64"]

[isa.levels]
any = {}

[[ladder]]
technique = "float32"
precision = "float32"
reason = "the untouched model"
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    place = tmp_path / "place"
    place.mkdir()
    return place / "out"


@pytest.fixture
def float_only(tmp_path: Path) -> str:
    path = tmp_path / "float-only.toml"
    path.write_text(FLOAT_ONLY)
    return str(path)


def shell(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgekit", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )


def sentence(result: Result | subprocess.CompletedProcess[str], exit_code: int = 2) -> str:
    """The last line of stderr, after it is clear that it stands alone."""
    code = result.exit_code if isinstance(result, Result) else result.returncode
    assert code == exit_code, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if line.startswith("edgekit: ")]
    assert len(said) == 1, result.stderr
    assert said[0] == result.stderr.splitlines()[-1]
    return said[0]


def nothing_written(out: Path) -> None:
    assert list(out.parent.iterdir()) == []


# -- the command line itself


def test_task_file_missing(out: Path) -> None:
    said = sentence(shell("export", "nowhere/model.py:task", "-t", "x86-server", "-q", "-o", out))
    assert said == "edgekit: task file nowhere/model.py does not exist"
    nothing_written(out)


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        (f"{SMALL}", "has no attribute; write it as file.py:task or package.module:task"),
        (f"{SMALL}:nothing", "has no attribute 'nothing'; it has: "),
        (f"{SMALL}:number", "is a int; it must be an edgekit.Task or a function returning one"),
        (f"{SMALL}:no_task", "returned a dict; it must return an edgekit.Task"),
        (f"{TASKS / 'raises_on_import.py'}:task", "raised RuntimeError: the weights are on the other disk "),
        (f"{SMALL}:task_raises", "raised ValueError: no such weights (small.py, line "),
        ("no_such_module:task", "task module no_such_module does not exist; for a file write its path with"),
    ],
)
@pytest.mark.usefixtures("in_process")
def test_task_reference(reference: str, expected: str, out: Path) -> None:
    assert expected in sentence(edgekit("export", reference, "-t", "x86-server", "-q", "-o", out))
    nothing_written(out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-t", "x86-sever"], "unknown target 'x86-sever' (did you mean x86-server?); allowed: "),
        (["-t", "none.toml"], "target file none.toml does not exist"),
        (["-t", "x86-server", "--isa", "sse9"], "admits the instruction set 'sse9'; allowed: avx2, "),
        (["-t", "x86-server", "--set", "depth=3"], "takes no setting 'depth'; allowed: width"),
        (["-t", "x86-server", "--set", "width=wide"], "expected int"),
        (["-t", "x86-server", "--set", "width"], "--set 'width' is not KEY=VALUE"),
        (
            ["-t", "x86-server", "--max-drop", "nan"],
            "budget max_drop is nan; it must be a finite number of at least 0",
        ),
        (
            ["-t", "x86-server", "--max-size", "-1"],
            "budget max_size_bytes is -1; it must be a finite number above 0",
        ),
        (
            ["-t", "x86-server", "--max-latency", "0"],
            "budget max_latency_s is 0.0; it must be a finite number above 0",
        ),
    ],
)
def test_options(arguments: list[str], expected: str, out: Path, in_process: None) -> None:
    task = f"{SMALL}:task"
    assert expected in sentence(edgekit("export", task, *arguments, "-q", "-o", out))
    assert expected in sentence(edgekit("plan", task, *arguments))
    nothing_written(out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--seed", "-1"], "Invalid value for '--seed'"),
        (["--jobs", "0"], "Invalid value for '--jobs'"),
        (["--max-drop", "little"], "Invalid value for '--max-drop'"),
        (["--fast"], "No such option"),
    ],
)
def test_options_that_click_refuses(arguments: list[str], expected: str, out: Path) -> None:
    result = edgekit("export", f"{SMALL}:task", "-t", "x86-server", *arguments, "-o", out)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stdout == ""
    nothing_written(out)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('colour = "red"\n', "unknown key 'colour'; allowed: summary, "),
        ("channel_multiple = 8.5\n", "Expected `int`, got `float` - at `$.channel_multiple`"),
        ('channel_multiple = "8"\n', "Expected `int`, got `str` - at `$.channel_multiple`"),
        ("channel_multiple = \n", "not a TOML file"),
    ],
)
def test_profile(change: str, expected: str, tmp_path: Path, out: Path) -> None:
    profile = tmp_path / "board.toml"
    profile.write_text(change + FLOAT_ONLY)
    said = sentence(edgekit("export", f"{SMALL}:task", "-t", profile, "-q", "-o", out))
    assert said.startswith(f"edgekit: {profile}: {expected}")
    nothing_written(out)


# -- the task's model, inputs and metric

TRACED = {
    "model_raises": "the model function of task 'small' raised FileNotFoundError: weights.pt (small.py, line ",
    "no_module": "the model of task 'small' is a list; it must be a torch.nn.Module",
    "forward_object": "the model's forward returned a Boxes at ['boxes']; allowed are tensors, None, and tuples",
    "forward_nan": "the model's forward returned NaN or infinity",
    "branches": "torch.export cannot trace the model at small.py, line ",
    "wrong_shape": "called with example_inputs ([1, 1, 8, 8] float32), raised RuntimeError",
    "wrong_dtype": "called with example_inputs ([1, 3, 8, 8] int64), raised RuntimeError",
    "complex_dtype": "example_inputs[0] is torch.complex64; allowed are float16, float32, float64, int8, uint8, int32, int64 and bool",
    "batch_of_two": "example_inputs[0] has shape [2, 3, 8, 8]; the first dimension is the batch and must be 1",
    "no_tensor": "example_inputs[0][0] is a float; give torch tensors",
    "bare_tensor": "example_inputs is a Tensor; give a tuple of tensors",
    "calibration_once": "calibration is a one-shot iterator; give something that can be iterated again",
    "metric_raises": "the metric of task 'small' raised ZeroDivisionError: division by zero (small.py, line ",
    "metric_nan": "the metric of task 'small' returned nan; it must be a finite number, higher is better",
    "metric_text": "the metric of task 'small' returned a str; it must return a float",
    "metric_silent": "the metric never called predict; it must score the function it is given",
    "metric_wrong_input": "predict got input 0 of shape [16, 3, 4, 8]; the model takes [N, 3, 8, 8]",
}


@pytest.mark.parametrize(("function", "expected"), TRACED.items(), ids=list(TRACED))
@pytest.mark.usefixtures("in_process")
def test_task_that_cannot_be_traced(function: str, expected: str, out: Path) -> None:
    assert expected in sentence(edgekit("export", f"{SMALL}:{function}", "-t", "all", "-q", "-o", out))
    nothing_written(out)


def test_forward_raises_in_a_real_child(out: Path) -> None:
    result = shell("export", f"{SMALL}:forward_raises", "-t", "all", "-o", out)
    assert sentence(result).startswith(
        "edgekit: the model's forward, called with example_inputs ([1, 3, 8, 8] float32), raised "
        "ValueError: this layer was never finished (small.py, line "
    )
    nothing_written(out)


def test_task_raises_in_a_real_child(out: Path) -> None:
    result = shell("export", f"{SMALL}:task_raises", "-t", "x86-server", "-q", "-o", out)
    assert "small.py:task_raises raised ValueError: no such weights (small.py, line " in sentence(result)
    nothing_written(out)


# -- the calibration, the metric on the artifact

CALIBRATION = {
    "calibration_empty": "the task's calibration yields no batch; give at least one",
    "calibration_shape": "calibration batch 1 has shape [2, 3, 4, 8]; the model takes ['N', 3, 8, 8], any N",
    "calibration_nan": "calibration batch 1 holds NaN or infinite values; calibrate with finite inputs",
    "calibration_inf": "calibration batch 1 holds NaN or infinite values; calibrate with finite inputs",
    "calibration_text": "calibration batch 0 is a str; expected a torch tensor, a numpy array or a tuple",
}


@pytest.mark.parametrize(("function", "expected"), CALIBRATION.items(), ids=list(CALIBRATION))
@pytest.mark.usefixtures("in_process")
def test_calibration(function: str, expected: str, out: Path) -> None:
    result = edgekit("export", f"{SMALL}:{function}", "-t", "x86-server", "-q", "-o", out)
    assert expected in sentence(result)
    nothing_written(out)


@pytest.mark.usefixtures("in_process")
def test_metric_that_asks_for_other_samples_each_time(float_only: str, out: Path) -> None:
    result = edgekit("export", f"{SMALL}:metric_random", "-t", float_only, "-q", "-o", out)
    assert "it is not deterministic. Fix its random seed" in sentence(result)
    nothing_written(out)


@pytest.mark.usefixtures("in_process")
def test_doubts_about_the_task_are_shown(float_only: str, out: Path) -> None:
    for function, doubt in [
        ("metric_noisy", "the metric is not deterministic: 0.9 and then 0.7, to the same answers"),
        ("calibration_raw", "the same preprocessing?"),
    ]:
        reference = f"{SMALL}:{function}"
        result = edgekit("export", reference, "-t", float_only, "--max-drop", "1", "-q", "-o", out)
        assert result.exit_code == 0, result.stderr
        assert doubt in " ".join(result.stdout.split())
        assert doubt in (out / "report.html").read_text()


# -- budgets that cannot be met


def test_speed_that_the_profile_cannot_give_is_refused_before_any_work(float_only: str, out: Path) -> None:
    arguments = [
        "export",
        f"{SMALL}:nothing_is_read",
        "-t",
        float_only,
        "--min-speedup",
        "1.5",
        "-q",
        "-o",
        out,
    ]
    assert sentence(edgekit(*arguments)) == (
        "edgekit: budget min_speedup is 1.5, but the ladder of float-only holds only float32, which is as fast as "
        "float; allowed: at most 1, or a profile with other techniques"
    )
    nothing_written(out)


@pytest.mark.usefixtures("in_process")
def test_size_below_that_of_the_weights_is_refused_after_the_trace(out: Path) -> None:
    arguments = ["export", f"{SMALL}:task", "-t", "x86-server", "--max-size", "1000", "-q", "-o", out]
    assert sentence(edgekit(*arguments)) == (
        "edgekit: budget max_size_bytes 1000 cannot be met: 2368 weights take at least 2368 bytes in int8, the "
        "smallest that x86-server offers here; allowed: more than 2368"
    )
    nothing_written(out)


@pytest.mark.usefixtures("in_process")
def test_a_budget_that_nothing_meets_names_the_best_found_and_what_limits_it(
    float_only: str, out: Path
) -> None:
    arguments = ["export", f"{SMALL}:task", "-t", float_only, "--max-size", "9600", "-q", "-o", out]
    result = edgekit(*arguments)
    assert result.exit_code == 1
    said = result.stderr.splitlines()[-1]
    assert re.fullmatch(
        r"edgekit: no artifact meets the budget for float-only: refused 1 recipe; best found: float32, metric "
        r"drop 0, (\d+) bytes(, [\d.]+ of float's CPU time)?, limited by max_size_bytes 9600 \(found \1\)",
        said,
    )
    assert (out / "report.json").is_file(), "the report tells what was tried"


# -- the converters


@pytest.mark.parametrize(
    "target",
    ["x86-server", *(pytest.param(t, marks=pytest.mark.slow) for t in ("tflite-int8", "coreml-fp16"))],
)
def test_operator_that_no_converter_knows(target: str, out: Path) -> None:
    result = shell("export", TASKS / "unknown_operator.py:task", "-t", target, "-q", "-o", out)
    said = sentence(result)
    assert "lgamma" in said
    assert "from spectral (" in said
    assert "Spectral)" in said
    nothing_written(out)


def test_runtime_that_is_not_installed(out: Path) -> None:
    without = str(TASKS / "without_onnxruntime")
    result = shell("export", f"{SMALL}:task", "-t", "all", "-q", "-o", out, PYTHONPATH=without)
    assert sentence(result, 3) == (
        "edgekit: onnxruntime not installed, needed for arm-mobile, x86-server: pip install onnxruntime"
    )
    nothing_written(out)


def test_doctor_tells_which_runtime_is_not_installed() -> None:
    result = shell("doctor", "--json", PYTHONPATH=str(TASKS / "without_onnxruntime"))
    health = {t["target"]: (t["ready"], t["missing"]) for t in json.loads(result.stdout)["targets"]}
    assert health["x86-server"] == (False, ["onnxruntime"])
    assert health["tflite-int8"] == (True, [])


# -- the output folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("content", [{"thesis.txt": "mine"}, {"report.json": '{"coverage": 3}'}])
def test_output_folder_of_somebody_else(content: dict[str, str], out: Path) -> None:
    out.mkdir()
    for name, text in content.items():
        (out / name).write_text(text)
    before = snapshot(out)
    result = edgekit("export", f"{SMALL}:task", "-t", "x86-server", "-q", "-o", out)
    assert sentence(result) == (
        f"edgekit: output folder {out} exists and was not written by edgekit; give another -o or empty it"
    )
    assert snapshot(out) == before
    assert list(out.parent.iterdir()) == [out]


def test_output_is_a_file(out: Path) -> None:
    out.write_text("a letter")
    result = edgekit("export", f"{SMALL}:task", "-t", "x86-server", "-q", "-o", out)
    assert sentence(result) == f"edgekit: output {out} exists and is not a folder; give another -o"
    assert out.read_text() == "a letter"


def test_output_below_a_file(out: Path) -> None:
    out.write_text("a letter")
    result = edgekit("export", f"{SMALL}:task", "-t", "x86-server", "-q", "-o", out / "deeper")
    assert f"cannot write beside {out / 'deeper'}: " in sentence(result)


@pytest.mark.usefixtures("in_process")
def test_failure_keeps_the_earlier_export(exported: Path) -> None:
    before = snapshot(exported)
    result = edgekit("export", f"{SMALL}:forward_raises", "-t", "x86-server", "-q", "-o", exported)
    assert "this layer was never finished" in sentence(result)
    assert snapshot(exported) == before
    assert list(exported.parent.iterdir()) == [exported]


# -- a full disk


@pytest.fixture
def tiny_disk(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A file system of so many kB, where this process may mount one."""
    place = Path(tempfile.mkdtemp(prefix="edgekit-disk-"))
    mount = shutil.which("mount")
    command = [mount or "", "-t", "tmpfs", "-o", f"size={request.param}k", "edgekit-test", str(place)]
    if mount is None or os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
        place.rmdir()
        pytest.skip("needs the right to mount a file system")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        place.rmdir()


@pytest.mark.parametrize("tiny_disk", [16, pytest.param(64, marks=pytest.mark.slow)], indirect=True)
def test_disk_runs_full(tiny_disk: Path, float_only: str) -> None:
    result = shell("export", f"{SMALL}:task", "-t", float_only, "-q", "-o", tiny_disk / "out")
    assert "disk is full" in sentence(result)
    assert list(tiny_disk.iterdir()) == []


@pytest.mark.usefixtures("in_process")
@pytest.mark.slow
def test_disk_runs_full_while_the_results_are_placed(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the right to mount: the copy into the output folder answers as a full disk does."""

    def full(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    before = snapshot(exported)
    profile = exported.parent.parent / "float-only.toml"
    monkeypatch.setattr(shutil, "copyfile", full)
    result = edgekit("export", f"{SMALL}:task", "-t", profile, "-q", "-o", exported)
    assert sentence(result) == f"edgekit: the disk is full while writing {exported}; nothing was changed"
    assert snapshot(exported) == before
    assert list(exported.parent.iterdir()) == [exported]


# -- an exported folder that was altered


@pytest.fixture(scope="module")
def exported_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real export of the good task to a float profile; read only."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "float-only.toml").write_text(FLOAT_ONLY)
    result = shell(
        "export", f"{SMALL}:task", "-t", folder / "float-only.toml", "-q", "-o", folder / "place" / "out"
    )
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def exported(exported_once: Path, tmp_path: Path) -> Path:
    """A copy of it, alone in its folder."""
    shutil.copytree(exported_once, tmp_path / "copy")
    return tmp_path / "copy" / "place" / "out"


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_altered_after_export(name: str, exported: Path) -> None:
    path = exported / "float-only" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert f"float-only/{name} was altered after export" in sentence(edgekit("verify", exported), 1)
    assert f"{path} was altered after export: its sha256 is " in sentence(edgekit("bench", exported), 1)


def test_gone_after_export(exported: Path) -> None:
    path = exported / "float-only" / "model.onnx"
    path.unlink()
    assert "float-only/model.onnx is missing" in sentence(edgekit("verify", exported), 1)
    assert sentence(edgekit("bench", exported), 1) == f"edgekit: {path} is missing; export again"


def edit_manifest(exported: Path, **changed: object) -> Path:
    path = exported / "float-only" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    for folder in (path.parent, exported):
        sums.seal(folder)
    return path


def test_manifest_that_claims_int8_of_a_float_file(exported: Path) -> None:
    (file,) = json.loads((exported / "float-only" / "manifest.json").read_text())["artifacts"]
    edit_manifest(exported, artifacts=[{**file, "precision": "int8"}])
    said = sentence(edgekit("verify", exported), 1)
    assert "model.onnx is not the int8 file that its manifest says: 0 % of the" in said
    assert "ok" not in said.split()


def test_manifest_that_points_outside(exported: Path) -> None:
    path = edit_manifest(exported, golden={"path": "../../secret", "sha256": "0", "atol": 1})
    assert (
        sentence(edgekit("verify", exported), 1) == f"edgekit: {path} points outside its folder: ../../secret"
    )


def test_golden_pair_that_is_a_folder(exported: Path) -> None:
    digest = sha256(exported / "float-only" / "logs")
    edit_manifest(exported, golden={"path": "logs", "sha256": digest, "atol": 1})
    for verb in (["bench"], ["package", "--name", "n", "--version", "1.0.0", "--license", "MIT", "--for", "web", "-o", exported.parent / "b"]):  # fmt: skip
        assert "logs is a folder; a golden pair is a file" in sentence(edgekit(verb[0], exported, *verb[1:]))


def test_manifest_of_another_version(exported: Path) -> None:
    path = edit_manifest(exported, schema_version=99)
    assert f"{path} has schema_version 99; this edgekit reads 2" in sentence(edgekit("verify", exported))


def test_manifest_that_lacks_a_field(exported: Path) -> None:
    path = edit_manifest(exported, artifacts=[])
    assert f"{path} does not hold a manifest" in sentence(edgekit("verify", exported))


def test_manifest_that_is_no_json(exported: Path) -> None:
    path = exported / "float-only" / "manifest.json"
    path.write_text("{")
    for folder in (path.parent, exported):
        sums.seal(folder)
    assert f"{path} is not JSON" in sentence(edgekit("verify", exported))


def test_verify_without_its_runtime(exported: Path) -> None:
    result = shell("verify", exported, PYTHONPATH=str(TASKS / "without_onnxruntime"))
    assert "pip install onnxruntime" in sentence(result, 3)


@pytest.mark.parametrize("verb", ["verify", "bench", "report"])
def test_place_that_is_no_export(verb: str, tmp_path: Path) -> None:
    assert "edgekit export" in sentence(edgekit(verb, tmp_path))
    assert str(tmp_path / "gone") in sentence(edgekit(verb, tmp_path / "gone"))


def test_bench_options(exported: Path) -> None:
    assert "--threads '0' is not a list of positive" in sentence(edgekit("bench", exported, "--threads", "0"))
    assert "--threads '1,x' is not a list" in sentence(edgekit("bench", exported, "--threads", "1,x"))
    assert "device 'moon' is not known; allowed: adb:SERIAL, local, ssh:user@host" in sentence(
        edgekit("bench", exported, "--device", "moon")
    )
