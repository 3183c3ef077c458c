"""The details of one target and of each attempt, as groups of facts with headings that any page can print."""

from edgekit.records import (
    Artifact,
    Attempt,
    Record,
    Report,
    StageTime,
    TargetReport,
)
from edgekit.report import text
from edgekit.report.attempt_figures import figures
from edgekit.report.cells import MISSING
from edgekit.report.emulated_facts import emulated
from edgekit.report.fact_groups import Fact, Group
from edgekit.report.layer_map import LayerMap, layer_map
from edgekit.report.memory_phases import Phase, phases
from edgekit.report.proofs import proofs
from edgekit.report.rounds_plot import RoundsPlot, rounds_plot
from edgekit.report.table import shown, why


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
        layers: The precision of its layers, for the attempt that its target is shown by and where they were measured.
        rounds: Its latency round by round.
        memory: What a process that runs it holds, phase by phase.
        shown: Whether its target is shown by it.
    """

    recipe: str
    precision: str
    accepted: bool
    why: str
    groups: tuple[Group, ...]
    ops: tuple[tuple[str, int], ...]
    doubts: tuple[str, ...]
    layers: LayerMap | None
    rounds: RoundsPlot | None
    memory: tuple[Phase, ...]
    shown: bool


def card(attempt: Attempt, target: TargetReport, report: Report) -> Card:
    """Collects everything known about one attempt."""
    groups = (
        _decision(attempt),
        _figures(attempt),
        _float_layers(attempt),
        _blame(attempt),
        figures(attempt, target),
        _runtimes(attempt),
        emulated(attempt.measurement),
        *(proofs(attempt.verdict) if attempt.verdict else ()),
        *((_artifact(attempt.artifact),) if attempt.artifact else ()),
        stages(attempt.stages),
    )
    ops = attempt.verdict.lint.ops.items() if attempt.verdict else ()
    first = attempt is shown(target)
    return Card(
        recipe=attempt.recipe.name,
        precision=attempt.recipe.precision,
        accepted=attempt.decision.accepted,
        why=why(attempt),
        groups=tuple(group for group in groups if group.facts),
        ops=tuple(sorted(ops, key=lambda item: (-item[1], item[0]))),
        doubts=_doubts(attempt),
        layers=layer_map(attempt, report.layers if first else ()),
        rounds=rounds_plot(attempt.measurement),
        memory=phases(attempt.measurement),
        shown=first,
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


def _runtimes(attempt: Attempt) -> Group:
    """The file in each runtime that the target names."""
    found = attempt.runtimes
    facts = [] if found is None else [Fact(label="fastest", value=found.fastest, note=found.reason)]
    for each in found.trials if found else ():
        ratio = MISSING if each.cpu_ratio is None else f"{text.times(each.cpu_ratio)} of float's CPU time"
        interval = "" if each.cpu_ratio is None else text.interval(each.cpu_ratio_low, each.cpu_ratio_high)
        proof = "" if each.metric is None else f"metric {text.metric(each.metric)}"
        note = ", ".join(filter(None, (interval, proof, each.reason)))
        facts.append(Fact(label=f"{each.runtime} {each.version}".strip(), value=ratio, note=note))
    return Group(heading="Runtimes", facts=tuple(facts))


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
