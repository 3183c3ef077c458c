"""The fresh process: reads one spec, prints one record as its last stdout line.

python -I -m edgekit_runner.worker SPEC.json      (or "-" for stdin, "--line" for the first line of it)
"""

import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from edgekit_runner import record as records
from edgekit_runner import spec as specs
from edgekit_runner.errors import RunnerError, UserError


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of the record. Whatever a runtime prints goes to stderr."""
    arguments = sys.argv[1:] if argv is None else argv
    result = os.dup(1)
    os.dup2(2, 1)  # C++ libraries write to descriptor 1 past sys.stdout
    with os.fdopen(result, "w", encoding="utf-8") as stream:
        record = run(arguments, stream)
        stream.write(records.to_line(record) + "\n")
    return records.exit_code(record)


def run(arguments: list[str], parent: TextIO) -> Any:
    """Executes the spec; every error ends in the record.

    Args:
        arguments: Where the spec is.
        parent: Where a kind that begins together with others says "ready".

    Returns:
        The `Record` of the kind of the spec.
    """
    record = records.blank(specs.DEFAULT_KIND)
    try:
        spec = _read(arguments)
        record = records.blank(spec.kind)
        specs.load_kind(spec.kind).work(spec, record, parent)
        return records.succeed(record)
    except RunnerError as error:
        return records.fail_with(record, error)
    except MemoryError:
        return records.fail(record, "the model does not fit into memory; try a smaller one.", "runtime")
    except Exception as error:
        traceback.print_exc()
        return records.fail(record, f"a bug in the runner: {type(error).__name__}: {error}", "internal")


def _read(arguments: list[str]) -> specs.Spec:
    if len(arguments) != 1:
        raise UserError("the worker takes one argument: the path of a spec, or - for stdin.")
    try:
        if arguments[0] == "--line":
            text = sys.stdin.readline()
        elif arguments[0] == "-":
            text = sys.stdin.read()
        else:
            text = Path(arguments[0]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the spec {arguments[0]} cannot be read: {error}.") from None
    return specs.read(text)


if __name__ == "__main__":
    raise SystemExit(main())
