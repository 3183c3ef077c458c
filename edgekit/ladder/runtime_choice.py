"""Which runtime serves an accepted file best: a pure function of what each of them proved and measured.

The target's own runtime decides whether a file is accepted, and stays the one that is named unless another keeps every limit
and is surely faster: its whole 95 % interval below the other's, both against the same float file, in turns.
"""

from collections.abc import Sequence

from edgekit.formats import RUNTIMES
from edgekit.records import Decision, Measurement, RuntimeChoice, RuntimeTrial, Verdict
from edgekit.report import text


def trial(
    runtime: str, version: str, decision: Decision, verdict: Verdict, measurement: Measurement
) -> RuntimeTrial:
    """Puts together what one runtime proved and took."""
    timed = measurement if measurement.on_target else None
    return RuntimeTrial(
        runtime=runtime,
        version=version,
        accepted=decision.accepted,
        reason="; ".join(decision.reasons),
        metric=verdict.metric,
        agreement=verdict.parity.agreement,
        snr_db=verdict.parity.snr_db,
        share=verdict.lint.share,
        cpu_ratio=timed.cpu_ratio if timed else None,
        cpu_ratio_low=timed.cpu_ratio_low if timed else None,
        cpu_ratio_high=timed.cpu_ratio_high if timed else None,
        cpu_s=timed.cpu_s if timed else None,
        measured_on=measurement.measured_on,
        min_version=RUNTIMES[runtime].oldest,
    )


def untried(runtime: str, packages: Sequence[str]) -> RuntimeTrial:
    """A runtime that is not installed."""
    return RuntimeTrial(
        runtime=runtime,
        accepted=False,
        min_version=RUNTIMES[runtime].oldest,
        reason=f"not tried: it is not installed; pip install {' '.join(packages)}",
    )


def choose(trials: Sequence[RuntimeTrial]) -> RuntimeChoice:
    """Names the fastest of the runtimes that keep every limit.

    Args:
        trials: The target's own runtime first.
    """
    own, others = trials[0], trials[1:]
    faster = [other for other in others if other.accepted and _is_surely_faster(other, own)]
    best = min(faster, key=lambda each: each.cpu_ratio or 0.0, default=own)
    compared = [best, *(each for each in trials if each is not best)]
    return RuntimeChoice(
        fastest=best.runtime,
        reason="; ".join(_said(each, best, own) for each in compared),
        trials=tuple(trials),
    )


def _is_surely_faster(one: RuntimeTrial, other: RuntimeTrial) -> bool:
    high, low = one.cpu_ratio_high, other.cpu_ratio_low
    return high is not None and low is not None and high < low


def _said(each: RuntimeTrial, best: RuntimeTrial, own: RuntimeTrial) -> str:
    if each is best:
        return (
            f"fastest in {each.runtime}{_figures(each)}"
            if each is not own
            else f"served by {each.runtime}{_figures(each)}"
        )
    if each is own:
        return f"in {each.runtime}{_figures(each)}"
    if not each.accepted:
        return f"{each.runtime}: {each.reason}"
    said = "not the fastest" if _is_surely_faster(each, own) else "not surely faster"
    return f"{said} in {each.runtime}{_figures(each)}"


def _figures(each: RuntimeTrial) -> str:
    if each.cpu_ratio is None:
        return ", not measured"
    interval = text.interval(each.cpu_ratio_low, each.cpu_ratio_high)
    return f", {text.times(each.cpu_ratio)} {interval} of float's CPU time"
