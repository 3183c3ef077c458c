"""SHA256SUMS of an export: what `edgekit verify` and the runner's selftest hold every file of it to."""

from pathlib import Path

from edgekit_runner.cli import sums
from edgekit_runner.errors import UserError as RunnerUserError
from edgekit_runner.errors import VerificationError as RunnerVerificationError

from edgekit.errors import UserError, VerificationError


def seal(folder: Path) -> None:
    """Writes the list of a folder, after everything else."""
    (folder / sums.NAME).write_text(sums.text_of(folder), encoding="utf-8")


def check_whole(folder: Path) -> None:
    """Holds every file of an export, or of a target's folder of it, to its list.

    Raises:
        UserError: There is no list.
        VerificationError: A file differs; the sentence names it.
    """
    try:
        sums.check(folder)
    except RunnerUserError as error:
        raise UserError(str(error)) from error
    except RunnerVerificationError as error:
        raise VerificationError(str(error)) from error
