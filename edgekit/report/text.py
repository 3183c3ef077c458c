"""How numbers, units and budgets are written in every report. Nothing here decides what is shown."""

import math

from edgekit.records import Budget, TensorSpec

_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def size(value: int) -> str:
    """Formats bytes as `5.16 MB`: decimal units, at least three significant digits."""
    for factor, unit in _BYTES:
        if value >= factor:
            digits = 0 if value >= 100 * factor else 1 if value >= 10 * factor else 2
            return f"{value / factor:.{digits}f} {unit}"
    return f"{value} bytes"


def seconds(value: float) -> str:
    """Formats a time as `12.3 ms`."""
    for factor, unit in _SECONDS:
        if value >= factor:
            return f"{value / factor:.3g} {unit}" if value < 1000 * factor else f"{value / factor:.0f} {unit}"
    return f"{value / 1e-6:.3g} µs"


def number(value: float) -> str:
    """Formats whole numbers as they are, others with four decimals where those suffice, else four significant digits."""
    if not math.isfinite(value):
        return f"{value}"
    if value == round(value) and abs(value) < 1e15:
        return f"{round(value)}"
    return f"{value:.4f}" if 1e-2 <= abs(value) < 1000 else f"{value:.4g}"


def metric(value: float) -> str:
    """Formats a metric as `0.8900`."""
    return f"{value:.4f}" if abs(value) < 1000 else f"{value:.6g}"


def change(value: float) -> str:
    """Formats a difference as `-0.0025`, always with its sign; a change too small to print is not called zero."""
    if value == 0:
        return "±0"
    if abs(value) < 5e-5:
        return f"{value:+.1e}"
    return f"{value:+.4f}" if abs(value) < 1000 else f"{value:+.6g}"


def share(value: float) -> str:
    """Formats a share as `98.50 %`; what is less than all is never printed as 100."""
    written = f"{100 * value:.2f} %"
    return "below 100 %" if written == "100.00 %" and value < 1 else written


def times(value: float) -> str:
    """Formats a plain quotient, `0.65`; three digits where two would hide the value."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def interval(low: float | None, high: float | None) -> str:
    """Formats `[0.64, 0.67]`, or says that the interval is missing."""
    return "without an interval" if low is None or high is None else f"[{times(low)}, {times(high)}]"


def count(value: int, one: str, many: str = "") -> str:
    """Formats `1 recipe`, `3 recipes`."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def budget(value: Budget) -> tuple[str, ...]:
    """Every limit that is set, in words."""
    terms = [f"metric drop at most {number(value.max_drop)}"]
    if value.min_speedup > 0:
        terms.append(f"at least {times(value.min_speedup)} times as fast as float")
    if value.max_size_bytes is not None:
        terms.append(f"size at most {size(value.max_size_bytes)}")
    if value.max_latency_s is not None:
        terms.append(f"latency at most {seconds(value.max_latency_s)}")
    if value.max_memory_bytes is not None:
        terms.append(f"peak memory at most {size(value.max_memory_bytes)}")
    if value.min_agreement is not None:
        terms.append(f"at least {value.min_agreement:.2%} of the samples get float's answer")
    if value.min_snr_db is not None:
        terms.append(f"every output keeps {value.min_snr_db:g} dB to float")
    if value.floor == "off":
        terms.append("no floor under the metric")
    return tuple(terms)


def tensor(value: TensorSpec) -> str:
    """Formats a tensor as `input int8 [1, 224, 224, 3], real = (q - -128) * 0.0078`."""
    written = f"{value.name} {value.dtype} [{', '.join(str(n) for n in value.shape)}]"
    if value.scale is None:
        return written
    return f"{written}, real = (q - {value.zero_point or 0}) × {value.scale:.6g}"
