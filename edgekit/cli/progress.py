"""Progress of a run on stderr: a live table on a terminal, one line per stage elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from edgekit.cli.printing import say
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
            say(line)


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


def about(left_s: float) -> str:
    """Says how long a run may still take, no more exactly than anybody knows."""
    if left_s < 10:
        return "a few seconds left"
    if left_s < 100:
        return f"about {round(left_s, -1):.0f} s left"
    return f"about {left_s / 60:.0f} min left"


class Live:
    """For a terminal: what each target is doing and for how long, with what is finished above it.

    Below is a bar with the time left, once the stages of this model were all run before.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as RichLive

        self._running: dict[str, tuple[str, float]] = {}
        self._began_s = time.monotonic()
        self._ends_s: float | None = None
        self._console = Console(stderr=True)
        self._live = RichLive(
            console=self._console, refresh_per_second=4, get_renderable=self._shown, transient=True
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
        if event.state != "note":
            self._ends_s = None if event.left_s is None else time.monotonic() + event.left_s
        if event.state == "started":
            self._running[event.target] = (event.stage, time.monotonic())
        elif event.state in ("done", "failed"):
            self._running.pop(event.target, None)
        line = describe(event)
        if line:
            self._console.print(visible(line), markup=False, highlight=False)

    def _shown(self) -> "Table":
        from rich.table import Table

        whole = Table.grid()
        whole.add_row(self._table())
        if self._ends_s is not None:
            whole.add_row(self._bar(time.monotonic(), self._ends_s))
        return whole

    def _bar(self, now_s: float, ends_s: float) -> "Table":
        """What is done of what the run will take, and about how long that still is."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        row = Table.grid(padding=(0, 2))
        done_s, left_s = now_s - self._began_s, max(0.0, ends_s - now_s)
        row.add_row(ProgressBar(total=done_s + left_s, completed=done_s, width=40), about(left_s))
        return row

    def _table(self) -> "Table":
        from rich.spinner import Spinner
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        for target, (stage, since) in sorted(self._running.items()):
            table.add_row(
                Spinner("dots"),
                Text(visible(target or "all targets")),
                Text(visible(stage)),
                f"{time.monotonic() - since:.0f} s",
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
