"""The verbs that measure: options to a spec, a record to the shell.

The docstring of a verb's function is its help text.
"""

import argparse
from typing import Any

from edgekit_runner.cli.arguments import (
    Parser,
    Verb,
    add_artifact,
    add_golden,
    add_one,
    add_place,
    add_protocol,
    affinities,
    given,
    options,
    whole_numbers,
)
from edgekit_runner.cli.output import progress, show, show_all, writable
from edgekit_runner.errors import UserError


def bench(arguments: argparse.Namespace) -> int:
    """Proves, times and weighs one artifact, in several fresh processes. Several values of --threads, --batch,
    --length or --affinity, and --sweep, give a row for each combination; the exit code is then the worst.
    """
    from edgekit_runner.cli import sweep

    spec = _one(arguments) | given(arguments, min_runs_count="runs", min_duration_s="seconds")
    spec |= given(arguments, protocol="protocol") | {"profile": arguments.profile}
    axes = given(arguments, threads_count="threads", batch_count="batch", length_count="length")
    if arguments.affinity:
        axes["affinity"] = affinities(arguments.affinity)
    combinations = sweep.product(spec, axes, sweep.choices(spec, arguments.sweep))
    found = sweep.run(combinations, progress())
    if len(combinations) == 1 and not arguments.csv:
        return show(next(found), arguments.json)
    return show_all(combinations, found, arguments.json, arguments.csv)


def _bench_options(verb: Parser) -> None:
    verb.add_argument("--runs", type=int, metavar="N", help="least number of timed runs in all (100)")
    verb.add_argument(
        "--seconds", type=float, metavar="S", help="least duration of the timed loops in all (3)"
    )
    verb.add_argument("--profile", action="store_true", help="also time each operator, in a run of its own")
    verb.add_argument("--threads", type=whole_numbers, metavar="N,N", help="threads of the runtime (1)")
    verb.add_argument(
        "--batch", type=whole_numbers, metavar="N,N", help="batch size, where the artifact leaves it free"
    )
    verb.add_argument(
        "--length", type=whole_numbers, metavar="N,N", help="length of every other axis that it leaves free"
    )
    verb.add_argument(
        "--affinity", action="append", metavar="CPUS", help="0,2-3 or big or little; several by ; or again"
    )
    verb.add_argument(
        "--sweep", action="append", default=[], metavar="OPTION", help="try all values of a backend option"
    )
    add_artifact(verb)
    add_protocol(verb)
    add_golden(verb)


def compare(arguments: argparse.Namespace) -> int:
    """Times two artifacts in turns; the ratio is A over B, under 1 when A is the faster.

    Exit code 0 when A is faster, 1 when it is slower, 4 when the interval allows no verdict.
    """
    from edgekit_runner import api

    spec = _shared(arguments) | _placed(arguments)
    spec |= given(arguments, artifact="a", baseline="b", rounds_count="rounds")
    spec |= given(arguments, tolerance_ratio="tolerance", protocol="protocol")
    spec |= given(arguments, baseline_golden="golden", baseline_golden_atol="atol")
    spec |= given(arguments, runtime="runtime", baseline_runtime="baseline_runtime")
    return show(api.compare(spec, progress()), arguments.json)


def _compare_options(verb: Parser) -> None:
    verb.add_argument("a", metavar="A", help="the artifact in question")
    verb.add_argument("b", metavar="B", help="the baseline")
    verb.add_argument("--runtime", metavar="NAME", help="of A, where several open its format")
    verb.add_argument("--baseline-runtime", metavar="NAME", help="of B; A and B may be one file")
    verb.add_argument("--rounds", type=int, metavar="N", help="rounds of ABBA in all (48)")
    verb.add_argument("--tolerance", type=float, metavar="R", help="ratio that counts as equal (0.05)")
    add_protocol(verb)
    add_golden(verb)
    add_place(verb)


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


def _sustain_options(verb: Parser) -> None:
    verb.add_argument("--minutes", type=float, metavar="M", default=2.0, help="how long (2)")
    verb.add_argument("--plot", metavar="SVG", help="also draw latency over time into this file")
    add_one(verb)


def throughput(arguments: argparse.Namespace) -> int:
    """Counts the inferences a second of several processes that run the artifact at the same time."""
    from edgekit_runner import api

    spec = (
        _one(arguments)
        | _placed(arguments)
        | {"duration_s": arguments.seconds, "instances_count": arguments.instances}
    )
    return show(api.throughput(spec, progress()), arguments.json)


def _throughput_options(verb: Parser) -> None:
    verb.add_argument(
        "--instances",
        type=whole_numbers,
        metavar="N,N",
        default=[1, 2],
        help="how many processes, in turn (1,2)",
    )
    verb.add_argument("--seconds", type=float, metavar="S", default=10.0, help="how long (10)")
    add_one(verb)


def loadgen(arguments: argparse.Namespace) -> int:
    """Lets MLCommons' LoadGen run a scenario of MLPerf; needs pip install edgekit-runner[loadgen]."""
    from edgekit_runner import api

    spec = (
        _one(arguments)
        | _placed(arguments)
        | {"duration_s": arguments.seconds, "scenario": arguments.scenario}
    )
    return show(api.loadgen(spec | given(arguments, min_runs_count="samples")), arguments.json)


def _loadgen_options(verb: Parser) -> None:
    verb.add_argument("--scenario", metavar="NAME", default="SingleStream", help="SingleStream or Offline")
    verb.add_argument("--samples", type=int, metavar="N", help="least number of samples (100)")
    verb.add_argument("--seconds", type=float, metavar="S", default=10.0, help="how long (10)")
    add_one(verb)


def _shared(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every measuring verb takes."""
    state = options(arguments.state, "--state")
    return given(arguments, golden="golden", golden_atol="atol") | ({"state": state} if state else {})


def _placed(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every measuring verb takes once; `bench` takes several of each, `compare` no batch."""
    names = {
        "threads_count": "threads",
        "affinity": "affinity",
        "batch_count": "batch",
        "length_count": "length",
    }
    return given(arguments, **{key: name for key, name in names.items() if name in arguments})


def _one(arguments: argparse.Namespace) -> dict[str, Any]:
    """What every verb that measures one artifact takes."""
    spec = _shared(arguments) | given(arguments, artifact="file", format="format", runtime="runtime")
    return spec | {"options": options(arguments.option)}


VERBS = {
    "bench": Verb(bench, "prove, time and weigh an artifact", _bench_options, csv=True, measures=True),
    "compare": Verb(compare, "time two artifacts in turns", _compare_options, measures=True),
    "sustain": Verb(sustain, "watch latency over minutes", _sustain_options, measures=True),
    "throughput": Verb(
        throughput, "inferences a second of several processes at once", _throughput_options, measures=True
    ),
    "loadgen": Verb(loadgen, "a scenario of MLPerf", _loadgen_options, measures=True),
}
