"""What the verbs share of their options: groups of them, and how their values are read."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from edgekit_runner import __version__
from edgekit_runner.errors import UserError

Parser = argparse.ArgumentParser


class Verb(NamedTuple):
    """One verb of the command line.

    Attributes:
        run: Runs it and returns the exit code; its docstring is the help text.
        text: What it does, in a few words.
        add_options: Adds its options.
        csv: Whether it can print CSV.
        json: Whether it can print JSON.
        measures: Whether it answers with a record of the kind that has its name.
    """

    run: Callable[[argparse.Namespace], int]
    text: str
    add_options: Callable[[Parser], None]
    csv: bool = False
    json: bool = True
    measures: bool = False


def parser(verbs: Mapping[str, Verb]) -> Parser:
    """Makes the parser; its result holds the `Verb` as `verb` and its name as `name`."""
    made = Parser(prog="edgekit-runner", description="Runs a model artifact in its runtime.")
    made.add_argument("--version", action="version", version=f"edgekit-runner {__version__}")
    every = made.add_subparsers(required=True, metavar="VERB")
    for name, verb in verbs.items():
        one = every.add_parser(name, help=verb.text, description=verb.run.__doc__)
        one.set_defaults(verb=verb, name=name)
        if verb.json:  # Python 3.11 prints no help for a group without an option
            form = one.add_mutually_exclusive_group()
            form.add_argument("--json", action="store_true", help="print each record as one line of JSON")
            if verb.csv:
                form.add_argument(
                    "--csv", action="store_true", help="print a header and a row for each record"
                )
        verb.add_options(one)
    return made


def add_artifact(verb: Parser) -> None:
    """Adds the artifact of a verb that measures one, its format and the options of the backend."""
    verb.add_argument("file", metavar="FILE", help="a .onnx, .tflite or .mlpackage")
    verb.add_argument("--format", metavar="NAME", help="onnx, tflite or coreml, when the suffix does not say")
    verb.add_argument(
        "--runtime", metavar="NAME", help="onnxruntime or openvino, where several open the format"
    )
    verb.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="an option of the backend"
    )


def add_protocol(verb: Parser) -> None:
    """Adds the preset of counts and seconds."""
    verb.add_argument("--protocol", metavar="NAME", help="quick, default or strict")


def add_golden(verb: Parser) -> None:
    """Adds what proves the outputs."""
    verb.add_argument("--golden", metavar="NPZ", help="input_0.. and expected output_0..")
    verb.add_argument("--atol", type=float, metavar="X", help="largest allowed difference of an output")
    verb.add_argument(
        "--state",
        action="append",
        default=[],
        metavar="OUT=IN",
        help="an output that feeds an input: a stream",
    )


def add_threads(verb: Parser) -> None:
    """Adds the threads of the runtime."""
    verb.add_argument("--threads", type=int, metavar="N", help="threads of the runtime (1)")


def add_place(verb: Parser) -> None:
    """Adds the threads of the runtime and the CPUs that they may use."""
    add_threads(verb)
    verb.add_argument("--affinity", metavar="CPUS", help="0,2-3 or big or little")


def add_one(verb: Parser) -> None:
    """Adds what the verbs share that run one artifact for a stated time."""
    add_artifact(verb)
    add_golden(verb)
    add_place(verb)
    verb.add_argument("--batch", type=int, metavar="N", help="batch size, where the artifact leaves it free")
    verb.add_argument(
        "--length", type=int, metavar="N", help="length of every other axis that it leaves free"
    )


def given(arguments: argparse.Namespace, **names: str) -> dict[str, Any]:
    """Spec keys from the options that were given; the rest keep the spec's defaults.

    Args:
        arguments: The parsed options.
        **names: The name of an option for each key of a spec.
    """
    values = {key: getattr(arguments, name) for key, name in names.items()}
    return {key: value for key, value in values.items() if value is not None}


def options(pairs: Sequence[str], option: str = "--option") -> dict[str, Any]:
    """Reads NAME=VALUE; VALUE is JSON where it parses as such, else text.

    Raises:
        UserError: One is not of this form.
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UserError(f"{option} takes NAME=VALUE, not {pair!r}.")
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


def whole_numbers(text: str) -> list[int]:
    """1,2,4 as numbers; argparse says which option is wrong."""
    return [int(part) for part in text.split(",")]
