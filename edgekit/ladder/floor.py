"""The floor under the metric: what every output must keep to float, wherever the metric looks. Pure functions.

A metric may look at one part of what a model answers. So each output, and each channel of it, is compared with float on the
metric's samples (`edgekit.verify.outputs`), and an artifact below the floor is refused whatever the metric says. The limits
rest on `benchmarks/floor.py`: right artifacts keep more, those of untrained nets by a thin margin; wrong ones that an output
depends on strongly keep less, or have stuck values or lost channels. A file made of a quantized program is held to it as well: what
the program kept on a few samples of the metric and the file did not was lost in converting. What neither finds hardly affects
an output, and is left to the metric.

Steps that change the network (prune, distill) change what it answers: their file is held to this floor against the
program that they made, and to the float model by correlation alone.
"""

from collections.abc import Iterator, Sequence

from edgekit.records import Budget, OutputParity, Shortfall, Verdict

SNR_DB = 7.0
CORRELATION = 0.7
CHANGED_CORRELATION = 0.5  # of an output to the float model's, where steps changed the network on purpose
PROMISE_DB = 10.0  # a file may keep this much less than its quantized program: kernels round differently
PLAIN_DB = 30.0  # above it, 3 % of the signal, no loss counts
STUCK_RATIO = 0.25  # of a channel's values at an end of the artifact's range where float has others
LOST_RATIO = 0.2  # of the channels of a wide output may be lost: most of them hardly ever fire
FEW_SLICES = 32  # in an output with no more channels than this, none may be lost
NAMED = 3

Broken = tuple[str, Shortfall]


def broken(budget: Budget, verdict: Verdict) -> list[Broken]:
    """Returns what an artifact breaks of the floor that the budget asks for, in words and in figures."""
    return [] if budget.floor == "off" else list(_broken(verdict, _least_db(budget)))


def lowered(budget: Budget, verdict: Verdict) -> tuple[str, ...]:
    """Returns what would have been refused, had the budget not lowered the floor."""
    if budget.floor == "on" and budget.min_snr_db is None:
        return ()
    kept = {why for why, _ in broken(budget, verdict)}
    word = "floor = off" if budget.floor == "off" else f"min_snr_db = {budget.min_snr_db:g}"
    usual = _broken(verdict, max(SNR_DB, _least_db(budget)))
    return tuple(f"{why}; let pass by the budget's {word}" for why, _ in usual if why not in kept)


def _lost_in_converting(verdict: Verdict) -> Iterator[Broken]:
    names = [output.name for output in verdict.parity.outputs]
    for name, promised, kept in zip(names, verdict.promised_db, verdict.kept_db, strict=False):
        yield from judge_promise(name, promised, kept)


def judge_promise(name: str, promised: float | None, kept: float | None) -> Iterator[Broken]:
    """Yields what one output lost on the way from the quantized program to the file.

    Args:
        name: The name of the output.
        promised: What the program keeps to float, in dB; None where that is not known.
        kept: What the file keeps on the same samples, in dB.
    """
    if promised is None or kept is None:
        return
    least = min(promised - PROMISE_DB, PLAIN_DB)
    if kept < least:
        why = (
            f"output {name} keeps {kept:.1f} dB to float where the quantized program that the file was made of keeps {promised:.1f} dB: "
            "something was lost in converting"
        )
        yield why, Shortfall(limit="floor", allowed=least, found=kept, excess=_excess(least, kept))


def _least_db(budget: Budget) -> float:
    return SNR_DB if budget.min_snr_db is None else budget.min_snr_db


def _broken(verdict: Verdict, least_db: float) -> Iterator[Broken]:
    yield from _lost_in_converting(verdict)
    own = verdict.program_parity
    outputs, of = (verdict.parity.outputs, "float") if own is None else (own.outputs, "its own float program")
    samples = verdict.parity.samples if own is None else own.samples
    for output in outputs:
        for why, shortfall in judge(output, least_db, of):
            yield f"{why} (n={samples})", shortfall
    if own is not None:
        for output in verdict.parity.outputs:
            yield from _unlike(output, CHANGED_CORRELATION, "float", verdict.parity.samples)


def judge(output: OutputParity, least_db: float = SNR_DB, of: str = "float") -> Iterator[Broken]:
    """Yields what one output breaks of the floor.

    Args:
        output: The output beside what it is compared with.
        least_db: What it must keep, in dB.
        of: What it is compared with, in words.
    """
    if output.equal_ratio is not None or not output.slices:  # integers, or nothing that could be compared
        return
    if output.snr_db is None:
        return
    name = f"output {output.name}"
    if output.snr_db < least_db:
        shortfall = Shortfall(
            limit="floor", allowed=least_db, found=output.snr_db, excess=_excess(least_db, output.snr_db)
        )
        yield f"{name} keeps {output.snr_db:.1f} dB to {of}; the floor is {least_db:g} dB", shortfall
    if output.stuck_ratio > STUCK_RATIO:
        why = f"{output.stuck_ratio:.0%} of the values of a channel of {name} sit at one end of its range where {of} has others"
        yield why, Shortfall(limit="floor", allowed=STUCK_RATIO, found=output.stuck_ratio)
    if output.correlation is not None and output.correlation < CORRELATION:
        why = f"{name} is correlated with {of} by {output.correlation:.2f}; the floor is {CORRELATION}"
        yield why, Shortfall(limit="floor", allowed=CORRELATION, found=output.correlation)
    if _too_many(output):
        yield (
            f"no signal is left in {_channels(output.lost)} of {name}: one scale for all hides it",
            Shortfall(limit="floor"),
        )


def _too_many(output: OutputParity) -> bool:
    allowed = 0 if output.slices <= FEW_SLICES else LOST_RATIO * output.slices
    return len(output.lost) > allowed


def _unlike(output: OutputParity, least: float, of: str, samples: int) -> Iterator[Broken]:
    if output.equal_ratio is None and output.correlation is not None and output.correlation < least:
        why = f"output {output.name} is correlated with {of} by {output.correlation:.2f}; the floor after steps that change the network is {least} (n={samples})"
        yield why, Shortfall(limit="floor", allowed=least, found=output.correlation)


def _excess(allowed: float, found: float) -> float | None:
    return (allowed - found) / allowed if allowed > 0 else None


def _channels(lost: Sequence[int]) -> str:
    shown = ", ".join(map(str, lost[:NAMED]))
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    return f"channel {shown}" if len(lost) == 1 else f"channels {shown}{more}"
