"""The verb `check`: reads two bench records and shows how `regression` judges them."""

from pathlib import Path
from typing import Any

from edgekit_runner import record as records
from edgekit_runner.cli.table import mib, ms
from edgekit_runner.errors import UserError
from edgekit_runner.record import AnyRecord

MOST_BYTES = 16 << 20  # of a file with one record
EXIT_CODES = {"better": 0, "equal": 0, "regression": 1, "inconclusive": 4}


def read(path: str) -> AnyRecord:
    """Reads a bench record from a JSON file.

    Raises:
        UserError: It holds none.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise UserError(f"it has more than {MOST_BYTES >> 20} MiB")
        found = records.read(data.decode("utf-8"))
    except (OSError, UnicodeDecodeError, UserError) as error:
        raise UserError(f"{path} is not what `bench --json` printed: {error}") from None
    if found["kind"] != "bench":
        raise UserError(f"{path} is a record of kind {found['kind']!r}; allowed: bench.")
    return found


def render(found: dict[str, Any]) -> str:
    """What `check` found as text for a person."""
    about = " against ".join(
        f"{found[whose]['path']} (sha256 {(found[whose]['sha256'] or 'unknown')[:12]})"
        for whose in ("record", "baseline")
    )
    lines = [
        f"{'verdict':<18}{found['verdict']} (tolerance {found['tolerance_ratio']:.3g})",
        f"{'artifact':<18}{about}",
        *map(_line, found["metrics"]),
    ]
    lines += [f"not comparable: {sentence}" for sentence in found["differences"]]
    return "\n".join(lines + [f"doubt: {doubt}" for doubt in found["doubts"]])


def _line(metric: dict[str, Any]) -> str:
    label = metric["name"].replace("_", " ").replace("cpu", "CPU")
    why = f": {metric['reason']}" if metric["reason"] else ""
    if metric["middle_ratio"] is None:
        return f"{label:<18}{metric['verdict']}{why}"
    shown = [_figure(key, value) for key, value in metric.items() if key.startswith(("record_", "baseline_"))]
    low, high = metric["low_ratio"], metric["high_ratio"]
    spread = "" if None in (low, high) or low == high else f" ({low:.3f} to {high:.3f})"
    return f"{label:<18}{metric['middle_ratio']:.3f}{spread}, {' against '.join(shown)}, {metric['verdict']}{why}"


def _figure(key: str, value: float) -> str:
    if key.endswith("_bytes"):
        return mib(value) if value >= 1e6 else f"{value} bytes"
    return ms(value) if key.endswith("_s") else f"{value * 1e3:.4g} mJ"
