"""Where a long run became slower for good, and what the sensors and counters show about the reason.

A bucket is a dict with `start_s`, `duration_s`, `wall_p50_s`, `cpu_p50_s`, `frequency_hz`,
`temperature_celsius` and the deltas of its `window`. The throttle point is where the first bucket begins from
which on every bucket's median stays at least 10 % above the median of the first five, by wall or by CPU
time. A cause is named only where something shows it, and work of others is always asked about: it looks the
same from within. Pure functions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from edgekit_runner.stats import quantiles
from edgekit_runner.stats.validity import Verdict, judge

SLOWER_RATIO = 1.10
REFERENCE_COUNT = 5
LASTING_COUNT = 3  # a slow last bucket or two is an incident, not a state
CLOCK_FELL_RATIO = 0.95
WARMER_CELSIUS = 5.0
_SUMMED = ("_s", "_count")
_STATES = ("usable_cpu_count",)
_SENSORS = {"frequency_hz": "clock frequency", "temperature_celsius": "thermal sensor"}

Bucket = Mapping[str, Any]


def slower_from(medians_s: Sequence[float]) -> int | None:
    """The index of the first bucket from which on all stay 10 % above the median of the first five.

    Returns:
        None where there is none, or where fewer than three are left to show that it lasts.
    """
    limit = SLOWER_RATIO * quantiles.median(medians_s[:REFERENCE_COUNT])
    start = len(medians_s)
    while start and medians_s[start - 1] >= limit:
        start -= 1
    return start if len(medians_s) - start >= LASTING_COUNT else None


def diagnose(buckets: Sequence[Bucket], threads_count: int, limit_celsius: float | None) -> dict[str, Any]:
    """Looks for a lasting slowdown and its causes.

    Args:
        buckets: The run, see the head of this module.
        threads_count: Threads of the runtime.
        limit_celsius: Where the kernel begins to throttle, as far as it says so.

    Returns:
        `throttle_point_s` (None: no lasting slowdown was seen), `throttle_causes` (of "clock", "heat" and "others" those
        that something shows, maybe none) and `throttle_reason`, a sentence.
    """
    least = REFERENCE_COUNT + LASTING_COUNT
    if len(buckets) < least:
        return _answer(f"{len(buckets)} buckets are too few to tell: {least} are needed.")
    of_cpu, of_wall = (slower_from([b[f"{clock}_p50_s"] for b in buckets]) for clock in ("cpu", "wall"))
    found = [start for start in (of_cpu, of_wall) if start is not None]
    if not found:
        seconds = buckets[-1]["start_s"] + buckets[-1]["duration_s"]
        blind = blindness(buckets)
        return _answer(f"no lasting slowdown of 10 % in {seconds:.3g} s{'; ' if blind else ''}{blind}.")
    start = min(found)
    causes, said = _evidence(buckets, start, threads_count, limit_celsius)
    if of_cpu is None:
        said.append("CPU time did not rise with it, so the runs waited and the processor was not slower")
    if not causes:
        blind = blindness(buckets)
        said.append(f"{blind}, so the cause is unknown" if blind else "no sensor shows why")
    point = buckets[start]["start_s"]
    sentence = f"slower from {point:.3g} s on{_amount(buckets, start)}; {'; '.join(said)}."
    return _answer(sentence, point, causes)


def merged(windows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One window of several that follow each other: sums, and the states of the first and the last."""
    out: dict[str, Any] = {}
    for key in windows[0]:
        values = [window[key] for window in windows]
        if key.endswith(_SUMMED) and key not in _STATES:
            out[key] = None if None in values else sum(values)
        else:
            out[key] = values[-1] if "_end_" in key else values[0]
    return out


def judged(buckets: Sequence[Bucket], threads_count: int) -> Verdict:
    """Whether others disturbed these buckets.

    The drift of the samples and the clock are left out: they are the finding here, not a disturbance of it.
    """
    window = merged([bucket["window"] for bucket in buckets])
    window["frequency_end_hz"] = window["frequency_start_hz"]
    wall, cpu = buckets[0]["wall_p50_s"], buckets[0]["cpu_p50_s"]
    return judge(window, threads_count, wall, wall, cpu, cpu)


def blindness(buckets: Sequence[Bucket]) -> str:
    """ "no thermal sensor is readable", for what this system does not show; "" where it shows all."""
    blind = [name for key, name in _SENSORS.items() if all(bucket[key] is None for bucket in buckets)]
    return f"no {' and no '.join(blind)} is readable" if blind else ""


def _answer(
    reason: str, point_s: float | None = None, causes: Sequence[str] = ()
) -> dict[str, float | str | list[str] | None]:
    return {"throttle_point_s": point_s, "throttle_causes": list(causes), "throttle_reason": reason}


def _amount(buckets: Sequence[Bucket], start: int) -> str:
    """ " (wall time +23 %, CPU time +22 %)": after against before."""
    parts = []
    for clock, name in (("wall", "wall time"), ("cpu", "CPU time")):
        values = [bucket[f"{clock}_p50_s"] for bucket in buckets]
        before = quantiles.median(values[:REFERENCE_COUNT])
        if before:
            parts.append(f"{name} {100 * quantiles.median(values[start:]) / before - 100:+.0f} %")
    return f" ({', '.join(parts)})"


def _evidence(
    buckets: Sequence[Bucket], start: int, threads_count: int, limit_celsius: float | None
) -> tuple[list[str], list[str]]:
    """The causes that something shows for the time from bucket `start` on, and what shows them."""
    causes, said = [], []
    clock, heat = (_change(buckets, start, key) for key in _SENSORS)
    if clock and clock[1] < CLOCK_FELL_RATIO * clock[0]:
        causes.append("clock")
        said.append(f"the clock fell from {clock[0] / 1e9:.3g} to {clock[1] / 1e9:.3g} GHz")
    if heat and (clock is None or causes) and _hot(*heat, limit_celsius):
        causes.append("heat")
        limit = "" if limit_celsius is None else f" (throttling begins at {limit_celsius:.0f})"
        said.append(f"the hottest zone went from {heat[0]:.0f} to {heat[1]:.0f} degrees Celsius{limit}")
    others = judged(buckets[start:], threads_count)
    if others.external:
        which = "another" if causes else "a"
        causes.append("others")
        said.append(f"work of others is {which} possible cause: {' '.join(others.causes).removesuffix('.')}")
    return causes, said


def _hot(before_celsius: float, after_celsius: float, limit_celsius: float | None) -> bool:
    at_limit = limit_celsius is not None and after_celsius >= limit_celsius
    return at_limit or after_celsius - before_celsius >= WARMER_CELSIUS


def _change(buckets: Sequence[Bucket], start: int, key: str) -> tuple[float, float] | None:
    """The median of a sensor in the first buckets and from `start` on; None where it cannot be read."""
    before = [bucket[key] for bucket in buckets[:REFERENCE_COUNT] if bucket[key] is not None]
    after = [bucket[key] for bucket in buckets[start:] if bucket[key] is not None]
    return (quantiles.median(before), quantiles.median(after)) if before and after else None
