"""What executing an artifact proved, as groups of facts: parity, outputs, the arithmetic found, saturation."""

from edgekit.records import (
    Flips,
    Lint,
    OutputParity,
    Parity,
    Saturation,
    Verdict,
)
from edgekit.report import text
from edgekit.report.cells import MISSING
from edgekit.report.fact_groups import Fact, Group


def proofs(verdict: Verdict) -> tuple[Group, ...]:
    """Returns all that a verdict proved, a group a question."""
    own = verdict.program_parity
    return (
        _parity(verdict.parity, "the float model"),
        *((_flips(verdict.flips),) if verdict.flips else ()),
        *((_parity(own, "the pruned or trained float program it was made of"),) if own else ()),
        _lint(verdict.lint),
        *((_saturation(verdict.saturation),) if verdict.saturation else ()),
    )


def _parity(parity: Parity, other: str) -> Group:
    over = "n=1, the golden input" if parity.samples == 1 else f"n={parity.samples}"
    snr = "no error at all" if parity.snr_db is None else f"{parity.snr_db:.1f} dB"
    return Group(
        heading=f"Parity with {other}",
        facts=(
            *(
                (Fact(label="agreement", value=text.share(parity.agreement), note=over),)
                if parity.agreement is not None
                else ()
            ),
            Fact(
                label="max error",
                value=text.number(parity.max_abs_error),
                note=f"in units of the output, {over}",
            ),
            Fact(
                label="RMS error", value=text.number(parity.rms_error), note=f"in units of the output, {over}"
            ),
            Fact(label="signal to noise", value=snr, note=over),
            *(_output(output) for output in parity.outputs),
        ),
    )


def _output(output: OutputParity) -> Fact:
    """One output by itself, which is what the floor is judged by."""
    if output.equal_ratio is not None:
        return Fact(
            label=f"output {output.name}", value=text.share(output.equal_ratio), note="equal integers"
        )
    value = "no error at all" if output.snr_db is None else f"{output.snr_db:.1f} dB"
    notes = [] if output.correlation is None else [f"correlation {output.correlation:.4f}"]
    if output.worst_slice_snr_db is not None and output.slices > 1:
        notes.append(
            f"weakest of {output.slices} channels: {output.worst_slice} with {output.worst_slice_snr_db:.1f} dB"
        )
    if output.stuck_ratio:
        notes.append(f"{output.stuck_ratio:.1%} of a channel stuck at an end of the range")
    return Fact(label=f"output {output.name}", value=value, note=", ".join(notes))


def _flips(found: Flips) -> Group:
    """How many answers changed, and what that tells of the drop."""
    most = "" if found.exact else "at most, not all were looked at"
    drop = (found.lost - found.gained) / found.samples * found.scale
    return Group(
        heading="Answers that changed",
        facts=(
            Fact(label="other class than float", value=str(len(found.flips)), note=f"n={found.samples}"),
            Fact(label="right before, wrong now", value=str(found.lost), note=most),
            Fact(label="wrong before, right now", value=str(found.gained), note=most),
            Fact(
                label="drop",
                value=text.change(drop),
                note=f"[{text.change(found.drop_low)}, {text.change(found.drop_high)}], 95 % (Tango)",
            ),
            Fact(label="p", value=f"{found.p_value:.3g}", note="McNemar's exact test of no difference"),
        ),
    )


def _lint(lint: Lint) -> Group:
    total = sum(lint.ops.values())
    facts = [
        Fact(label="result", value="passed" if lint.passed else "failed", note=f"promised {lint.promised}"),
        Fact(label="called", value=lint.called or lint.promised),
        Fact(label=f"multiply-accumulates in {lint.promised}", value=_part(lint.share), note=_kinds(lint)),
        Fact(label=f"weight bytes in {lint.promised}", value=_part(lint.weight_share)),
        Fact(
            label=f"ops in {lint.promised}",
            value=str(lint.ops_in_precision),
            note=f"of {total} that the runtime runs",
        ),
        Fact(label="float ops", value=str(lint.ops_float)),
        Fact(label="conversions", value=str(lint.conversions)),
        Fact(label="transposes", value=str(lint.transposes)),
        Fact(
            label="inputs, outputs", value=f"{', '.join(lint.input_dtypes)} → {', '.join(lint.output_dtypes)}"
        ),
        *(Fact(label="finding", value=finding) for finding in lint.findings),
    ]
    return Group(heading="Precision lint", facts=tuple(facts))


def _part(share: float | None) -> str:
    return MISSING if share is None else text.share(share)


def _kinds(lint: Lint) -> str:
    """The work by kind: `QLinearConv uint8 98.2 %, MatMul float32 1.8 %`."""
    total = sum(row.macs for row in lint.work)
    return ", ".join(f"{row.kind} {row.dtype} {100 * row.macs / total:.1f} %" for row in lint.work)


def _saturation(found: Saturation) -> Group:
    same = MISSING if found.agreement is None else text.share(found.agreement)
    return Group(
        heading="Saturation of 8-bit products",
        facts=(
            Fact(
                label="conclusion",
                value=found.conclusion,
                note="can saturate" if found.can_saturate else "cannot saturate",
            ),
            Fact(label="weights stay in the 16-bit bound", value="yes" if found.bound_holds else "no"),
            Fact(label="fused against unfused", value=same, note=f"agreement, n={found.samples}"),
            Fact(
                label="largest difference", value=text.number(found.max_abs_error), note=f"n={found.samples}"
            ),
        ),
    )
