"""Runs edgekit, and ends it by SIGKILL just before the STEP-th change that it makes while a result is put into its place.

    python dies_at.py OUT STEP export ...

Changes are counted from the first rename of the output folder, or of what is in it. They are seen by an audit hook, which
the interpreter calls before it asks the system.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir")


def arm(out: str, step: int) -> None:
    """From now on this process, and none that it forks, dies before that change."""
    changes: list[str] = []
    own = os.getpid()

    def watch(event: str, given: tuple[Any, ...]) -> None:
        if event not in CHANGES or os.getpid() != own:
            return
        places = [Path(os.fsdecode(place)) for place in given[:2]] if event == "os.rename" else []
        if changes or any(Path(out) in (place, place.parent) for place in places):
            changes.append(event)
        if len(changes) >= step:
            os.kill(own, signal.SIGKILL)

    sys.addaudithook(watch)


def main(out: str, step: str, *arguments: str) -> None:
    arm(out, int(step))
    sys.path[0] = str(Path.cwd())
    sys.argv = ["edgekit", *arguments]
    from edgekit.__main__ import main as edgekit

    edgekit()


if __name__ == "__main__":
    main(*sys.argv[1:])
