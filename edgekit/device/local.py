"""`local`: this machine. Artifacts are read where they lie; only the runner is put into a temporary folder."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgekit.device import QUICK_S, Completed
from edgekit.device.exchange import TooMuch, exchange
from edgekit.device.scratch import Scratch
from edgekit.errors import DeviceError, UserError

FORM = "local"


class Local:
    """This machine; see `Device`."""

    name = "local"
    shares_files = True

    def __init__(self, python: str | None) -> None:
        given = python or sys.executable
        self.python = str(Path(given).absolute()) if Path(given).parts[1:] else given
        self._scratch = Scratch()
        self.root = str(self._scratch.path)

    def execute(
        self, argv: Sequence[str], stdin: bytes = b"", timeout_s: float = QUICK_S, folder: str | None = None
    ) -> Completed:
        """Runs a command to its end, with the folder for its temporary files too."""
        own = {} if folder is None else {"TMPDIR": folder, "TEMP": folder, "TMP": folder}
        try:
            done = exchange(
                argv,
                stdin,
                timeout_s,
                held=folder is not None,
                folder=folder,
                variables={**os.environ, **own},
            )
        except OSError as error:
            raise DeviceError(f"local: {argv[0]} cannot be started: {error.strerror}") from error
        except TooMuch as error:
            raise DeviceError(f"local: {error}") from None
        except subprocess.TimeoutExpired:
            raise DeviceError(
                f"local: no answer within {timeout_s:g} s; it was ended. Allow more time, or ask for less"
            ) from None
        return Completed(
            code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
        )

    def push(self, local: Path, remote: str) -> None:
        """Copies a file; `remote` appears complete or not at all."""
        place = Path(remote)
        partial = place.with_name(place.name + ".part")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(local, partial)
            partial.replace(place)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise DeviceError(f"local: cannot write {remote}: {error.strerror}") from error

    def exists(self, remote: str, size_bytes: int) -> bool:
        """Whether the file is there with that size."""
        place = Path(remote)
        return place.is_file() and place.stat().st_size == size_bytes

    def remove(self, remote: str) -> None:
        """Removes a file or a folder, if it is there."""
        place = Path(remote)
        if place.is_dir():
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.unlink(missing_ok=True)

    def make_folder(self) -> str:
        """Makes a new empty folder below `root`."""
        return tempfile.mkdtemp(prefix="run-", dir=self.root)

    def close(self) -> None:
        """Removes `root` and everything in it."""
        self._scratch.close()


def check(address: str) -> None:
    """Raises UserError for an address: local takes none."""
    if address:
        raise UserError(f"device 'local:{address}' is not known; local takes no address")


def open(address: str, python: str | None) -> Local:
    """Opens this machine, with a new temporary folder as `root`."""
    return Local(python)
