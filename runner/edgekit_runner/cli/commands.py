"""The verbs: options to a spec, a record to the shell. The docstring of each function is the help text of its verb."""

import argparse
import json
import sys
from typing import Any

from edgekit_runner.cli.arguments import affinities, options
from edgekit_runner.cli.output import print_csv, progress, show, show_all, writable
from edgekit_runner.errors import UserError


def bench(arguments: argparse.Namespace) -> int:
    """Proves, times and weighs one artifact, in several fresh processes. Several values of --threads, --batch or
    --affinity, and --sweep, give a row for each combination; the exit code is then the worst.
    """
    from edgekit_runner.cli import sweep

    spec = _one(arguments) | _given(arguments, min_runs_count="runs", min_duration_s="seconds")
    spec |= _given(arguments, protocol="protocol") | {"profile": arguments.profile}
    axes = _given(arguments, threads_count="threads", batch_count="batch")
    if arguments.affinity:
        axes["affinity"] = affinities(arguments.affinity)
    combinations = sweep.product(spec, axes, sweep.choices(spec, arguments.sweep))
    found = sweep.run(combinations, progress())
    if len(combinations) == 1 and not arguments.csv:
        return show(next(found), arguments.json)
    return show_all(combinations, found, arguments.json, arguments.csv)


def compare(arguments: argparse.Namespace) -> int:
    """Times two artifacts in turns; the ratio is A over B, under 1 when A is the faster.

    Exit code 0 when A is faster, 1 when it is slower, 4 when the interval allows no verdict.
    """
    from edgekit_runner import api

    spec = _shared(arguments) | _placed(arguments)
    spec |= _given(arguments, artifact="a", baseline="b", rounds_count="rounds")
    spec |= _given(arguments, tolerance_ratio="tolerance", protocol="protocol")
    spec |= _given(arguments, baseline_golden="golden", baseline_golden_atol="atol")
    return show(api.compare(spec, progress()), arguments.json)


def sustain(arguments: argparse.Namespace) -> int:
    """Runs one artifact back to back for minutes and says whether and when it becomes slower."""
    from edgekit_runner import api

    plot = writable(arguments.plot) if arguments.plot else None
    spec = _one(arguments) | _placed(arguments) | {"duration_s": 60 * arguments.minutes}
    progress()(f"running for {60 * arguments.minutes:.4g} s")
    record = api.sustain(spec)
    code = show(record, arguments.json)
    if plot and record["status"] == "ok":
        from edgekit_runner.cli.plot import svg

        try:
            plot.write_text(svg(record), encoding="utf-8")
        except OSError as error:
            raise UserError(f"{plot} cannot be written: {error.strerror}; give another file.") from None
    return code


def throughput(arguments: argparse.Namespace) -> int:
    """Counts the inferences a second of several processes that run the artifact at the same time."""
    from edgekit_runner import api

    spec = (
        _one(arguments)
        | _placed(arguments)
        | {"duration_s": arguments.seconds, "instances_count": arguments.instances}
    )
    return show(api.throughput(spec, progress()), arguments.json)


def loadgen(arguments: argparse.Namespace) -> int:
    """Lets MLCommons' LoadGen run a scenario of MLPerf; needs pip install edgekit-runner[loadgen]."""
    from edgekit_runner import api

    spec = (
        _one(arguments)
        | _placed(arguments)
        | {"duration_s": arguments.seconds, "scenario": arguments.scenario}
    )
    return show(api.loadgen(spec | _given(arguments, min_runs_count="samples")), arguments.json)


def check(arguments: argparse.Namespace) -> int:
    """Says whether a bench record is worse than a baseline's, as a gate in a pipeline.

    Exit code 0 when no figure is worse, 1 for a regression, 4 when the two records allow no verdict.
    """
    from edgekit_runner.cli import gate, regression

    pair = (gate.read(arguments.record), gate.read(arguments.against))
    found = regression.check(*pair, arguments.tolerance)
    print(json.dumps(found) if arguments.json else gate.render(found))
    return gate.EXIT_CODES[found["verdict"]]


def schema(arguments: argparse.Namespace) -> int:
    """Prints the JSON Schema (2020-12) of what --json prints."""
    from importlib import resources

    from edgekit_runner.record import SCHEMA_VERSION

    file = resources.files("edgekit_runner") / "schema" / f"record-{SCHEMA_VERSION}.schema.json"
    print(file.read_text(encoding="utf-8"), end="")
    return 0


def run(arguments: argparse.Namespace) -> int:
    """Runs a spec, a JSON object as `spec.py` describes it, and prints the record as one line of JSON; with --csv
    a record of kind bench as CSV.
    """
    from pathlib import Path

    from edgekit_runner import api
    from edgekit_runner import record as records

    try:
        text = sys.stdin.read() if arguments.spec == "-" else Path(arguments.spec).read_text("utf-8")
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
        print_csv([record])
    else:
        print(records.to_line(record))
    return records.exit_code(record)


def info(arguments: argparse.Namespace) -> int:
    """Says what can run here."""
    from edgekit_runner.cli import installed as about

    found = about.describe()
    print(json.dumps(found) if arguments.json else about.render(found))
    return 0


def selftest(arguments: argparse.Namespace) -> int:
    """Checksums and golden output of an exported folder."""
    from edgekit_runner.cli import bundle

    found = bundle.run(arguments.bundle, 1 if arguments.threads is None else arguments.threads)
    return max(show(record, arguments.json) for record in found)


def _shared(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every measuring verb takes."""
    return _given(arguments, golden="golden", golden_atol="atol")


def _placed(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every measuring verb takes once; `bench` takes several of each, `compare` no batch."""
    names = {"threads_count": "threads", "affinity": "affinity", "batch_count": "batch"}
    return _given(arguments, **{key: name for key, name in names.items() if name in arguments})


def _one(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every verb that measures one artifact takes."""
    spec = _shared(arguments) | _given(arguments, artifact="file", format="format")
    return spec | {"options": options(arguments.option)}


def _given(arguments: argparse.Namespace, **names: str) -> dict[str, Any]:
    """Spec keys from the options that were given; the rest keep the spec's defaults."""
    values = {key: getattr(arguments, name) for key, name in names.items()}
    return {key: value for key, value in values.items() if value is not None}


MEASURING = {verb.__name__: verb for verb in (bench, compare, sustain, throughput, loadgen)}
VERBS = MEASURING | {verb.__name__: verb for verb in (check, run, info, schema, selftest)}
