"""The figures of one attempt, and the plain times and memory behind its ratios."""

from edgekit.records import Attempt, TargetReport
from edgekit.report import cells, text
from edgekit.report.cells import Cell
from edgekit.report.fact_groups import Fact, Group
from edgekit.report.table import why


def figures(attempt: Attempt, target: TargetReport) -> Group:
    """Size, metric, agreement, time and memory; why one is missing is not said again where the attempt says it already."""
    stopped = attempt.error or "the attempt did not get so far"
    unmeasured = "; ".join(attempt.decision.not_measured) or stopped
    found = (
        ("size", cells.size_cell(attempt.artifact, target.baseline, stopped)),
        ("metric", cells.metric_cell(attempt.verdict, stopped)),
        ("agreement", cells.agreement_cell(attempt.verdict, stopped)),
        ("CPU time / float", cells.latency_cell(attempt.measurement, unmeasured)),
        ("peak memory", cells.memory_cell(attempt.measurement, unmeasured)),
    )
    told = "\n".join((why(attempt), "; ".join(attempt.decision.not_measured)))  # they stand above
    facts = [Fact(label=name, value=cell.figure, note=_note(cell, told)) for name, cell in found]
    return Group(heading="Figures", facts=(*facts, *_taken(attempt)))


def _note(cell: Cell, told: str) -> str:
    reason = "" if cell.reason in told else cell.reason
    return f"{cell.note} {reason}".strip()


def _taken(attempt: Attempt) -> tuple[Fact, ...]:
    """The plain times and memory behind the ratios, named with the machine that took them."""
    took = attempt.measurement
    if took is None:
        return ()
    where = f"on {took.measured_on or 'an unnamed machine'}" + ("" if took.on_target else ", not the target")
    where += f", {took.measured}" if took.measured else ""
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
