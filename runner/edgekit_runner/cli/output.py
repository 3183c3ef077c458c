"""What a verb hands to the shell: a record as JSON, text or CSV on stdout, progress and errors on stderr.

The verbs import what they need when they run, so that `--help` and `--version` cost next to nothing.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_runner.errors import UserError

if TYPE_CHECKING:
    from edgekit_runner.cli.sweep import Combination
    from edgekit_runner.record import AnyRecord

_COLUMNS = (
    "started_utc", "status", "error_kind", "reason", "artifact.path", "artifact.format",
    "artifact.size_bytes", "artifact.sha256", "runtime.name", "runtime.version", "environment.machine",
    "environment.cpu_model", "environment.isa", "protocol.protocol", "protocol.threads_count",
    "protocol.batch_count", "protocol.length_count", "protocol.affinity", "protocol.options", "golden.status", "validity.verdict",
    "validity.converged", "latency.processes_count", "latency.runs_count", "latency.p50_s",
    "latency.p50_ci95_low_s", "latency.p50_ci95_high_s", "latency.p90_s", "latency.p95_s", "latency.p99_s",
    "latency.mean_s", "latency.min_s", "latency.cpu_p50_s", "latency.cpu_p50_ci95_low_s",
    "latency.cpu_p50_ci95_high_s", "latency.cpu_min_s", "latency.wall_cpu_ratio", "phases.load_s",
    "phases.first_inference_s", "memory.peak_bytes", "memory.peak_low_bytes", "memory.peak_high_bytes",
    "memory.peak_over_baseline_bytes", "energy.per_run_j",
)  # fmt: skip
_OF_QUIET_RUNS = ("p50_s", "p50_ci95_low_s", "p50_ci95_high_s", "p90_s", "p95_s", "p99_s", "mean_s")


def show(record: "AnyRecord", as_json: bool) -> int:
    """Prints one record and returns its exit code."""
    from edgekit_runner import record as records
    from edgekit_runner.cli import table

    if record["status"] != "ok":
        print(f"error: {record['reason']}", file=sys.stderr)
    print(records.to_line(record) if as_json else table.render(record))
    return records.exit_code(record)


def show_all(
    combinations: "Sequence[Combination]", found: "Iterator[AnyRecord]", as_json: bool, as_csv: bool
) -> int:
    """Prints the records of a sweep.

    Args:
        combinations: What the records are of, in the same order.
        found: The records; JSON goes out as soon as one is there, so an interrupted sweep keeps what it has.
        as_json: Whether to print a line of JSON each.
        as_csv: Whether to print CSV.

    Returns:
        The worst exit code.
    """
    from edgekit_runner import record as records
    from edgekit_runner.cli import sweep

    done = []
    for one, record in zip(combinations, found, strict=True):
        done.append(record)
        if record["status"] != "ok":
            print(f"error: {one.label}{record['reason']}", file=sys.stderr)
        if as_json:
            print(records.to_line(record), flush=True)
    if as_csv:
        print(csv_text(done))
    elif not as_json:
        print(sweep.render(combinations, done))
    return max(map(records.exit_code, done))


def csv_text(found: "Iterable[AnyRecord]") -> str:
    """Bench records as CSV for a spreadsheet, without the last line end.

    The header names the place in the record and so the unit. Of a disturbed run the median, the mean and the
    percentiles stay empty; the least and the CPU times are lower bounds.
    """
    import csv
    import io

    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, "doubts_count"])
    for record in found:
        writer.writerow([*(_cell(record, column) for column in _COLUMNS), len(record["doubts"])])
    return out.getvalue().removesuffix("\n")


def _cell(record: "AnyRecord", column: str) -> Any:
    section, _, key = column.rpartition(".")
    if not section:
        return record[key]
    table = record.get(section) or {}
    if key in _OF_QUIET_RUNS and not table.get("p50_valid"):
        return None
    value = table.get(key)
    return json.dumps(value) if isinstance(value, dict) else value


def progress() -> Callable[[str], None]:
    """Progress on stderr for a person at a terminal."""

    def tell(text: str) -> None:
        if sys.stderr.isatty():
            print(text, file=sys.stderr)

    return tell


def writable(path: str) -> Path:
    """The path of a file to write later; what can be wrong with it is said before minutes of measuring.

    Raises:
        UserError: It cannot be written.
    """
    file = Path(path)
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise UserError(f"{path} cannot be written; give a file in a folder that exists.")
    return file
