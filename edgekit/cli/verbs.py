"""What every verb runs in: an expected error is one sentence and its exit code, and a verb can be told to stop."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import click
from edgekit_runner.host import telemetry

from edgekit.cli.printing import any_terminal, say, whole_output
from edgekit.engine.output import absolute
from edgekit.errors import EdgekitError, Stopped


class Verbs(click.Group):
    """Turns every expected error into one sentence and its exit code; anything else is a bug and shows itself."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a verb; an expected error ends it with one sentence on stderr and its exit code."""
        telemetry.switch_off()
        any_terminal()
        try:
            absolute(Path())  # a current folder that was removed stops every verb
            with _stoppable(), whole_output():
                return super().invoke(ctx)
        except EdgekitError as error:
            say(f"edgekit: {_with_notes(error)}")
            ctx.exit(error.exit_code)


def _with_notes(error: BaseException) -> str:
    """The sentence of an error with the notes added on its way here, such as that finished stages are kept."""
    return "; ".join([str(error) or "stopped", *getattr(error, "__notes__", [])])


@contextmanager
def _stoppable() -> Iterator[None]:
    """Ends a verb that is told to stop (SIGTERM) as Ctrl-C does: its processes and folders go first, finished stages are kept."""
    former = signal.getsignal(signal.SIGTERM)
    with suppress(ValueError):  # another thread than the main one may not set it
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt as error:
        say(f"edgekit: {_with_notes(error)}")
        sys.exit(Stopped.exit_code)
    finally:
        with suppress(ValueError):
            signal.signal(signal.SIGTERM, former)
