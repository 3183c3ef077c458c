"""`bench` over the product of several settings: a record each, one table, the worst exit code.

The combinations run one after the other and not in turns, so small differences between rows are for `compare`.
One that fails keeps its row with the reason, and the others are still measured.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekit_runner import api, backends
from edgekit_runner.cli.table import mib, ms
from edgekit_runner.errors import UserError
from edgekit_runner.record import AnyRecord, Listener, quiet
from edgekit_runner.spec import SCHEMA_VERSION, from_dict

Axes = Mapping[str, Sequence[Any]]
_NAMES = {"threads_count": "threads", "batch_count": "batch", "length_count": "length"}
_HEADINGS = (
    "median (95 % interval)", "CPU median (95 % interval)", "peak memory", "runs in processes", "validity",
    "doubts",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One point of the product: what differs from the others, by the axis, and the whole spec."""

    values: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def label(self) -> str:
        """ "threads 2, batch 8: ", or nothing where there is no other combination."""
        said = ", ".join(f"{_NAMES.get(name, name)} {value}" for name, value in self.values.items())
        return f"{said}: " if said else ""


def choices(spec: Mapping[str, Any], names: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """What the backend of this artifact offers to sweep over.

    Args:
        spec: Keys of kind bench.
        names: Options of the backend.

    Returns:
        The values of each option.

    Raises:
        UserError: The backend has no such option; the message lists those it has.
    """
    if not names:
        return {}
    backend = backends.find(spec["artifact"], spec.get("format"), spec.get("runtime"))
    offered: dict[str, tuple[Any, ...]] = backend.choices()
    for name in names:
        if name not in offered:
            allowed = ", ".join(offered)
            raise UserError(f"{backend.RUNTIME} has no {name!r} to sweep over; allowed: {allowed}.")
    return {name: offered[name] for name in names}


def product(spec: Mapping[str, Any], settings: Axes, options: Axes) -> list[Combination]:
    """Every combination of spec settings and of backend options; one where no axis is given.

    Args:
        spec: The keys that all combinations share.
        settings: Values by the name of a key.
        options: Values by the name of an option of the backend.

    Raises:
        UserError: A value is out of range, before anything runs.
    """
    axes = {**settings, **options}
    found = []
    for values in itertools.product(*(dict.fromkeys(values) for values in axes.values())):
        named = dict(zip(axes, values, strict=True))
        chosen = {name: named[name] for name in options}
        whole = {**spec, **{name: named[name] for name in settings}}
        whole["options"] = {**spec.get("options", {}), **chosen}
        from_dict({"schema_version": SCHEMA_VERSION, **whole})
        several = {name: value for name, value in named.items() if len(set(axes[name])) > 1}
        found.append(Combination(values=several, spec=whole))
    return found


def run(combinations: Sequence[Combination], listener: Listener = quiet) -> Iterator[AnyRecord]:
    """Measures one combination after the other.

    Yields:
        The record of each. One that failed early states its protocol too, so that it can be told from the others.
    """
    for one in combinations:
        record = api.bench(one.spec, _labelled(one.label, listener))
        if record["protocol"] is None:
            record["protocol"] = from_dict({"schema_version": SCHEMA_VERSION, **one.spec}).settings()
        yield record


def _labelled(label: str, listener: Listener) -> Listener:
    return lambda text: listener(label + text)


def render(combinations: Sequence[Combination], found: Sequence[AnyRecord]) -> str:
    """The table: a row each; below, every doubt once, with the rows that it is about where not all are."""
    axes = [_NAMES.get(name, name) for name in combinations[0].values]
    batched = "batch_count" in combinations[0].values
    rows = [[*axes, *(("samples a second",) if batched else ()), *_HEADINGS]]
    for one, record in zip(combinations, found, strict=True):
        rate = (_rate(record),) if batched and record["status"] == "ok" else ()
        rows.append([*map(str, one.values.values()), *rate, *_figures(record)])
    full = [row for row in rows if len(row) == len(rows[0])]  # a reason is as long as it likes
    widths = [max(len(row[i]) for row in (rows if i < len(axes) else full)) for i in range(len(rows[0]))]
    lines = [_about(found), *("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)]
    doubts: dict[str, list[str]] = {}
    for one, record in zip(combinations, found, strict=True):
        for doubt in dict.fromkeys(record["doubts"]):
            doubts.setdefault(doubt, []).append(one.label.removesuffix(": "))
    for doubt, labels in doubts.items():
        which = "" if len(labels) == len(found) else f" ({'; '.join(labels)})"
        lines.append(f"doubt{which}: {doubt}")
    return "\n".join(lines)


def _about(found: Sequence[AnyRecord]) -> str:
    """What all rows are of; from the first that came far enough to say it."""
    first = next((record for record in found if record["runtime"]), None)
    if first is None:
        return "nothing was measured"
    art, run, env = (first[key] for key in ("artifact", "runtime", "environment"))
    digest = art["sha256"][:12]
    return f"{art['path']} (sha256 {digest}) in {run['name']} {run['version']} on {env['cpu_model']}, isa {env['isa']}"


def _rate(record: AnyRecord) -> str:
    """The samples of a batch by the median time of one run."""
    latency, samples = record["latency"], record["protocol"]["batch_count"] or 1
    if latency["p50_valid"]:
        return f"{samples / latency['p50_s']:.4g}"
    return f"at most {samples / latency['min_s']:.4g}"


def _figures(record: AnyRecord) -> list[str]:
    """In the order of the headings; of a disturbed run only lower bounds, of a failed one the reason."""
    if record["status"] != "ok":
        return [f"{record['status']}: {record['reason']}"]
    latency, valid = record["latency"], record["latency"]["p50_valid"]
    least = "" if valid else "at least "
    return [
        f"{ms(latency['p50_s'])} {_interval(latency, 'p50')}"
        if valid
        else f"at least {ms(latency['min_s'])}",
        f"{least}{ms(latency['cpu_p50_s'])} {_interval(latency, 'cpu_p50')}",
        mib(record["memory"]["peak_bytes"]),
        f"{latency['runs_count']} in {latency['processes_count']}",
        record["validity"]["verdict"],
        str(len(record["doubts"])),
    ]


def _interval(latency: Mapping[str, Any], name: str) -> str:
    low, high = (latency[f"{name}_ci95_{end}_s"] for end in ("low", "high"))
    return "(no interval)" if low is None else f"({ms(low)} to {ms(high)})"
