"""The command line. stdout carries the result, stderr progress and what went wrong; the last stdout line with
--json is the record. Exit codes: 0 fine, 1 refused or failed, 2 user error, 3 a runtime is missing;
`compare` and `check`: 0 faster or no worse, 1 slower or a regression, 4 inconclusive.
"""

import argparse
import os
import sys
from collections.abc import Sequence

from edgekit_runner.cli import commands, tools
from edgekit_runner.cli.arguments import parser
from edgekit_runner.errors import RunnerError
from edgekit_runner.host import telemetry


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    _end_as_interrupted()
    telemetry.switch_off()
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # the marks of a sparkline, a path that is no text
    arguments = parser(commands.VERBS | tools.VERBS).parse_args(argv)
    try:
        return int(arguments.verb.run(arguments))
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        _answer(arguments, error)
        return error.exit_code
    except BrokenPipeError:  # the reader (head, less) has gone; silence the flush at exit too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return 130


def _answer(arguments: argparse.Namespace, error: RunnerError) -> None:
    """With --json a measuring verb answers with a record, also when nothing could begin."""
    from edgekit_runner import record as records

    if arguments.verb.measures and arguments.json:
        print(records.to_line(records.fail_with(records.blank(arguments.name), error)))


def _end_as_interrupted() -> None:
    """SIGTERM ends this as Ctrl-C does, so that the worker is ended too on every system."""
    import contextlib
    import signal

    with contextlib.suppress(ValueError):  # another thread than the main one may not set it
        signal.signal(signal.SIGTERM, signal.default_int_handler)


if __name__ == "__main__":
    raise SystemExit(main())
