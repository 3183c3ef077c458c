"""The fresh process: reads one spec, prints one record as its last stdout line.

python -I -m edgekit_runner.worker SPEC.json      (or "-" for stdin)
"""

import os
import sys
import traceback
from pathlib import Path

from . import record as records
from . import spec as specs
from .errors import RunnerError, UserError


def main(argv: list[str] | None = None) -> int:
    """Returns the exit code of the record. Whatever a runtime prints goes to stderr."""
    arguments = sys.argv[1:] if argv is None else argv
    result = os.dup(1)
    os.dup2(2, 1)  # C++ libraries write to descriptor 1 past sys.stdout
    record = run(arguments)
    with os.fdopen(result, "w", encoding="utf-8") as stream:
        stream.write(records.to_line(record) + "\n")
    return records.exit_code(record)


def run(arguments: list[str]) -> records.Record:
    """Executes the spec; every error ends in the record."""
    record = records.blank("bench")
    try:
        spec = _read(arguments)
        record = records.blank(spec.kind)
        if spec.kind == "compare":
            from . import interleave as task
        else:
            from . import measure as task  # type: ignore[no-redef]
        task.run(spec, record)
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
        text = sys.stdin.read() if arguments[0] == "-" else Path(arguments[0]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the spec {arguments[0]} cannot be read: {error}.") from None
    return specs.read(text)


if __name__ == "__main__":
    raise SystemExit(main())
