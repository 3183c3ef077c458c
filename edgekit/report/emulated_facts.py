"""What a file did on emulated CPUs, as facts for any page."""

from edgekit.records import EmulatedRun, Measurement
from edgekit.report import text
from edgekit.report.cells import MISSING
from edgekit.report.fact_groups import Fact, Group


def emulated(measurement: Measurement | None) -> Group:
    """Returns two facts for each CPU: its answers, and the instructions of an inference."""
    runs = measurement.emulated if measurement else ()
    return Group(
        heading="On emulated ARM CPUs: no time, no caches, no memory",
        facts=tuple(fact for run in runs for fact in _facts(run)),
    )


def _facts(run: EmulatedRun) -> tuple[Fact, ...]:
    if run.count is None:
        return (Fact(label=f"{run.cpu}: answers", value="wrong", note=run.reason),)
    top1 = "" if run.top1_ratio is None else f"{text.share(run.top1_ratio)} the same best class, "
    off = f"off by {text.number(run.max_abs_error or 0)} of {text.number(run.atol or 0)}"
    counts, ratio = run.count.runs, run.count.ratio
    spread = f"[{min(counts) / 1e6:.2f}, {max(counts) / 1e6:.2f}] M, n={len(counts)}, {run.emulator}"
    return (
        Fact(
            label=f"{run.cpu}: values bit-equal to this machine's",
            value=MISSING if run.equal_ratio is None else text.share(run.equal_ratio),
            note=f"{top1}{off}, n={run.samples}",
        ),
        Fact(
            label=f"{run.cpu}: instructions of an inference",
            value=f"{run.count.instructions_per_inference / 1e6:.2f} M"
            + ("" if ratio is None else f", {text.times(ratio)} of float's"),
            note=spread,
        ),
    )
