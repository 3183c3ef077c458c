"""The command line. stdout carries the result, stderr what went wrong; the last stdout line with --json
is the record. Exit codes: 0 fine, 1 refused or failed, 2 user error, 3 a runtime is missing.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from . import __version__
from .errors import RunnerError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.verb(arguments))
    except RunnerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader (head, less) has gone; silence the flush at exit too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("error: interrupted.", file=sys.stderr)
        return 130


def bench(arguments: argparse.Namespace) -> int:
    """Proves, times and weighs one artifact."""
    from . import api

    spec = _given(arguments, artifact="file", golden="golden", golden_atol="atol", threads_count="threads")
    spec |= _given(arguments, min_runs_count="runs", min_duration_s="seconds", format="format")
    spec |= {"options": _options(arguments.option)}
    if arguments.seconds is not None:
        longest = max(60.0, 2 * arguments.seconds)
        spec |= {"max_duration_s": longest, "timeout_s": longest + 540.0}
    return _show(api.bench(spec), arguments.json)


def compare(arguments: argparse.Namespace) -> int:
    """Times two artifacts in turns; the ratio is A over B, under 1 when A is the faster."""
    from . import api

    spec = _given(arguments, artifact="a", baseline="b", threads_count="threads", rounds_count="rounds")
    spec |= _given(arguments, golden="golden", golden_atol="atol", tolerance_ratio="tolerance")
    spec |= _given(arguments, baseline_golden="golden", baseline_golden_atol="atol")
    return _show(api.compare(spec), arguments.json)


def info(arguments: argparse.Namespace) -> int:
    """Says what can run here."""
    from . import info as about

    found = about.describe()
    print(json.dumps(found) if arguments.json else about.table(found))
    return 0


def selftest(arguments: argparse.Namespace) -> int:
    """Checksums and golden output of an exported folder."""
    from . import selftest as bundle

    found = bundle.run(arguments.bundle, 1 if arguments.threads is None else arguments.threads)
    return max(_show(record, arguments.json) for record in found)


def _show(record: dict[str, Any], as_json: bool) -> int:
    from . import record as records
    from . import table

    if record["status"] != "ok":
        print(f"error: {record['reason']}", file=sys.stderr)
    print(records.to_line(record) if as_json else table.render(record))
    return records.exit_code(record)


def _given(arguments: argparse.Namespace, **names: str) -> dict[str, Any]:
    """Spec keys from the options that were given; the rest keep the spec's defaults."""
    values = {key: getattr(arguments, name) for key, name in names.items()}
    return {key: value for key, value in values.items() if value is not None}


def _options(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE as a backend option; VALUE is JSON where it parses as such, else text."""
    options: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise _usage(f"--option takes NAME=VALUE, not {pair!r}.")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    return options


def _usage(message: str) -> RunnerError:
    from .errors import UserError

    return UserError(message)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgekit-runner", description="Runs a model artifact in its runtime."
    )
    parser.add_argument("--version", action="version", version=f"edgekit-runner {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    one = _verb(verbs, bench, "prove, time and weigh an artifact")
    one.add_argument("file", metavar="FILE", help="a .onnx, .tflite or .mlpackage")
    one.add_argument("--runs", type=int, metavar="N", help="least number of timed runs (100)")
    one.add_argument("--seconds", type=float, metavar="S", help="least duration of the timed loop (2)")
    one.add_argument("--format", metavar="NAME", help="onnx, tflite or coreml, when the suffix does not say")
    one.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the backend"
    )
    two = _verb(verbs, compare, "time two artifacts in turns")
    two.add_argument("a", metavar="A", help="the artifact in question")
    two.add_argument("b", metavar="B", help="the baseline")
    two.add_argument("--rounds", type=int, metavar="N", help="rounds of ABBA (40)")
    two.add_argument("--tolerance", type=float, metavar="R", help="ratio that counts as equal (0.05)")
    for verb in (one, two):
        verb.add_argument("--golden", metavar="NPZ", help="input_0.. and expected output_0..")
        verb.add_argument("--atol", type=float, metavar="X", help="largest allowed difference of an output")
    _verb(verbs, info, "what can run here")
    folder = _verb(verbs, selftest, "check an exported folder: checksums, then golden output")
    folder.add_argument("bundle", metavar="BUNDLE_DIR", help="holds manifest.json")
    for verb in (one, two, folder):
        verb.add_argument("--threads", type=int, metavar="N", help="threads of the runtime (1)")
    return parser


def _verb(verbs: Any, function: Any, text: str) -> argparse.ArgumentParser:
    name = function.__name__
    parser: argparse.ArgumentParser = verbs.add_parser(name, help=text, description=function.__doc__)
    parser.add_argument("--json", action="store_true", help="print the record as one line of JSON")
    parser.set_defaults(verb=function)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
