"""The details of one target and of each attempt, as groups of facts with headings that any page can print."""

from edgekit.records import (
    Artifact,
    Attempt,
    Lint,
    OutputParity,
    Parity,
    Record,
    Report,
    Saturation,
    StageTime,
    TargetReport,
    Verdict,
)
from edgekit.report import cells, text
from edgekit.report.cells import MISSING
from edgekit.report.table import why


class Fact(Record, frozen=True):
    """One line: what it is, its figure with unit, and what to know about it.

    Attributes:
        label: What it is.
        value: The figure with its unit.
        note: What to know about it.
    """

    label: str
    value: str
    note: str = ""


class Group(Record, frozen=True):
    """Facts under one heading."""

    heading: str
    facts: tuple[Fact, ...]


class Card(Record, frozen=True):
    """One attempt in full.

    Attributes:
        recipe: The name of the recipe.
        precision: What the file is.
        accepted: Whether the gate accepted it.
        why: The gate's reasons.
        groups: The facts about it.
        ops: Operator and dtype -> how many, as pairs.
        doubts: Everything that its records doubt.
    """

    recipe: str
    precision: str
    accepted: bool
    why: str
    groups: tuple[Group, ...]
    ops: tuple[tuple[str, int], ...]
    doubts: tuple[str, ...]


def card(attempt: Attempt, target: TargetReport, report: Report) -> Card:
    """Collects everything known about one attempt."""
    groups = (
        _decision(attempt),
        _figures(attempt),
        _float_layers(attempt),
        _blame(attempt),
        _outcome(attempt, target, report),
        *(_verdict(attempt.verdict) if attempt.verdict else ()),
        *(
            (_saturation(attempt.verdict.saturation),)
            if attempt.verdict and attempt.verdict.saturation
            else ()
        ),
        *((_artifact(attempt.artifact),) if attempt.artifact else ()),
        stages(attempt.stages),
    )
    ops = attempt.verdict.lint.ops.items() if attempt.verdict else ()
    return Card(
        recipe=attempt.recipe.name,
        precision=attempt.recipe.precision,
        accepted=attempt.decision.accepted,
        why=why(attempt),
        groups=tuple(group for group in groups if group.facts),
        ops=tuple(sorted(ops, key=lambda item: (-item[1], item[0]))),
        doubts=_doubts(attempt),
    )


def _blame(attempt: Attempt) -> Group:
    """Where the artifact leaves the float model, if that was looked for."""
    found = attempt.blame
    facts = [] if found is None else [Fact(label="conclusion", value=found.conclusion, note=found.matched)]
    facts += [Fact(label=MISSING, value=doubt) for doubt in (found.doubts if found else ())]
    return Group(heading="Layer blame", facts=tuple(facts))


def _float_layers(attempt: Attempt) -> Group:
    """Every layer of an integer file that computes in float, and why."""
    kept = attempt.candidate.float_layers if attempt.candidate else ()
    facts = [
        Fact(
            label=layer.origin,
            value="not counted" if layer.macs_ratio is None else f"{layer.macs_ratio:.1%} of the MACs",
            note=layer.reason,
        )
        for layer in kept
    ]
    return Group(heading="Layers that stay float", facts=tuple(facts))


def stages(times: tuple[StageTime, ...]) -> Group:
    """Wall seconds and peak memory of every stage."""
    facts = [
        Fact(
            label=time.stage,
            value=f"{text.seconds(time.wall_s)} wall",
            note=_stage_note(time),
        )
        for time in times
    ]
    return Group(heading="Stages", facts=tuple(facts))


def _stage_note(time: StageTime) -> str:
    cpu = "" if time.cpu_s is None else f"{text.seconds(time.cpu_s)} CPU, "
    shared = (
        f" beside {_size(time.shared_memory_bytes)} that stages share" if time.shared_memory_bytes else ""
    )
    reused = ", done before and reused" if time.reused else ""
    return f"{cpu}peak memory {_size(time.peak_memory_bytes)}{shared}{reused}"


def _size(value: int | None) -> str:
    return MISSING if value is None else text.size(value)


def baseline(artifact: Artifact) -> Group:
    """The float file that an attempt is compared with."""
    return Group(heading="Float file of the same runtime", facts=_artifact(artifact).facts)


def run(report: Report) -> Group:
    """What the run was given and where it ran."""
    facts = [
        Fact(label="float metric", value=text.metric(report.float_metric), note=f"n={report.samples}"),
        Fact(label="parameters", value=f"{report.parameters:,}"),
        Fact(label="budget", value=_budget(report)),
        Fact(label="created", value=report.created, note=f"edgekit {report.edgekit_version}"),
        *(
            Fact(label=key, value=value, note="of the machine that ran this")
            for key, value in report.machine.items()
        ),
    ]
    return Group(heading="Run", facts=tuple(facts))


def _budget(report: Report) -> str:
    return "; ".join(text.budget(report.budget)) if report.budget else "each target's own, from its profile"


def _decision(attempt: Attempt) -> Group:
    facts = [
        Fact(label=step.technique, value=step.reason or "no reason given", note=_options(step.options))
        for step in attempt.recipe.steps
    ]
    facts += [Fact(label=MISSING, value=item) for item in attempt.decision.not_measured]
    if attempt.error:
        facts.append(Fact(label="failed", value=attempt.error))
    return Group(heading="Recipe", facts=tuple(facts))


def _options(options: dict[str, bool | int | float | str]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in options.items())


def _figures(attempt: Attempt) -> Group:
    candidate = attempt.candidate
    if candidate is None:
        return Group(heading="Steps", facts=())
    facts = [
        Fact(label=f"{item.step}: {item.name}", value=f"{text.number(item.value)} {item.unit}".rstrip())
        for item in candidate.figures
    ]
    if candidate.quant is not None:
        quant = candidate.quant
        sign = "symmetric" if quant.symmetric_activations else "asymmetric"
        ranged = " ranged at run time" if candidate.scheme == "dynamic" else ""
        value = f"{quant.weight_bits}-bit {quant.granularity} weights, {sign} {quant.activation_dtype} inputs{ranged}"
        facts.insert(0, Fact(label="arithmetic", value=value))
    return Group(heading="Steps", facts=tuple(facts))


def _outcome(attempt: Attempt, target: TargetReport, report: Report) -> Group:
    stopped = attempt.error or "the attempt did not get so far"
    unmeasured = "; ".join(attempt.decision.not_measured) or stopped
    found = (
        ("size", cells.size_cell(attempt.artifact, target.baseline, stopped)),
        ("metric", cells.metric_cell(attempt.verdict, stopped)),
        ("agreement", cells.agreement_cell(attempt.verdict, stopped)),
        ("CPU time / float", cells.latency_cell(attempt.measurement, unmeasured)),
        ("peak memory", cells.memory_cell(attempt.measurement, unmeasured)),
    )
    facts = [
        Fact(label=name, value=cell.figure, note=f"{cell.note} {cell.reason}".strip()) for name, cell in found
    ]
    return Group(heading="Figures", facts=(*facts, *_taken(attempt)))


def _taken(attempt: Attempt) -> tuple[Fact, ...]:
    """The plain times and memory behind the ratios, named with the machine that took them."""
    took = attempt.measurement
    if took is None:
        return ()
    where = f"on {took.measured_on or 'an unnamed machine'}" + ("" if took.on_target else ", not the target")
    times = (("CPU time per inference", took.cpu_s), ("the same of float", took.float_cpu_s))
    memory = (
        ("memory without the process", took.model_memory_bytes),
        ("the same of float", took.float_model_memory_bytes),
    )
    facts = [
        Fact(label=k, value=text.seconds(v), note=f"one thread {where}") for k, v in times if v is not None
    ]
    note = f"peak less what the process held before the runtime, {where}"
    facts += [Fact(label=k, value=text.size(v), note=note) for k, v in memory if v is not None]
    if took.on_target and took.reason:
        facts.append(Fact(label="measured", value=took.reason))
    return tuple(facts)


def _verdict(verdict: Verdict) -> tuple[Group, ...]:
    own = verdict.program_parity
    return (
        _parity(verdict.parity, "the float model"),
        *((_parity(own, "the pruned or trained float program it was made of"),) if own else ()),
        _lint(verdict.lint),
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


def _artifact(artifact: Artifact) -> Group:
    facts = [
        Fact(label="file", value=artifact.path, note=f"{artifact.format}, {artifact.precision}"),
        Fact(label="size", value=text.size(artifact.size_bytes), note=f"{artifact.size_bytes:,} bytes"),
        *(
            Fact(label=f"size with {name}", value=text.size(size), note=f"{size:,} bytes, as a download")
            for name, size in artifact.compressed_bytes.items()
        ),
        Fact(label="sha256", value=artifact.sha256),
        *(Fact(label="input", value=text.tensor(spec)) for spec in artifact.inputs),
        *(Fact(label="output", value=text.tensor(spec)) for spec in artifact.outputs),
        Fact(label="layout", value=artifact.layout),
        Fact(
            label="toolchain",
            value=", ".join(f"{name} {version}" for name, version in artifact.toolchain.items()),
        ),
    ]
    return Group(heading="Artifact", facts=tuple(facts))


def _doubts(attempt: Attempt) -> tuple[str, ...]:
    sources = (attempt.candidate, attempt.artifact, attempt.verdict, attempt.measurement, attempt.decision)
    return tuple(dict.fromkeys(doubt for source in sources if source is not None for doubt in source.doubts))
