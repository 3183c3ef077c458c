"""Several processes for real, gloo on this machine's CPU: the same losses as one, killed workers, shared-out weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from train_nets import net

from edgekit.errors import UserError
from edgekit.quant import program as programs
from edgekit.train import __main__ as entry
from edgekit.train import distributed

pytestmark = pytest.mark.long

FOLDER = Path(__file__).parents[1] / "support"
TASK = f"{FOLDER / 'train_nets.py'}:task"
BASE = ("learning_rate=0.01", "images=640", "checks=4", "device=cpu")


def command(
    out: Path,
    processes: int,
    options: tuple[str, ...] = (),
    task: str = TASK,
    taught: tuple[str, ...] = (),
    **settings: Any,
) -> list[str]:
    launch = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        if processes > 1
        else []
    )
    given = [part for option in (*BASE, *options) for part in ("--option", option)]
    chosen = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    start = [sys.executable, *launch, "-m", "edgekit.train", task, "-o", str(out)]
    return [*start, *given, *chosen, *taught]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OMP_NUM_THREADS": "1"}


def run(argv: list[str], code: int = 0) -> str:
    done = subprocess.run(argv, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr[-3000:]
    return done.stderr + done.stdout


def refusal(argv: list[str]) -> str:
    """What the same command says in this process, where it refuses."""

    def leave(code: int) -> None:
        raise SystemExit(code)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "_leave", leave)
        done = CliRunner().invoke(entry.main, argv[argv.index("edgekit.train") + 1 :])
    assert done.exit_code == UserError.exit_code, done.output
    return done.output


def trained(out: Path) -> tuple[list[float], dict[str, torch.Tensor]]:
    losses = json.loads((out / "trained.json").read_text())["losses"]
    return losses, load_file(str(out / "weights.safetensors"))


def close(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.allclose(v, second[k], atol=1e-4) for k, v in first.items()
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], dict[str, torch.Tensor]]:
    out = tmp_path_factory.mktemp("alone") / "out"
    text = run(command(out, 1, size=15))
    assert "learning-rate probe" not in text and f": {out / 'weights.safetensors'}" in text
    assert not (out / "checkpoint").exists()
    return trained(out)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_do_what_one_does_with_twice_the_batch(alone, tmp_path: Path, strategy: str) -> None:
    """Batches of 15: the parts are of 7 and 8 samples."""
    run(command(tmp_path / "out", 2, (f"strategy={strategy}",), size=15))
    losses, weights = trained(tmp_path / "out")
    assert losses == pytest.approx(alone[0], rel=1e-3, abs=1e-4) and close(weights, alone[1])
    assert json.loads((tmp_path / "out" / "trained.json").read_text())["processes"] == 2


@pytest.mark.parametrize("strategy", [pytest.param("ddp", marks=pytest.mark.slow), "fsdp"])
def test_a_killed_worker_ends_the_run_and_resuming_ends_the_same(tmp_path: Path, strategy: str) -> None:
    options = (f"strategy={strategy}", "ema=0.9")
    run(command(tmp_path / "whole", 2, options, dropout=0.1))
    out = tmp_path / "killed"
    argv = command(out, 2, options, slow="true", dropout=0.1)
    launcher = subprocess.Popen(argv, env=environment(), stderr=subprocess.PIPE, text=True)
    workers = wait_for_checkpoint(launcher, out / "checkpoint")
    workers[-1].send_signal(signal.SIGKILL)
    _, text = launcher.communicate(timeout=90)
    assert launcher.returncode == 1
    assert "lost another one, which died or was killed" in text and "--resume" in text
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert len(gone) == 2 and not alive
    assert not (out / "weights.safetensors").exists()
    refused = refusal(command(out, 1, options, dropout=0.1))
    assert "holds a training; give --resume to go on with it, or another -o" in refused
    text = run([*command(out, 2, options, dropout=0.1), "--resume"])
    assert "resumes at step" in text
    first, second = trained(tmp_path / "whole"), trained(out)
    assert first[0] == second[0]
    assert all(torch.equal(first[1][k], second[1][k]) for k in first[1])


def wait_for_checkpoint(launcher: "subprocess.Popen[str]", folder: Path) -> list[psutil.Process]:
    """The workers, as soon as something is kept."""
    until = time.monotonic() + 60
    while time.monotonic() < until and launcher.poll() is None:
        if list(folder.glob("step-*")):
            return psutil.Process(launcher.pid).children(recursive=True)[:2]
        time.sleep(0.05)
    raise AssertionError("no checkpoint was written")


def test_workers_do_not_outlive_a_killed_launcher(tmp_path: Path) -> None:
    launcher = subprocess.Popen(
        command(tmp_path / "out", 2, slow="true"), env=environment(), stderr=subprocess.DEVNULL, text=True
    )
    workers = wait_for_checkpoint(launcher, tmp_path / "out" / "checkpoint")
    launcher.kill()
    launcher.wait()
    assert not psutil.wait_procs(workers, timeout=15)[1]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ("--option", "image=3"),
            "training has no option 'image'; did you mean 'images'? allowed options: images, steps",
        ),
        (("--option", "images"), "--option 'images' is not KEY=VALUE"),
        (("--option", "optimizer=lion"), "training: optimizer is 'lion'; allowed: adamw, sgd"),
    ],
)
def test_options_that_are_refused(tmp_path: Path, argv: tuple[str, ...], message: str) -> None:
    assert message in refusal([*command(tmp_path / "out", 1), *argv])


def test_a_task_without_training_data(tmp_path: Path) -> None:
    reference = f"{FOLDER / 'train_nets.py'}:without_training"
    assert "'none' has no training data; give it training=" in run(
        command(tmp_path / "out", 1, task=reference), code=2
    )
    assert "'none' has no training data" in refusal(command(tmp_path / "out", 1, task=reference))


def test_blocks_are_what_lists_hold() -> None:
    model = net()
    assert distributed.blocks(torch.nn.Module()) == []
    holder = torch.nn.Module()
    holder.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.ReLU()])
    holder.inner = torch.nn.Module()
    holder.inner.deep = torch.nn.Sequential(torch.nn.Linear(2, 2))
    holder.head = torch.nn.Linear(2, 2)
    assert distributed.blocks(holder) == [holder.layers[0], holder.inner.deep[0]]
    assert distributed.blocks(model) == [model[3][0]]


@pytest.mark.parametrize(
    ("processes", "strategy"), [(1, "ddp"), pytest.param(2, "ddp", marks=pytest.mark.slow), (2, "fsdp")]
)
def test_states_are_taken_whole_and_put_back(processes: int, strategy: str) -> None:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"] if processes > 1 else []
    worker = str(Path(__file__).with_name("states.py"))
    assert run([sys.executable, *launch, worker, strategy]).count("equal") == processes


# -- a teacher


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An exported program for one sample, of other answers than the student's."""
    model = net().eval()
    with torch.no_grad():
        model[-1].weight.mul_(-2)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pt2"
    programs.save(torch.export.export(model, (torch.zeros(1, 8),)), path)
    return str(path)


def taught(teacher: str) -> tuple[str, ...]:
    return ("--teacher", teacher, "--alpha", "0.25", "--temperature", "2")


@pytest.fixture(scope="module")
def taught_alone(
    teacher: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[float], dict[str, torch.Tensor]]:
    out = tmp_path_factory.mktemp("taught") / "out"
    run(command(out, 1, ("images=320",), taught=taught(teacher), size=15))
    return trained(out)


@pytest.mark.parametrize(
    ("form", "strategy"),
    [
        pytest.param("program", "ddp", marks=pytest.mark.slow),
        ("program", "fsdp"),
        pytest.param("function", "fsdp", marks=pytest.mark.slow),
    ],
)
def test_two_processes_learn_of_a_teacher_as_one_does(
    taught_alone, teacher: str, tmp_path: Path, form: str, strategy: str
) -> None:
    """With fsdp the teacher is shared out too: as a whole, or block by block."""
    given = teacher if form == "program" else f"{FOLDER / 'train_nets.py'}:contrary"
    options = ("images=320", f"strategy={strategy}")
    text = run(command(tmp_path / "out", 2, options, taught=taught(given), size=15))
    losses, weights = trained(tmp_path / "out")
    assert losses == pytest.approx(taught_alone[0], rel=1e-3, abs=1e-4) and close(weights, taught_alone[1])
    assert weights.keys() == net().state_dict().keys() and losses[-1] < 0.7 * losses[0]
    numbers = sum(p.numel() for p in net().parameters())
    assert (f"holds {numbers // 2} of the {numbers} numbers of a teacher" in text) == (strategy == "fsdp")


@pytest.mark.parametrize(
    ("taught", "message"),
    [
        (("--teacher", "no.pt2"), "no exported program at no.pt2"),
        (
            ("--teacher", f"{FOLDER / 'train_nets.py'}:contrary", "--alpha", "2"),
            "training: alpha is 2.0; allowed: at least 0, at most 1",
        ),
    ],
)
def test_teachers_that_are_refused(tmp_path: Path, taught: tuple[str, ...], message: str) -> None:
    assert message in refusal(command(tmp_path / "out", 1, taught=taught))
