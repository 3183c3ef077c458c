"""What the tests of edgekit.engine.process run in child processes: one function for each way to end."""

import errno
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from edgekit import errors
from edgekit.records import Figure, Record


class Order(Record):
    """What a function is asked for."""

    text: str = ""
    number: float = 0.0
    folder: str = ""


class Answer(Record):
    """What it found."""

    text: str
    number: float
    process: int
    variables: dict[str, str] = {}
    figures: tuple[Figure, ...] = ()


def echo(spec: Order) -> Answer:
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    names = ("OMP_WAIT_POLICY", "MALLOC_TRIM_THRESHOLD_")
    figure = Figure(step="s", name="n", value=spec.number, unit="u")
    return Answer(
        text=spec.text,
        number=spec.number,
        process=os.getpid(),
        variables={name: os.environ.get(name, "") for name in names},
        figures=(figure,),
    )


def write(spec: Order) -> Answer:
    """As echo, and leaves a file as stages do."""
    (Path(spec.folder) / "written.bin").write_text(spec.text)
    return echo(spec)


def place(spec: Order) -> Answer:
    """Writes a file and returns its path; text that is a path itself is read."""
    said = Path(spec.text).read_text() if spec.text.startswith("/") else spec.text
    file = Path(spec.folder) / "deep" / "said.txt"
    file.parent.mkdir()
    file.write_text(f"{said}!")
    return Answer(text=str(file), number=spec.number, process=os.getpid())


def sleep(spec: Order) -> Answer:
    """Does not end by itself within a test, unless it is told how long it takes."""
    place = Path(spec.folder) / "process.partial"
    place.write_text(str(os.getpid()))
    place.rename(place.with_suffix(""))
    time.sleep(spec.number or 600)
    return echo(spec)


def allocate(spec: Order) -> Answer:
    block = bytearray(b"\1") * int(spec.number)
    return Answer(text="", number=len(block), process=os.getpid())


def raise_ours(spec: Order) -> Answer:
    kind, _, message = spec.text.partition(":")
    raise errors.by_name(kind)(message)


def raise_bug(spec: Order) -> Answer:
    raise ZeroDivisionError(spec.text)


def disk_full(spec: Order) -> Answer:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.bin")


def die(spec: Order) -> Answer:
    print("loading\n\n  about to   die  ", flush=True)
    os.kill(os.getpid(), signal.Signals[spec.text])
    return echo(spec)


def leave(spec: Order) -> Answer:
    sys.exit(int(spec.number))


def leave_running(spec: Order) -> Answer:
    """Leaves a process of its own behind, as a data loader or a tool does that nobody waits for; with a text, as a daemon."""
    left = subprocess.Popen(["sleep", "600"], start_new_session=bool(spec.text))
    (Path(spec.folder) / "left").write_text(str(left.pid))
    return echo(spec)


def put_aside(spec: Order) -> Answer:
    """Writes a temporary file and forgets it; its path is the answer."""
    with tempfile.NamedTemporaryFile(delete=False) as file:
        return echo(Order(text=file.name))


def vanish(spec: Order) -> Answer:
    """Ends as native code does that calls exit: nothing is said."""
    os._exit(int(spec.number))
