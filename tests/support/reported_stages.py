"""The stages that a reported situation goes through, in this process: traced, quantized, exported, executed."""

from pathlib import Path

from edgekit.engine.specs import CompressSpec, Context, ExportSpec, TraceSpec
from edgekit.engine.task_source import TaskSource
from edgekit.engine.verify_specs import ProveSpec
from edgekit.export._stage import export
from edgekit.ladder.build import free_axes
from edgekit.profile.reading import load_target
from edgekit.records import Artifact, Candidate, Recipe, Step, Traced, Verdict
from edgekit.target import Target
from edgekit.techniques._stage import compress
from edgekit.trace.stage import trace
from edgekit.verify.prove import prove

FILES = Path(__file__).parents[1] / "task_files"


def traced_of(net: str, work: Path, file: str = "reported.py") -> tuple[TaskSource, Traced]:
    """The task of a net and its program."""
    source = TaskSource(name=net, reference=f"{FILES / file}:task", settings={"net": net})
    return source, trace(TraceSpec(source=source, work=str(work)))


def made(given: tuple[TaskSource, Traced], name: str, precision: str, work: Path) -> tuple[Artifact, Verdict]:
    """The file of a target in a precision, executed."""
    source, traced = given
    target = load_target(name)
    quant = target.quant_for(target.default_isa) if precision == "int8" else None
    candidate = Candidate(
        program=traced.program, recipe=Recipe(name="r", precision=precision, steps=()), quant=quant,
        interface=traced.interface, free=free_axes(traced, target),
    )  # fmt: skip
    if precision == "int8":
        context = Context(work=str(work), target=target, traced=traced)
        step = Step(technique="ptq", options={"estimator": "minmax"})
        candidate = compress(CompressSpec(candidate=candidate, step=step, source=source, context=context))
    return finished(given, target, candidate, work)


def finished(
    given: tuple[TaskSource, Traced], target: Target, candidate: Candidate, work: Path
) -> tuple[Artifact, Verdict]:
    """The file, executed."""
    source, traced = given
    artifact = export(ExportSpec(candidate=candidate, target=target, folder=str(work)))
    spec = ProveSpec(
        artifact=artifact, traced=traced, source=source, runtime=target.runtime, isa="any", host_isa="any",
        golden=str(work / "golden.npz"),
    )  # fmt: skip
    return artifact, prove(spec)
