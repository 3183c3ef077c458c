"""The verbs that measure nothing of their own: a gate, a runner of specs, and what this machine and a folder hold.

The docstring of a verb's function is its help text.
"""

import argparse
import contextlib
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from edgekit_runner import __version__
from edgekit_runner.cli.arguments import Parser, Verb, add_threads
from edgekit_runner.cli.output import csv_text, progress, show
from edgekit_runner.errors import UserError

MOST_CHARACTERS = 16 << 20  # of a spec


def selftest(arguments: argparse.Namespace) -> int:
    """Checksums and golden output of an exported folder."""
    from edgekit_runner.cli import bundle

    found = bundle.run(arguments.bundle, 1 if arguments.threads is None else arguments.threads)
    return max(show(record, arguments.json) for record in found)


def _selftest_options(verb: Parser) -> None:
    verb.add_argument("bundle", metavar="BUNDLE_DIR", help="holds manifest.json")
    add_threads(verb)


def check(arguments: argparse.Namespace) -> int:
    """Says whether a bench record is worse than a baseline's, as a gate in a pipeline.

    Exit code 0 when no figure is worse, 1 for a regression, 4 when the two records allow no verdict.
    """
    from edgekit_runner.cli import gate, regression

    pair = (gate.read(arguments.record), gate.read(arguments.against))
    found = regression.check(*pair, arguments.tolerance)
    print(json.dumps(found) if arguments.json else gate.render(found))
    return gate.EXIT_CODES[found["verdict"]]


def _check_options(verb: Parser) -> None:
    verb.add_argument("record", metavar="RECORD", help="what bench --json printed")
    verb.add_argument("--against", required=True, metavar="BASELINE", help="the same of the baseline")
    verb.add_argument(
        "--tolerance", type=float, metavar="R", default=0.05, help="ratio that counts as equal (0.05)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs a spec, a JSON object as `spec.py` describes it, and prints the record as one line of JSON; with --csv
    a record of kind bench as CSV.
    """

    from edgekit_runner import api
    from edgekit_runner import record as records

    try:
        text = _given() if arguments.held else _read(arguments.spec)
        spec = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"the spec {arguments.spec} cannot be read: {error}.") from None
    if not isinstance(spec, dict):
        raise UserError(f"a spec is a JSON object, not {type(spec).__name__}.")
    if arguments.csv and spec.get("kind", "bench") != "bench":
        raise UserError(
            f"--csv is for kind bench, not {spec['kind']!r}; leave it out for the record as JSON."
        )
    record = api.run(spec, progress())
    if arguments.csv:
        print(csv_text([record]))
    else:
        print(records.to_line(record))
    return records.exit_code(record)


def _read(spec: str) -> str:
    if spec == "-":
        text = sys.stdin.read(MOST_CHARACTERS + 1)
    else:
        with Path(spec).open(encoding="utf-8") as file:
            text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS >> 20} million characters")
    return text


def _given() -> str:
    """The first line of stdin. Whoever gave it holds stdin open; once it is closed nobody waits, and this process ends."""
    text = sys.stdin.readline()

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while os.read(sys.stdin.fileno(), 1 << 16):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    return text


def _run_options(verb: Parser) -> None:
    verb.add_argument("spec", metavar="SPEC", help="a file, or -")
    verb.add_argument(
        "--held", action="store_true", help="the spec is the first line of stdin; end when stdin is closed"
    )


def info(arguments: argparse.Namespace) -> int:
    """Says what can run here."""
    found = describe_machine()
    print(json.dumps(found) if arguments.json else _render_machine(found))
    return 0


def describe_machine() -> dict[str, Any]:
    """The runner, the machine, every backend with its version or its pip line, and the readable sensors."""
    from edgekit_runner import backends
    from edgekit_runner.host import environment, sensors
    from edgekit_runner.record import SCHEMA_VERSION

    return {
        "schema_version": SCHEMA_VERSION,
        "runner_version": __version__,
        "environment": environment.describe(),
        "backends": [_backend(name) for name in backends.names()],
        "sensors": sensors.available(),
    }


def _backend(name: str) -> dict[str, Any]:
    from edgekit_runner import backends

    module = backends.load(name)
    version = _version(module.DISTRIBUTION)
    hint = None if version else f"pip install {module.DISTRIBUTION}"
    if module.FORMAT == "coreml" and sys.platform != "darwin":
        version, hint = None, "Core ML runs on macOS only."
    return {
        "format": module.FORMAT, "suffix": module.SUFFIX, "runtime": module.RUNTIME,
        "available": version is not None, "version": version, "hint": hint, "options": list(module.OPTIONS),
    }  # fmt: skip


def _version(distribution: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _render_machine(found: dict[str, Any]) -> str:
    """What `describe_machine` found as text for a person."""
    env = found["environment"]
    flags = env["isa_flags"] if isinstance(env["isa_flags"], str) else " ".join(env["isa_flags"])
    lines = [
        f"edgekit-runner {found['runner_version']}",
        f"machine  {env['machine']}, {env['cpu_model']}, {env['cpu_logical_count']} CPUs",
        f"isa      {env['isa']} ({flags})",
    ]
    for backend in found["backends"]:
        state = backend["version"] if backend["available"] else f"not here: {backend['hint']}"
        lines.append(f"{backend['suffix']:<12}{backend['runtime']:<14}{state}")
    lines += [f"sensor   {name}: {state}" for name, state in found["sensors"].items()]
    return "\n".join(lines)


def schema(arguments: argparse.Namespace) -> int:
    """Prints the JSON Schema (2020-12) of what --json prints."""
    from importlib import resources

    from edgekit_runner.record import SCHEMA_VERSION

    file = resources.files("edgekit_runner") / "schema" / f"record-{SCHEMA_VERSION}.schema.json"
    print(file.read_text(encoding="utf-8"), end="")
    return 0


def _no_options(verb: Parser) -> None:
    pass


VERBS = {
    "selftest": Verb(selftest, "check an exported folder: checksums, then golden output", _selftest_options),
    "check": Verb(check, "is a bench record worse than that of a baseline", _check_options),
    "run": Verb(run, "run a spec; for programs", _run_options, csv=True),
    "info": Verb(info, "what can run here", _no_options),
    "schema": Verb(schema, "the JSON Schema of every record", _no_options, json=False),
}
