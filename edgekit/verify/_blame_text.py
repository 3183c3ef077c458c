"""What layer blame says: sentences with figures, units and what to do."""

import statistics
from collections.abc import Sequence

from edgekit.records import LayerHarm
from edgekit.verify._compression import Compression
from edgekit.verify._units import readers

MANY_RATIO = 1 / 3  # of the units harmed, and more than FEW: skipping them is no remedy
FEW = 4


def conversion(
    runtime: str, rows: Sequence[LayerHarm], output_snr_db: float | None, samples: int, fused_only: bool
) -> str:
    wrong = [row for row in rows if row.wrong]
    if not wrong:
        return (
            f"The file computes the candidate's program in {runtime}: each of {len(rows)} operators, given the same inputs, is within "
            f"{_worst(rows)}, and the answers keep {_db(output_snr_db)} to it (n = {samples})."
        )
    first = wrong[0]
    more = f"; so are {len(wrong) - 1} after it" if len(wrong) > 1 else "; every other operator is right"
    cause = (
        "with the runtime's own fused kernels only, so they saturate, round a bias to coarse integers, or are wrong"
        if fused_only
        else "given the same inputs"
    )
    return (
        f"{first.op} of {named(first)} is the first operator that {runtime} computes differently from the candidate's "
        f"program, {cause}: {first.reason} (n = {samples}){more}. The answers keep {_db(output_snr_db)} to the program. "
        + ("Narrow the weights (weight_bits) or report it to the runtime." if fused_only else _report(first))
    )


def compression(
    rows: Sequence[LayerHarm], output_snr_db: float | None, samples: int, skip_option: str
) -> str:
    if not rows:
        return "No layer of the program could be paired with one of the float model."
    wrong = [row for row in rows if row.wrong]
    total = f"the answers of the program keep {_db(output_snr_db)} to float (n = {samples})"
    worst = min(rows, key=_alone)
    if not wrong:
        return f"No layer is harmed: the weakest alone is {worst.op} of {named(worst)} with {_db(worst.local_snr_db)}; {total}."
    first = wrong[0]
    typical = statistics.median(_alone(row) for row in rows)
    why = f" ({first.reason})" if first.reason else ""
    remedy = (
        f"leave it in float, with what reads it: skip = {skip_option!r}"
        if skip_option
        else f"{len(wrong)} units are harmed, too many to leave in float: choose another estimator, or qat"
    )
    return (
        f"Rounding harms {first.op} of {named(first)} first{why}: alone its median channel keeps {_db(first.local_snr_db)}, "
        f"a typical unit {_db(typical)}; {total}. To do: {remedy}."
    )


def skip(compressed: Compression, rows: Sequence[LayerHarm]) -> str:
    """The `skip` option for ptq: harmed units and the layers that would quantize their output again when they read it."""
    wrong = [row for row in rows if row.wrong]
    if not wrong or len(wrong) > max(FEW, MANY_RATIO * len(rows)):
        return ""
    names = [row.node for row in wrong if row.op != "input"]
    for row in wrong:
        names += [node.name for node in readers(compressed.module, compressed.unit(row))]
    return ",".join(dict.fromkeys(names))


def compared_with(compressed: Compression) -> tuple[str, ...]:
    if not compressed.own_float:
        return ()
    return (
        "a step before quantizing changed the layers, so each is compared with the candidate's own program without rounding",
    )


def named(row: LayerHarm) -> str:
    return f"{row.module or 'the model'}, node {row.node}"


def _report(row: LayerHarm) -> str:
    if row.max_steps is None:
        return "Report it to the converter with this operator, or replace the operator in the model."
    return f"Report it to the converter with this operator, or leave it in float: skip = {row.node!r}."


def _worst(rows: Sequence[LayerHarm]) -> str:
    steps = [row.max_steps for row in rows if row.max_steps is not None]
    snrs = [row.local_snr_db for row in rows if row.max_steps is None and row.local_snr_db is not None]
    parts = [f"{max(steps):.0f} quantization step(s)"] if steps else []
    parts += [f"{min(snrs):.0f} dB"] if snrs else []
    return " and ".join(parts) or "no error at all"


def _alone(row: LayerHarm) -> float:
    return float("inf") if row.local_snr_db is None else row.local_snr_db


def _db(value: float | None) -> str:
    return "no error" if value is None else f"{value:.1f} dB"
