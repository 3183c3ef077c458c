"""One repetition: one artifact in this fresh process, phase by phase.

baseline (numpy only) -> import the runtime -> load -> first inference -> golden -> warm-up -> timed loop.
The golden and the hash are read before the baseline, so they do not count as the model's memory; memory
ends with the warm-up, so that the samples of the timed loop do not count either. `check` stops there.
The loop is enclosed by a `Window` of counters that say whether the machine left it alone; `repeat` makes
one record of several repetitions.
"""

import gc
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from edgekit_runner import artifact, backends, golden
from edgekit_runner.errors import RunnerError
from edgekit_runner.host import affinity, capacity, environment, memory
from edgekit_runner.host.sensors import EnergyCounter
from edgekit_runner.kinds import _batch
from edgekit_runner.protocol import describe as protocol
from edgekit_runner.record import Record
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts, quantiles
from edgekit_runner.stats.validity import judge
from edgekit_runner.stats.window import Window

_COPIES_COUNT = 20
_MOST_RUNS_COUNT = 200_000


class Probe:
    """Time and memory of phases. The clocks stop before the memory is read."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}
        self.samples: dict[str, memory.Memory] = {"baseline": memory.sample()}
        self._reset = True

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds `<name>_s` and `<name>_cpu_s`, and a memory sample whose peak is since the phase began."""
        self._reset = memory.reset_peak() and self._reset
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        yield
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        self.times |= {f"{name}_s": wall / 1e9, f"{name}_cpu_s": cpu / 1e9}
        self.samples[name] = memory.sample()

    def memory_table(self) -> dict[str, Any]:
        """Every phase raw and over the baseline, and the highest peak of all phases."""
        base = self.samples["baseline"]
        later = {name: s for name, s in self.samples.items() if name != "baseline"}
        peaks = [s.peak_bytes for s in later.values() if s.peak_bytes is not None]
        peak = max(peaks) if len(peaks) == len(later) else None
        over = None if peak is None or base.rss_bytes is None else peak - base.rss_bytes
        return {
            "peak_bytes": peak,
            "peak_over_baseline_bytes": over,
            "peak_reset": "done" if self._reset else "refused",
            "phases": {name: asdict(s) for name, s in self.samples.items()},
            "over_baseline": {name: s.minus(base) for name, s in later.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The timed loop: wall and CPU nanoseconds of each run, what ended it, and what the counters saw."""

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    duration_s: float
    stopped_by: str
    window: dict[str, Any]
    energy: dict[str, Any]

    @property
    def wall_s(self) -> tuple[float, ...]:
        """Seconds of each run."""
        return tuple(value / 1e9 for value in self.wall_ns)

    @property
    def cpu_s(self) -> tuple[float, ...]:
        """CPU seconds of each run."""
        return tuple(value / 1e9 for value in self.cpu_ns)


def run(spec: Spec, record: Record) -> None:
    """Fills the record as far as it comes. Raises `RunnerError`."""
    with opened(spec, record) as (session, feeds):
        if spec.kind == "check":
            if spec.profile:
                _profile(spec, feeds, record)
            return
        samples = time_runs(session, spec)
        record["latency"] = _latency(session, feeds, samples)
        record["energy"] = samples.energy
        record["samples"] = {"wall_ns": samples.wall_ns, "cpu_ns": samples.cpu_ns}
        record["processes"] = [_summary(samples, spec.threads_count, record["memory"])]
    record["doubts"] += doubts.of_latency(record["latency"])


def _profile(spec: Spec, feeds: "backends.Arrays", record: Record) -> None:
    """Fills `profile`, and adds to the placement how many nodes ran where."""
    from edgekit_runner.kinds import _operator_times  # never beside a timed loop

    backend = backends.find(spec.artifact, spec.format)
    found = _operator_times.profile(
        backend, spec.artifact, spec.threads_count, spec.options, feeds, _operator_times.RUNS_COUNT
    )
    placed = found.pop("placement")
    record["profile"] = found
    record["runtime"]["placement"] |= {
        "nodes": placed["nodes"], "nodes_source": placed["source"], "nodes_reason": placed["reason"],
    }  # fmt: skip


@contextmanager
def opened(spec: Spec, record: Record) -> Iterator[tuple[backends.Session, "backends.Arrays"]]:
    """All phases up to the warm-up: an artifact that is loaded, proven and warm, with its feeds; the head of
    the record and its memory are filled in, also when a phase fails. Raises `RunnerError`.
    """
    backend = backends.find(spec.artifact, spec.format)
    record["environment"] = environment.describe()
    record["protocol"] = protocol(spec)
    record["doubts"] += doubts.of_environment(record["environment"], spec.threads_count)
    record["doubts"] += doubts.of_golden(spec.golden, "artifact", spec.seed)
    record["artifact"] = asdict(artifact.describe(spec.artifact, backend.FORMAT))
    capacity.memory_guard(record["artifact"]["size_bytes"])
    expected = None if spec.golden is None else golden.load(spec.golden)
    if spec.affinity is not None:
        affinity.apply(affinity.resolve(spec.affinity))
    probe = Probe()
    try:
        session, feeds = _phases(spec, backend, expected, probe, record)
    finally:
        record["phases"] = probe.times or None
        record["memory"] = probe.memory_table() if probe.times else None
    record["doubts"] += [*doubts.of_memory(record["memory"]), doubts.WARM_CACHE]
    yield session, feeds


def _phases(
    spec: Spec, backend: Any, expected: golden.Golden | None, probe: Probe, record: Record
) -> tuple[backends.Session, "backends.Arrays"]:
    with probe.phase("import"):
        version = backend.load_runtime()
    record["runtime"] = {"name": backend.RUNTIME, "version": version, "placement": None}
    with probe.phase("load"):
        session = backend.open(spec.artifact, spec.threads_count, spec.options)
    record["inputs"] = [asdict(info) for info in session.inputs]
    record["outputs"] = [asdict(info) for info in session.outputs]
    feeds = first_feeds(session, expected, spec.seed)
    with probe.phase("first_inference"):
        outputs = session.run(feeds)
    record["runtime"]["placement"] = session.placement()
    record["golden"] = asdict(prove(session, outputs, expected, spec.golden_atol))
    if spec.batch_count is not None:
        feeds = _batch.with_batch(session.inputs, feeds, spec.batch_count)
    with probe.phase("warmup"):
        warmed = warm_up(session, feeds, spec)
    probe.times["warmup_runs_count"] = warmed
    return session, feeds


def first_feeds(session: backends.Session, expected: golden.Golden | None, seed: int) -> "backends.Arrays":
    """The golden input of the first slice, or seeded random input."""
    if expected is None:
        return golden.random_inputs(session.inputs, seed)
    return next(golden.slices(expected, session))[0]


def prove(
    session: backends.Session, outputs: "backends.Arrays", expected: golden.Golden | None, atol: float | None
) -> golden.GoldenResult:
    """NaN check always, golden check where there is one. Raises `VerificationError`."""
    if expected is None:
        golden.refuse_nan(outputs)
        return golden.ABSENT
    return golden.check(session, expected, atol)


def warm_up(session: backends.Session, feeds: "backends.Arrays", spec: Spec) -> int:
    """Fixed and stated: at least `warmup_count` runs and `warmup_s` seconds. Returns the runs. Not "until
    stable", which would make two measurements incomparable.
    """
    session.feed(feeds)
    end = time.perf_counter() + spec.warmup_s
    count = 0
    while count < spec.warmup_count or time.perf_counter() < end:
        session.invoke()
        count += 1
    return count


def time_runs(session: backends.Session, spec: Spec) -> Samples:
    """Times `invoke` alone until both minima are met, or the maximum is, with the garbage collector off."""
    wall, cpu = array("q"), array("q")
    invoke, wall_now, cpu_now = session.invoke, time.perf_counter_ns, time.process_time_ns
    window, energy = Window(), EnergyCounter()
    gc.collect()
    gc.disable()
    energy.begin()
    window.begin()
    try:
        begin = wall_now()
        least, most = begin + int(spec.min_duration_s * 1e9), begin + int(spec.max_duration_s * 1e9)
        end = begin
        while (
            end < most and (len(wall) < spec.min_runs_count or end < least) and len(wall) < _MOST_RUNS_COUNT
        ):
            c0 = cpu_now()
            t0 = wall_now()
            invoke()
            end = wall_now()
            wall.append(end - t0)
            cpu.append(cpu_now() - c0)
    finally:
        gc.enable()
    seen, used = window.end(), energy.end()
    if not wall:
        raise RunnerError("no run fitted into max_duration_s; raise it.")
    done = len(wall) >= min(spec.min_runs_count, _MOST_RUNS_COUNT)
    return Samples(
        wall_ns=tuple(wall),
        cpu_ns=tuple(cpu),
        duration_s=(end - begin) / 1e9,
        stopped_by="min_runs_count and min_duration_s" if done else "max_duration_s",
        window=seen,
        energy=used,
    )


def _latency(session: backends.Session, feeds: "backends.Arrays", samples: Samples) -> dict[str, Any]:
    copy_in, copy_out = _copies(session, feeds)
    return {
        **quantiles.summary_s(samples.wall_s),
        "duration_s": samples.duration_s,
        "stopped_by": samples.stopped_by,
        "input_copy_p50_s": copy_in,
        "output_copy_p50_s": copy_out,
    }


def _summary(samples: Samples, threads_count: int, weights: dict[str, Any]) -> dict[str, Any]:
    """What this process adds to `processes` of the combined record."""
    wall, cpu = samples.wall_s, samples.cpu_s
    third = max(1, len(wall) // 3)
    verdict = judge(
        samples.window,
        threads_count,
        quantiles.median(wall[:third]),
        quantiles.median(wall[-third:]),
        quantiles.median(cpu[:third]),
        quantiles.median(cpu[-third:]),
    )
    return {
        "runs_count": len(wall),
        "p50_s": quantiles.median(wall),
        "min_s": min(wall),
        "cpu_p50_s": quantiles.median(cpu),
        "cpu_min_s": min(cpu),
        "wall_cpu_ratio": sum(wall) / sum(cpu) if sum(cpu) else None,
        "peak_bytes": weights["peak_bytes"],
        "peak_over_baseline_bytes": weights["peak_over_baseline_bytes"],
        "window": samples.window,
        **asdict(verdict),
    }


def _copies(session: backends.Session, feeds: "backends.Arrays") -> tuple[float, float]:
    """Median seconds to hand the inputs over and to take the outputs back."""
    times_in, times_out = [], []
    for _ in range(_COPIES_COUNT):
        start = time.perf_counter_ns()
        session.feed(feeds)
        middle = time.perf_counter_ns()
        session.fetch()
        times_in.append((middle - start) / 1e9)
        times_out.append((time.perf_counter_ns() - middle) / 1e9)
    return quantiles.median(times_in), quantiles.median(times_out)
