"""What layer blame says: sentences with figures, units and what to do."""

import statistics
from collections.abc import Sequence

from edgekit.records import ChannelDegradation, LayerDegradation
from edgekit.verify.blame.channels import Outputs
from edgekit.verify.blame.compression import Compression, Lost
from edgekit.verify.blame.graph_walk import SNR_LIMIT_DB
from edgekit.verify.blame.units import readers

MANY_RATIO = 1 / 3  # if this share of the units is damaged, and more than FEW, skipping them is no remedy
FEW = 4


def conversion(
    runtime: str,
    rows: Sequence[LayerDegradation],
    outputs: Outputs,
    samples: int,
    fused_only: bool,
    cause: LayerDegradation | None = None,
) -> str:
    """The sentences on conversion.

    Args:
        runtime: The runtime of the file.
        rows: What was found for each operator.
        outputs: The errors of the answers.
        samples: How many samples were compared.
        fused_only: Whether the operators are wrong only as the runtime fuses them.
        cause: What causes the first wrong row, or the wrong answers, where it is not that row itself.
    """
    answers, weakest = f"the answers keep {_db(outputs.snr_db)}", _channel(outputs.weakest())
    wrong = [row for row in rows if row.wrong]
    if not wrong and cause is None:
        return (
            f"The file computes the candidate's program in {runtime}: each of {len(rows)} operators, given the same inputs, is within "
            f"{_worst(rows)}, and {answers} to it{weakest} (n = {samples})."
        )
    told = f"{_upper(answers)} to the program{weakest}."
    if cause is None:
        return _first_wrong(runtime, wrong, samples, fused_only, told)
    first = (
        f" The first operator that is off is {wrong[0].op} of {named(wrong[0])}: {wrong[0].reason}."
        if wrong
        else ""
    )
    return (
        f"{cause.op} of {named(cause)} is what {runtime} computes differently from the candidate's program: "
        f"{cause.reason} (n = {samples}).{first} {told} {_report(cause)}"
    )


def _first_wrong(
    runtime: str, wrong: Sequence[LayerDegradation], samples: int, fused_only: bool, told: str
) -> str:
    first = wrong[0]
    more = f"; so are {len(wrong) - 1} after it" if len(wrong) > 1 else "; every other operator is right"
    how, remedy = "given the same inputs", _report(first)
    if fused_only:
        how = "with the runtime's own fused kernels only, so they saturate, round a bias to coarse integers, or are wrong"
        remedy = "Narrow the weights (weight_bits) or report it to the runtime."
    return (
        f"{first.op} of {named(first)} is the first operator that {runtime} computes differently from the candidate's "
        f"program, {how}: {first.reason} (n = {samples}){more}. {told} {remedy}"
    )


def compression(
    rows: Sequence[LayerDegradation],
    output_snr_db: float | None,
    samples: int,
    skip_option: str,
    weakest: ChannelDegradation | None = None,
    lost: Lost | None = None,
) -> str:
    """The sentences on compression.

    Args:
        rows: What each layer loses.
        output_snr_db: The ratio over all outputs.
        samples: How many samples were compared.
        skip_option: The `skip` option that would leave the damaged layers in float.
        weakest: The channel that keeps the least of its signal.
        lost: The channel that lost its signal; the layers are named only where they are what takes it.
    """
    if lost is not None and not _explains(rows, lost):
        return _lost(lost, output_snr_db, samples, skip_option)
    if not rows:
        return "No layer of the program could be paired with one of the float model."
    wrong = [row for row in rows if row.wrong]
    total = (
        f"the answers of the program keep {_db(output_snr_db)} to float{_channel(weakest)} (n = {samples})"
    )
    worst = min(rows, key=_alone)
    if not wrong:
        return f"No layer loses much: the weakest alone is {worst.op} of {named(worst)} with {_db(worst.local_snr_db)}; {total}."
    return _first_degraded(rows, wrong, total, skip_option)


def _first_degraded(
    rows: Sequence[LayerDegradation], wrong: Sequence[LayerDegradation], total: str, skip_option: str
) -> str:
    first = wrong[0]
    typical = statistics.median(_alone(row) for row in rows)
    why = f" ({first.reason})" if first.reason else ""
    remedy = (
        f"leave it in float, with what reads it: skip = {skip_option!r}"
        if skip_option
        else f"{len(wrong)} units lose accuracy, too many to leave in float: choose another estimator, or qat"
    )
    return (
        f"{first.op} of {named(first)} is the first to lose accuracy by rounding{why}: alone its median channel keeps "
        f"{_db(first.local_snr_db)}, a typical unit {_db(typical)}; {total}. To do: {remedy}."
    )


def _lost(lost: Lost, output_snr_db: float | None, samples: int, skip_option: str) -> str:
    degraded, found = lost.degradation, lost.culprit
    count = f" ({degraded.lost} of its {degraded.channels} channels did)" if degraded.lost > 1 else ""
    head = (
        f"{_upper(_place(degraded))} lost its signal{count}: it keeps {degraded.snr_db:.1f} dB to float, all numbers of all outputs "
        f"together {_db(output_snr_db)} (n = {samples}). "
    )
    what = f"{found.unit.op} of {found.unit.module or 'the model'}, node {found.unit.node}"
    if not found.alone:
        return (
            f"{head}No operator alone takes it: the weakest, {what}, leaves it {found.snr_db:.1f} dB. "
            "To do: choose another estimator, mixed, or qat."
        )
    joins = ""
    if found.operands and found.unit.grid is not None:
        ranges = " and ".join(f"{low:.3g} to {high:.3g}" for low, high in found.operands)
        joins = f": it joins {ranges} on one grid with steps of {found.unit.grid[0]:.3g}"
    or_else = ", or return what it joins as outputs of their own" if joins else ""
    return f"{head}{what} takes it, alone it leaves {found.snr_db:.1f} dB{joins}. To do: leave it in float: skip = {skip_option!r}{or_else}."


def _explains(rows: Sequence[LayerDegradation], lost: Lost) -> bool:
    return any(row.wrong and row.node == lost.culprit.unit.node for row in rows)


def _place(degraded: ChannelDegradation) -> str:
    return degraded.output if degraded.channel is None else f"channel {degraded.channel} of {degraded.output}"


def _channel(weakest: ChannelDegradation | None) -> str:
    if weakest is None or weakest.snr_db >= SNR_LIMIT_DB:
        return ""
    return f", {_place(weakest)} least with {weakest.snr_db:.1f} dB"


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def degraded_layer(rows: Sequence[LayerDegradation], lost: Lost | None) -> LayerDegradation | None:
    """The first layer out of tolerance; where a channel is lost to another unit, that unit."""
    first = next((row for row in rows if row.wrong), None)
    if lost is None or _explains(rows, lost) or not lost.culprit.alone:
        return first
    unit = lost.culprit.unit
    return LayerDegradation(
        node=unit.node,
        module=unit.module,
        op=unit.op,
        tensor=unit.codes or unit.value,
        matched="name",
        snr_db=lost.degradation.snr_db,
        local_snr_db=lost.culprit.snr_db,
        max_abs_error=None,
        wrong=True,
        reason=f"{_place(lost.degradation)} loses its signal",
    )


def skip(compressed: Compression, rows: Sequence[LayerDegradation], lost: Lost | None) -> str:
    """The `skip` option for ptq: damaged units, and the layers that would quantize their output again when they read it."""
    if lost is not None and not _explains(rows, lost):
        unit = lost.culprit.unit
        return ",".join([unit.node, *(node.name for node in readers(compressed.module, unit))])
    wrong = [row for row in rows if row.wrong]
    if not wrong or len(wrong) > max(FEW, MANY_RATIO * len(rows)):
        return ""
    units = [compressed.unit(row) for row in wrong]
    names = [unit.node for unit in units if unit.op != "input"]
    for unit in units:
        names += [node.name for node in readers(compressed.module, unit)]
    return ",".join(dict.fromkeys(names))


def compared_with(compressed: Compression) -> tuple[str, ...]:
    """A sentence on the reference of the comparison, where it is not the traced float program."""
    if not compressed.own_float:
        return ()
    return (
        "a step before quantizing changed the layers, so each is compared with the candidate's own program without rounding",
    )


def named(row: LayerDegradation) -> str:
    """Where a row is: module and node, or the tensor of the file."""
    if not row.node:
        return f"the file, tensor {row.tensor}"
    return f"{row.module or 'the model'}, node {row.node}"


def _report(row: LayerDegradation) -> str:
    if row.max_steps is None:
        return "Report it to the converter with this operator, or replace the operator in the model."
    return f"Report it to the converter with this operator, or leave it in float: skip = {row.node!r}."


def _worst(rows: Sequence[LayerDegradation]) -> str:
    steps = [row.max_steps for row in rows if row.max_steps is not None]
    snrs = [row.local_snr_db for row in rows if row.max_steps is None and row.local_snr_db is not None]
    parts = [f"{max(steps):.0f} quantization step(s)"] if steps else []
    parts += [f"{min(snrs):.0f} dB"] if snrs else []
    return " and ".join(parts) or "no error at all"


def _alone(row: LayerDegradation) -> float:
    return float("inf") if row.local_snr_db is None else row.local_snr_db


def _db(value: float | None) -> str:
    return "no error" if value is None else f"{value:.1f} dB"
