"""Progress of a run on stderr: a live table on a terminal, one line per stage elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from edgekit.engine.events import Event
from edgekit.records.foreign import visible

if TYPE_CHECKING:
    from rich.table import Table


class Lines:
    """For logs and pipes: a line when a stage ends, and the gate's decision on each recipe."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __call__(self, event: Event) -> None:
        """Prints the line of an event, if it has one."""
        line = describe(event)
        if line:
            print(visible(line), file=sys.stderr, flush=True)


def describe(event: Event) -> str:
    """One line, such as `x86-server  verify: done in 3.2 s`, or "" for what only a live table shows."""
    who = event.target or "all targets"
    if event.state == "note":
        return f"{who}  {event.message}"
    if event.state == "reused":
        return f"{who}  {event.stage}: reused, it took {event.wall_s:.1f} s"
    if event.state in ("done", "failed"):
        what = f"{event.state} in {event.wall_s:.1f} s"
        return f"{who}  {event.stage}: {what}" + (f": {event.message}" if event.message else "")
    return ""


class Live:
    """For a terminal: what each target is doing and for how long, with what is finished above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._running: dict[str, tuple[str, float]] = {}
        self._console = Console(stderr=True)
        self._live = RichLive(
            console=self._console, refresh_per_second=4, get_renderable=self._table, transient=True
        )

    def __enter__(self) -> "Live":
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def __call__(self, event: Event) -> None:
        """Takes an event: updates the table, and prints its line above it."""
        if event.state == "started":
            self._running[event.target] = (event.stage, time.monotonic())
        elif event.state in ("done", "failed"):
            self._running.pop(event.target, None)
        line = describe(event)
        if line:
            self._console.print(visible(line), markup=False, highlight=False)

    def _table(self) -> "Table":
        from rich.spinner import Spinner
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for target, (stage, since) in sorted(self._running.items()):
            table.add_row(
                Spinner("dots"), target or "all targets", stage, f"{time.monotonic() - since:.0f} s"
            )
        return table


def progress(quiet: bool = False) -> "Lines | Live | Silent":
    """Chooses what fits where stderr goes."""
    if quiet:
        return Silent()
    return Live() if sys.stderr.isatty() else Lines()


class Silent(Lines):
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        """Takes an event and prints nothing."""
