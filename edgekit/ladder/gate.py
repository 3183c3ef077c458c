"""The gate: is this attempt good enough to ship? A pure function of what was measured.

It never decides on a number that was not measured on the target's own kind of machine: such limits are listed
as `not_measured` and the decision rests on accuracy, size and the precision lint.
"""

import math
from typing import NamedTuple

from edgekit.ladder import emulation_gate, floor
from edgekit.records import Artifact, Budget, Decision, Measurement, Shortfall, Verdict

# A difference within this of the limit is not told apart from noise: the whole 95 % interval must lie beyond it.
SPEED_TOLERANCE_RATIO = 0.02
ROUNDING = 1e-9  # 0.9 - 0.89 is a little more than 0.01 in binary
MIN_GAIN = 0.1  # of float's bytes: less is names and padding
PROMISE = "precision lint"
LITTLE_GAIN = "gain"  # what a shortfall of it is called
MOST_SAMPLES = 1e6  # a data set larger than this is no advice
SMALL_DROP = 0.001  # what a limit of 0 is counted as where drops are compared


MEASURED = {
    "mask": "intersection over union of classes",
    "boxes": "boxes found by both",
    "psnr": "one less the error as a share of the range",
    "cosine": "cosine",
    "sequence": "edit distance of the best symbols",
    "ctc": "edit distance of the lines",
    "correlation": "correlation",
    "equal": "equal numbers",
}


class Failure(NamedTuple):
    """A limit that is broken.

    Attributes:
        why: In words.
        shortfall: In figures.
    """

    why: str
    shortfall: Shortfall


def decide(
    budget: Budget, artifact: Artifact, baseline: Artifact, verdict: Verdict, measurement: Measurement
) -> Decision:
    """Accepts the attempt, or lists every limit it breaks.

    Args:
        budget: The limits.
        artifact: The file to judge.
        baseline: The float file of the same format.
        verdict: What executing the artifact proved.
        measurement: What timing it found.
    """
    failures = [
        *_accuracy(budget, verdict),
        *_agreement(budget, verdict),
        *(Failure(f"floor: {why}", shortfall) for why, shortfall in floor.broken(budget, verdict)),
        *_promise(verdict),
        *_size(budget, artifact),
        *_gain(artifact, baseline, measurement),
        *(Failure(why, shortfall) for why, shortfall in emulation_gate.broken(measurement)),
    ]
    speed_failures, not_measured = speed(budget, measurement)
    failures += speed_failures
    return Decision(
        accepted=not failures,
        reasons=tuple(f.why for f in failures) or (_why(artifact, verdict, measurement),),
        doubts=(*_too_few(budget, verdict), *(() if failures else floor.lowered(budget, verdict))),
        not_measured=tuple(not_measured),
        shortfalls=tuple(f.shortfall for f in failures),
    )


def _above(limit: str, allowed: float, found: float) -> Shortfall:
    """Describes a figure above its limit."""
    return Shortfall(limit=limit, allowed=allowed, found=found, excess=found / allowed - 1)


def _accuracy(budget: Budget, verdict: Verdict) -> list[Failure]:
    if verdict.drop <= budget.max_drop + ROUNDING:
        return []
    why = (
        f"metric {verdict.metric:.4f} is {verdict.drop:.4f} below float's {verdict.float_metric:.4f}; "
        f"the budget allows {budget.max_drop:g} (n={verdict.scored})"
    )
    excess = (verdict.drop - budget.max_drop) / max(budget.max_drop, SMALL_DROP)
    shortfall = Shortfall(limit="max_drop", allowed=budget.max_drop, found=verdict.drop, excess=excess)
    return [Failure(why, shortfall)]


def _too_few(budget: Budget, verdict: Verdict) -> list[str]:
    """Says so where the samples of the metric are too few to tell on which side of the budget the drop lies."""
    flips = verdict.flips
    if flips is None or not flips.drop_low <= budget.max_drop < flips.drop_high:
        return []
    reach = (
        flips.drop_high - verdict.drop if verdict.drop <= budget.max_drop else verdict.drop - flips.drop_low
    )
    away = abs(budget.max_drop - verdict.drop)
    needed = flips.samples * (reach / away) ** 2 if away > ROUNDING else math.inf
    enough = f"; about {needed:.1g} would do" if needed < MOST_SAMPLES else ""
    return [
        f"{flips.samples} samples are too few to tell: {flips.lost} answers lost and {flips.gained} gained put the drop between "
        f"{flips.drop_low:+.4f} and {flips.drop_high:+.4f} (95 %), and the budget allows {budget.max_drop:g}{enough}"
    ]


def _agreement(budget: Budget, verdict: Verdict) -> list[Failure]:
    wanted, found = budget.min_agreement, verdict.parity.agreement
    if wanted is None or (found is not None and found >= wanted - ROUNDING):
        return []
    if found is None:
        why = (
            "no output was compared by a measure of its own (each is constant, or was not asked), so that agreement with float, "
            "which the budget limits, has no meaning: leave min_agreement out"
        )
        return [Failure(why, Shortfall(limit="min_agreement", allowed=wanted))]
    why = f"{_agreed(verdict, found)}; the budget asks for {wanted:.2%} (n={verdict.parity.samples})"
    excess = (wanted - found) / wanted
    return [Failure(why, Shortfall(limit="min_agreement", allowed=wanted, found=found, excess=excess))]


def _agreed(verdict: Verdict, found: float) -> str:
    """Says which output agrees least, and by what measure."""
    output = next((o for o in verdict.parity.outputs if o.agreement == found), None)
    if output is None or output.measure in ("", "top1"):
        return f"{found:.2%} of the samples get float's answer"
    more = f" ({output.psnr_db:.1f} dB)" if output.psnr_db is not None else ""
    return (
        f"output {output.name} agrees with float by {found:.2%}, measured as {MEASURED[output.measure]}{more}"
    )


def _promise(verdict: Verdict) -> list[Failure]:
    failures = [
        Failure(f"precision lint: {finding}", Shortfall(limit=PROMISE)) for finding in verdict.lint.findings
    ]
    if verdict.saturation is not None and verdict.saturation.can_saturate:
        why = f"saturation: {verdict.saturation.conclusion}"
        failures.append(Failure(why, Shortfall(limit="saturation")))
    return failures


def _size(budget: Budget, artifact: Artifact) -> list[Failure]:
    size = artifact.size_bytes
    if budget.max_size_bytes is None or size <= budget.max_size_bytes:
        return []
    why = f"{size} bytes exceed the budget of {budget.max_size_bytes}"
    return [Failure(why, _above("max_size_bytes", budget.max_size_bytes, size))]


def _gain(artifact: Artifact, baseline: Artifact, m: Measurement) -> list[Failure]:
    """Checks that a compressed file is smaller than float's by a tenth, or faster where that was measured on the target."""
    size, most = artifact.size_bytes, int(baseline.size_bytes * (1 - MIN_GAIN))
    faster = (
        m.on_target
        and not m.faster_than_serving_isa
        and m.cpu_ratio_high is not None
        and m.cpu_ratio_high < 1
    )
    if artifact.precision == "float32" or size <= most or faster:
        return []
    time = (
        "it was not measured to be faster"
        if not m.on_target or m.cpu_ratio is None
        else "it is not surely faster"
    )
    why = f"nothing is gained: {size} bytes are not a tenth smaller than float's {baseline.size_bytes}, and {time}"
    return [Failure(why, _above(LITTLE_GAIN, most, size))]


def speed(budget: Budget, m: Measurement) -> tuple[list[Failure], list[str]]:
    """Returns the limits that are broken, and those that could not be judged."""
    figures: dict[str, float | None] = {"speed against float": m.cpu_ratio}
    if budget.max_latency_s is not None:
        figures["latency"] = m.cpu_s
    if budget.max_memory_bytes is not None:
        figures["peak memory"] = m.peak_memory_bytes
    if not m.on_target:
        return [], [f"{name}: {m.reason}" for name in figures]
    failures = [*_too_slow(budget, m), *_too_much(budget, m)]
    missing = [f"{name}: no figure from {m.measured_on}" for name, value in figures.items() if value is None]
    if m.faster_than_serving_isa:
        missing += [
            f"{name} on the serving level: {m.measured_on} multiplies int8 faster" for name in figures
        ]
    return failures, missing


def _too_slow(budget: Budget, m: Measurement) -> list[Failure]:
    """Judges the speed limit by the machine that measured.

    A machine like the serving one refuses what is surely slower; a stronger one also what is not surely faster.
    """
    if m.cpu_ratio is None or m.cpu_ratio_low is None or m.cpu_ratio_high is None or not budget.min_speedup:
        return []
    limit = 1 / budget.min_speedup
    asked = "" if budget.min_speedup == 1 else f", at most {limit:.2f} is asked"
    figures = (
        f"{m.cpu_ratio:.2f} of float's CPU time [{m.cpu_ratio_low:.2f}, {m.cpu_ratio_high:.2f}] "
        f"on {m.measured_on} (n={m.rounds} rounds){asked}"
    )
    shortfall = Shortfall(
        limit="min_speedup",
        allowed=budget.min_speedup,
        found=1 / m.cpu_ratio,
        excess=max(m.cpu_ratio / limit - 1, 0),
    )
    if m.cpu_ratio_low > limit * (1 + SPEED_TOLERANCE_RATIO):
        why = f"slower than float: {figures}" if budget.min_speedup <= 1 else f"too slow: {figures}"
        return [Failure(why, shortfall)]
    if m.faster_than_serving_isa and m.cpu_ratio_high > limit:
        why = f"not surely faster than float even here, and int8 is slower on the serving level: {figures}"
        return [Failure(why, shortfall)]
    return []


def _too_much(budget: Budget, m: Measurement) -> list[Failure]:
    failures = []
    if budget.max_latency_s is not None and m.cpu_s is not None and m.cpu_s > budget.max_latency_s:
        why = f"{m.cpu_s * 1e3:.2f} ms CPU exceed the budget of {budget.max_latency_s * 1e3:.2f} ms"
        failures.append(Failure(why, _above("max_latency_s", budget.max_latency_s, m.cpu_s)))
    peak = m.peak_memory_bytes
    if budget.max_memory_bytes is not None and peak is not None and peak > budget.max_memory_bytes:
        why = f"peak memory of {peak} bytes exceeds the budget of {budget.max_memory_bytes}"
        failures.append(Failure(why, _above("max_memory_bytes", budget.max_memory_bytes, peak)))
    return failures


def _why(artifact: Artifact, verdict: Verdict, m: Measurement) -> str:
    change = f"metric {-verdict.drop:+.4f}" if verdict.drop else "no drop"
    speed = f", {m.cpu_ratio:.2f} of float's CPU time" if m.on_target and m.cpu_ratio is not None else ""
    called = verdict.lint.called
    name = "" if called in ("", artifact.precision) else f"; {called}"
    compared = verdict.parity.samples
    parity = "" if compared == verdict.scored else f", parity on {compared}"
    return f"within the budget: {change} on {verdict.scored} samples{parity}{speed}{name}"
