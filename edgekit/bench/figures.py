"""What devices measured, side by side: a row for each device, artifact and thread count; doubts below as sentences."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit_runner.cli import table as runner_table

from edgekit.bench.on_devices import Outcome

_HEADINGS = (
    "device",
    "artifact",
    "threads",
    "median [95 % interval]",
    "CPU median",
    "peak memory",
    "n",
    "verdict",
)
_MIB = 1024 * 1024


def as_data(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Gives the outcomes to programs: a failed device has a null record and its sentence in `error`."""
    return [{"device": o.device, "record": o.record, "error": o.error} for o in outcomes]


def text(outcomes: Sequence[Outcome], width: int) -> str:
    """Renders the outcomes: a single one with a record in full, several in one table of `width` columns."""
    if len(outcomes) == 1 and outcomes[0].record is not None:
        return f"{'device':<18}{outcomes[0].device}\n{runner_table.render(outcomes[0].record)}\n"
    return "\n".join([_table(outcomes, width), *_machines(outcomes), *_doubts(outcomes)]) + "\n"


def _table(outcomes: Sequence[Outcome], width: int) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
    for heading in _HEADINGS:
        table.add_column(heading, overflow="fold")
    for outcome in outcomes:
        table.add_row(*(Text(cell) for cell in cells(outcome)))
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def cells(outcome: Outcome) -> tuple[str, ...]:
    """A row, in the order of the headings; "-" where nothing was measured."""
    record = outcome.record
    if record is None:
        said = (outcome.error or "").removeprefix(f"{outcome.device}: ")
        return (outcome.device, *("-",) * 6, f"failed: {said}")
    artifact = "/".join(Path(record["artifact"]["path"]).parts[-2:]) if record["artifact"] else "-"
    threads = str(record["protocol"]["threads_count"]) if record["protocol"] else "-"
    head = (outcome.device, artifact, threads)
    if record["status"] != "ok":
        return (*head, *("-",) * 4, f"{record['status']}: {record['reason']}")
    latency, verdict = record["latency"], (record["validity"] or {}).get("verdict", "unknown")
    n = f"{latency['runs_count']} runs, {latency['processes_count']} processes"
    peak = record["memory"]["peak_bytes"]
    memory = "unknown" if peak is None else f"{peak / _MIB:.1f} MiB"
    return (*head, _median(latency), _cpu(latency), memory, n, verdict)


def _median(latency: dict[str, Any]) -> str:
    """The median; of a disturbed run only a lower bound, the minimum."""
    if not latency["p50_valid"]:
        return f"at least {_ms(latency['min_s'])}"
    low, high = latency["p50_ci95_low_s"], latency["p50_ci95_high_s"]
    spread = "no interval" if low is None or high is None else f"{_ms(low)} to {_ms(high)}"
    return f"{_ms(latency['p50_s'])} [{spread}]"


def _cpu(latency: dict[str, Any]) -> str:
    return ("" if latency["p50_valid"] else "at least ") + _ms(latency["cpu_p50_s"])


def _ms(seconds: float | None) -> str:
    return "unknown" if seconds is None else f"{seconds * 1e3:.4g} ms"


def _machines(outcomes: Sequence[Outcome]) -> list[str]:
    """Where each device's figures come from, stated once."""
    found: dict[str, None] = {}
    for outcome in outcomes:
        host = outcome.record and outcome.record["environment"]
        if outcome.record and host:
            run = outcome.record["runtime"]
            ran = f", {run['name']} {run['version']}" if run else ""
            found[f"{outcome.device}: {host['machine']}, {host['cpu_model']}, isa {host['isa']}{ran}"] = None
    return list(found)


def _doubts(outcomes: Sequence[Outcome]) -> list[str]:
    """Each doubt once, with the rows that it is about: a device alone stands for all of its rows."""
    measured = [outcome for outcome in outcomes if outcome.record is not None]
    rows: dict[str, list[Outcome]] = {}
    for outcome in measured:
        for doubt in dict.fromkeys((outcome.record or {})["doubts"]):
            rows.setdefault(doubt, []).append(outcome)
    return [f"doubt ({'; '.join(_about(few, measured))}): {doubt}" for doubt, few in rows.items()]


def _about(few: Sequence[Outcome], every: Sequence[Outcome]) -> list[str]:
    names = []
    for outcome in few:
        whole = all(other in few for other in every if other.device == outcome.device)
        names.append(
            outcome.device if whole else ", ".join((*cells(outcome)[:2], f"threads: {cells(outcome)[2]}"))
        )
    return list(dict.fromkeys(names))
