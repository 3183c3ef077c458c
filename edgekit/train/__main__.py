"""Fine-tunes the model of a task with its own training data; the same command on one process and on many.

    python -m edgekit.train TASK -o DIR --option images=50000
    torchrun --nproc-per-node 2 -m edgekit.train TASK -o DIR --option strategy=fsdp
    torchrun --nproc-per-node 2 -m edgekit.train TASK -o DIR --teacher teacher.pt2 --option strategy=fsdp

With --teacher the model also learns from a teacher's answers (`edgekit.train.objective`). The teacher is an
exported program, or a function "file.py:build" that returns a module, which fsdp then gathers block by block
instead of whole. DIR gets `weights.safetensors`, `trained.json` with the loss of every step, and
`checkpoint/` while the training runs: the same command with --resume continues from there.
`edgekit.train.settings` lists the options.
"""

import dataclasses
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import click
import msgspec
import torch
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process
from edgekit_runner.host import telemetry
from msgspec import Meta

from edgekit.engine import child
from edgekit.engine.task_reference import attribute, load_task
from edgekit.errors import EdgekitError, TaskError, UserError
from edgekit.records import Settings
from edgekit.records._options import read
from edgekit.records.foreign import visible
from edgekit.task import Task, Training
from edgekit.train import checkpoint, distributed
from edgekit.train.data import seed_step
from edgekit.train.history import Trained
from edgekit.train.loop import fit
from edgekit.train.objective import Distillation
from edgekit.train.settings import Alpha, Options, Temperature

WEIGHTS, RECORD, CHECKPOINT = "weights.safetensors", "trained.json", "checkpoint"


@click.command(help=(__doc__ or "").replace("\n    ", "\n\n    "))
@click.argument("task")
@click.option("--out", "-o", type=click.Path(path_type=Path), required=True, help="Folder to write to.")
@click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="An option of the training.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="An argument of the task's function."
)
@click.option("--teacher", default="", help="A .pt2 program, or file.py:function, whose answers to learn.")
@click.option("--alpha", default=0.1, show_default=True, help="Weight of the task's loss beside a teacher's.")
@click.option("--temperature", default=4.0, show_default=True, help="What softens a teacher's answers.")
@click.option("--resume", is_flag=True, help="Continue from the last checkpoint in the folder.")
def main(
    task: str,
    out: Path,
    options: tuple[str, ...],
    settings: tuple[str, ...],
    teacher: str,
    alpha: float,
    temperature: float,
    resume: bool,
) -> None:
    """Runs the command line; its help is the head of the module."""
    telemetry.switch_off()
    _with_its_launcher()
    level = logging.INFO if _rank() == 0 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(name)s %(message)s", stream=sys.stderr)
    try:
        taught = Taught(teacher=teacher, alpha=alpha, temperature=temperature) if teacher else None
        trained = run(task, out, read_options(options), pairs("--set", settings), resume, taught)
    except EdgekitError as error:
        click.echo(visible(f"error: {error}"), err=True)
        _leave(error.exit_code)
    if _rank() == 0:
        done = f"{trained.steps} steps, {trained.images} images, loss {trained.losses[-1]:.4f}"
        click.echo(visible(f"{done}: {out / WEIGHTS}"))
    _leave(0)


class Taught(Settings):
    """What the model learns from, besides its labels."""

    owner = "training"

    teacher: Annotated[str, Meta(description="a .pt2 file, or file.py:function")]
    alpha: Alpha
    temperature: Temperature

    def objective(self, task: Task, training: Training, seed: int) -> Distillation:
        """Returns the loss.

        Raises:
            UserError: The teacher cannot be loaded.
        """
        if self.teacher.endswith(".pt2"):
            from edgekit.quant import program, trainable  # seconds, and only this needs them

            teacher: torch.nn.Module = trainable.trainable(program.load(self.teacher).module())
        else:
            teacher = model_of(dataclasses.replace(task, model=attribute(self.teacher)), seed)
        return Distillation([teacher], training.loss, self.alpha, self.temperature)


def run(
    reference: str,
    out: Path,
    options: Options,
    settings: dict[str, str],
    resume: bool,
    taught: Taught | None = None,
) -> Trained:
    """Trains a task and writes what came of it.

    Args:
        reference: The task, as on the command line.
        out: The folder to write to.
        options: How the training is run.
        settings: Arguments of the task's function.
        resume: Whether to continue from the last checkpoint.
        taught: A teacher, if there is one.

    Raises:
        TaskError: The task has no training data, or data that does not fit.
        UserError: The folder holds a training, and `resume` is False.
        TrainingError: The training did not reach its end.
    """
    task = load_task(reference, settings)
    if task.training is None:
        raise TaskError(
            f"task {task.name!r} has no training data; give it training=Training(batches=..., loss=...)"
        )
    if not resume:
        _fresh(out)
    model = model_of(task, options.seed)
    objective = taught.objective(task, task.training, options.seed) if taught else None
    belongs = msgspec.structs.asdict(taught) if taught else {"teacher": ""}
    trained = fit(
        model, task.training, options, objective=objective, folder=out / CHECKPOINT, belongs=belongs
    )
    state = checkpoint.state_of(model)
    if _rank() == 0:
        checkpoint.save(state, out / WEIGHTS)
        text = json.dumps(msgspec.to_builtins(trained), indent=1)
        (out / RECORD).write_text(text, encoding="utf-8")
        shutil.rmtree(out / CHECKPOINT, ignore_errors=True)
    return trained


def model_of(task: Task, seed: int) -> torch.nn.Module:
    """Returns the model of a task, with the same weights in every process.

    That includes weights that the task's function draws.
    """
    seed_step(seed, 0, 0)
    model = task.model if isinstance(task.model, torch.nn.Module) else task.model()
    if not isinstance(model, torch.nn.Module):
        raise TaskError(
            f"the model of task {task.name!r} is a {type(model).__name__}; it must be a torch.nn.Module"
        )
    return model.float().requires_grad_(True)


def read_options(texts: tuple[str, ...]) -> Options:
    """Reads the options of the training from KEY=VALUE texts.

    Raises:
        UserError: A text is not an option; the message lists those there are.
    """
    return read(Options, pairs("--option", texts), strict=False)


def pairs(flag: str, texts: tuple[str, ...]) -> dict[str, str]:
    """Reads KEY=VALUE texts.

    Raises:
        UserError: A text has another form.
    """
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise UserError(f"{flag} {text!r} is not KEY=VALUE")
        found[key] = value
    return found


def _fresh(out: Path) -> None:
    """Refuses to overwrite what an earlier training left in this folder."""
    if checkpoint.latest(out / CHECKPOINT) is not None or (out / WEIGHTS).exists():
        raise UserError(f"{out} holds a training; give --resume to go on with it, or another -o")


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


def _with_its_launcher() -> None:
    """Makes the process end with its torchrun launcher, however that ends."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        child.die_with(os.getppid())
        distributed.end_with_the_others()


def _leave(code: int) -> Any:
    distributed.stop()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # gloo's threads may hang where another process is gone


if __name__ == "__main__":
    main()
