"""The options of every verb; what they mean is in `commands`."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgekit_runner import __version__
from edgekit_runner.errors import UserError

Verb = Callable[[argparse.Namespace], int]


def parser(functions: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """Makes the parser.

    Args:
        functions: The function of each verb, whose docstring is the help text.

    Returns:
        A parser whose result holds the function of its verb as `verb`.
    """
    made = argparse.ArgumentParser(prog="edgekit-runner", description="Runs a model artifact in its runtime.")
    made.add_argument("--version", action="version", version=f"edgekit-runner {__version__}")
    verbs = _Verbs(made.add_subparsers(required=True, metavar="VERB"), functions)
    one, two = _bench(verbs), _compare(verbs)
    long = _long_verbs(verbs)
    folder = verbs.add("selftest", "check an exported folder: checksums, then golden output")
    folder.add_argument("bundle", metavar="BUNDLE_DIR", help="holds manifest.json")
    for verb in (one, *long):
        _artifact(verb)
    for verb in (one, two):
        verb.add_argument("--protocol", metavar="NAME", help="quick, default or strict")
    for verb in (one, two, *long):
        verb.add_argument("--golden", metavar="NPZ", help="input_0.. and expected output_0..")
        verb.add_argument("--atol", type=float, metavar="X", help="largest allowed difference of an output")
    for verb in (two, *long, folder):
        verb.add_argument("--threads", type=int, metavar="N", help="threads of the runtime (1)")
    for verb in (two, *long):
        verb.add_argument("--affinity", metavar="CPUS", help="0,2-3 or big or little")
    for verb in long:
        verb.add_argument(
            "--batch", type=int, metavar="N", help="batch size, where the artifact leaves it free"
        )
    _others(verbs)
    return made


def options(pairs: Sequence[str]) -> dict[str, Any]:
    """Reads NAME=VALUE as options of a backend; VALUE is JSON where it parses as such, else text.

    Raises:
        UserError: One is not of this form.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"--option takes NAME=VALUE, not {pair!r}.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def affinities(texts: Sequence[str]) -> list[str]:
    """Each part between semicolons; a comma divides words only, because a list of CPUs has commas of its own."""
    parts = [part.strip() for text in texts for part in text.split(";")]
    words = [part.split(",") if part.replace(",", "").isalpha() else [part] for part in parts]
    return [word for group in words for word in group]


class _Verbs:
    """Adds a verb under the name of its function."""

    def __init__(self, verbs: Any, functions: Mapping[str, Verb]) -> None:
        self._verbs = verbs
        self._functions = functions

    def add(self, name: str, text: str, csv: bool = False, json: bool = True) -> argparse.ArgumentParser:
        """Adds one verb.

        Args:
            name: The name of the verb and of its function.
            text: What it does, in a few words.
            csv: Whether it can print CSV.
            json: Whether it can print JSON.
        """
        function = self._functions[name]
        made: argparse.ArgumentParser = self._verbs.add_parser(name, help=text, description=function.__doc__)
        made.set_defaults(verb=function)
        if not json:
            return made  # Python 3.11 prints no help for a group without an option
        form = made.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="print each record as one line of JSON")
        if csv:
            form.add_argument("--csv", action="store_true", help="print a header and a row for each record")
        return made


def _bench(verbs: _Verbs) -> argparse.ArgumentParser:
    one = verbs.add("bench", "prove, time and weigh an artifact", csv=True)
    one.add_argument("--runs", type=int, metavar="N", help="least number of timed runs in all (100)")
    one.add_argument(
        "--seconds", type=float, metavar="S", help="least duration of the timed loops in all (3)"
    )
    one.add_argument("--profile", action="store_true", help="also time each operator, in a run of its own")
    one.add_argument("--threads", type=whole_numbers, metavar="N,N", help="threads of the runtime (1)")
    one.add_argument(
        "--batch", type=whole_numbers, metavar="N,N", help="batch size, where the artifact leaves it free"
    )
    one.add_argument(
        "--affinity", action="append", metavar="CPUS", help="0,2-3 or big or little; several by ; or again"
    )
    one.add_argument(
        "--sweep", action="append", default=[], metavar="OPTION", help="try all values of a backend option"
    )
    return one


def _compare(verbs: _Verbs) -> argparse.ArgumentParser:
    two = verbs.add("compare", "time two artifacts in turns")
    two.add_argument("a", metavar="A", help="the artifact in question")
    two.add_argument("b", metavar="B", help="the baseline")
    two.add_argument("--rounds", type=int, metavar="N", help="rounds of ABBA in all (48)")
    two.add_argument("--tolerance", type=float, metavar="R", help="ratio that counts as equal (0.05)")
    return two


def _long_verbs(verbs: _Verbs) -> list[argparse.ArgumentParser]:
    """The verbs that run for a stated time."""
    long = verbs.add("sustain", "watch latency over minutes")
    long.add_argument("--minutes", type=float, metavar="M", default=2.0, help="how long (2)")
    long.add_argument("--plot", metavar="SVG", help="also draw latency over time into this file")
    many = verbs.add("throughput", "inferences a second of several processes at once")
    many.add_argument(
        "--instances",
        type=whole_numbers,
        metavar="N,N",
        default=[1, 2],
        help="how many processes, in turn (1,2)",
    )
    mlperf = verbs.add("loadgen", "a scenario of MLPerf")
    mlperf.add_argument("--scenario", metavar="NAME", default="SingleStream", help="SingleStream or Offline")
    mlperf.add_argument("--samples", type=int, metavar="N", help="least number of samples (100)")
    for verb in (many, mlperf):
        verb.add_argument("--seconds", type=float, metavar="S", default=10.0, help="how long (10)")
    return [long, many, mlperf]


def _artifact(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("file", metavar="FILE", help="a .onnx, .tflite or .mlpackage")
    verb.add_argument("--format", metavar="NAME", help="onnx, tflite or coreml, when the suffix does not say")
    verb.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the backend"
    )


def _others(verbs: _Verbs) -> None:
    gate = verbs.add("check", "is a bench record worse than that of a baseline")
    gate.add_argument("record", metavar="RECORD", help="what bench --json printed")
    gate.add_argument("--against", required=True, metavar="BASELINE", help="the same of the baseline")
    gate.add_argument(
        "--tolerance", type=float, metavar="R", default=0.05, help="ratio that counts as equal (0.05)"
    )
    spec = verbs.add("run", "run a spec; for programs", csv=True)
    spec.add_argument("spec", metavar="SPEC", help="a file, or -")
    verbs.add("info", "what can run here")
    verbs.add("schema", "the JSON Schema of every record", json=False)


def whole_numbers(text: str) -> list[int]:
    """1,2,4 as numbers; argparse says which option is wrong."""
    return [int(part) for part in text.split(",")]
