"""Bench records as CSV for a spreadsheet: a row each, the header names the place in the record and so the unit.

Of a disturbed run the median, the mean and the percentiles stay empty; the least and the CPU times are lower bounds.
"""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from edgekit_runner.record import AnyRecord

_COLUMNS = (
    "started_utc", "status", "error_kind", "reason", "artifact.path", "artifact.format",
    "artifact.size_bytes", "artifact.sha256", "runtime.name", "runtime.version", "environment.machine",
    "environment.cpu_model", "environment.isa", "protocol.protocol", "protocol.threads_count",
    "protocol.batch_count", "protocol.affinity", "protocol.options", "golden.status", "validity.verdict",
    "validity.converged", "latency.processes_count", "latency.runs_count", "latency.p50_s",
    "latency.p50_ci95_low_s", "latency.p50_ci95_high_s", "latency.p90_s", "latency.p95_s", "latency.p99_s",
    "latency.mean_s", "latency.min_s", "latency.cpu_p50_s", "latency.cpu_p50_ci95_low_s",
    "latency.cpu_p50_ci95_high_s", "latency.cpu_min_s", "latency.wall_cpu_ratio", "phases.load_s",
    "phases.first_inference_s", "memory.peak_bytes", "memory.peak_low_bytes", "memory.peak_high_bytes",
    "memory.peak_over_baseline_bytes", "energy.per_run_j",
)  # fmt: skip
_OF_QUIET_RUNS = ("p50_s", "p50_ci95_low_s", "p50_ci95_high_s", "p90_s", "p95_s", "p99_s", "mean_s")


def render(found: Iterable[AnyRecord]) -> str:
    """Header and rows, without the last line end."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*_COLUMNS, "doubts_count"])
    for record in found:
        writer.writerow([*(_cell(record, column) for column in _COLUMNS), len(record["doubts"])])
    return out.getvalue().removesuffix("\n")


def _cell(record: AnyRecord, column: str) -> Any:
    section, _, key = column.rpartition(".")
    if not section:
        return record[key]
    table = record.get(section) or {}
    if key in _OF_QUIET_RUNS and not table.get("p50_valid"):
        return None
    value = table.get(key)
    return json.dumps(value) if isinstance(value, dict) else value
