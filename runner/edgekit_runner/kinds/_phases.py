"""What a worker does before it measures: one artifact in this fresh process, phase by phase.

baseline (numpy only) -> import the runtime -> load -> first inference -> golden -> warm-up. The golden and the hash are
read before the baseline, so they do not count as the model's memory; memory ends with the warm-up, so that the samples
of a timed loop do not count either.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from edgekit_runner import artifact, backends, feeds
from edgekit_runner.backends import Arrays, Session
from edgekit_runner.golden import archive, proof
from edgekit_runner.host import affinity, capacity, environment, memory
from edgekit_runner.kinds import _stream
from edgekit_runner.record import Head, OneArtifact
from edgekit_runner.spec import Spec
from edgekit_runner.stats import doubts


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


def begin(spec: Spec, record: Head) -> None:
    """Fills `environment` and `protocol`, and the doubts about the machine."""
    found = record["environment"] = environment.describe()
    record["protocol"] = spec.settings()
    record["doubts"] += doubts.of_environment(found, spec.threads_count)


def bind(spec: Spec) -> None:
    """Binds this process to the CPUs that the spec asks for.

    Raises:
        UserError: They are not understood or not there.
    """
    if spec.affinity is not None:
        affinity.apply(affinity.resolve(spec.affinity))


@contextmanager
def opened(spec: Spec, record: OneArtifact) -> Iterator[tuple[Session, Arrays]]:
    """All phases up to the warm-up; the head of the record and its memory are filled in, also when a phase fails.

    Args:
        spec: What to run.
        record: The record of this worker.

    Yields:
        An artifact that is loaded, proven and warm, and its feeds.

    Raises:
        RunnerError: The artifact does not run, or is not what it should be.
    """
    backend = backends.find(spec.artifact, spec.format, spec.runtime)
    begin(spec, record)
    record["doubts"] += doubts.of_golden(spec.golden, "artifact", spec.seed)
    described = artifact.describe(spec.artifact, backend.FORMAT)
    record["artifact"] = described.section()
    capacity.memory_guard(described.size_bytes)
    expected = None if spec.golden is None else archive.load(spec.golden)
    bind(spec)
    probe = Probe()
    try:
        session, given = _warmed(spec, backend, expected, probe, record)
    finally:
        record["phases"] = dict(probe.times) or None
        record["memory"] = probe.memory_table() if probe.times else None
    record["doubts"] += [*doubts.of_memory(record["memory"] or {}), doubts.WARM_CACHE]
    yield session, given


def _warmed(
    spec: Spec, backend: Any, expected: archive.Golden | None, probe: Probe, record: OneArtifact
) -> tuple[Session, Arrays]:
    with probe.phase("import"):
        version = backend.load_runtime()
    runtime = record["runtime"] = {"name": backend.RUNTIME, "version": version, "placement": None}
    with probe.phase("load"):
        session = _stream.opened(backend.open(spec.artifact, spec.threads_count, spec.options), spec.state)
    record["inputs"] = [asdict(info) for info in session.inputs]
    record["outputs"] = [asdict(info) for info in session.outputs]
    given = first_feeds(session, expected, spec.seed)
    with probe.phase("first_inference"):
        outputs = session.run(given)
    runtime["placement"] = session.placement()
    record["golden"] = asdict(prove(session, outputs, expected, spec.golden_atol))
    given = feeds.resized(session.inputs, given, spec.batch_count, spec.length_count)
    with probe.phase("warmup"):
        warmed = warm_up(session, given, spec)
    probe.times["warmup_runs_count"] = warmed
    return session, given


def first_feeds(session: Session, expected: archive.Golden | None, seed: int) -> Arrays:
    """Chooses what to feed.

    Args:
        session: The session.
        expected: The golden input and output.
        seed: Of the random input.

    Returns:
        The golden input of the first slice; without one seeded random input.
    """
    if expected is None:
        return feeds.random_inputs(session.inputs, seed)
    return next(proof.slices(expected, session))[0]


def prove(
    session: Session, outputs: Arrays, expected: archive.Golden | None, atol: float | None
) -> proof.GoldenResult:
    """Compares with the golden output; without one looks for NaN only.

    Args:
        session: The session.
        outputs: What it gave for its first feeds.
        expected: The golden input and output.
        atol: The tolerance; None for the default.

    Raises:
        VerificationError: The outputs are not what they should be.
    """
    if expected is None:
        proof.refuse_nan(outputs)
        return proof.ABSENT
    return proof.check(session, expected, atol)


def warm_up(session: Session, given: Arrays, spec: Spec) -> int:
    """Runs at least `warmup_count` times and for `warmup_s` seconds.

    Not "until stable", which would make two measurements incomparable.

    Args:
        session: The session.
        given: One set of inputs, which stays fed.
        spec: What the worker was asked for.

    Returns:
        How many runs it took.
    """
    session.feed(given)
    end = time.perf_counter() + spec.warmup_s
    count = 0
    while count < spec.warmup_count or time.perf_counter() < end:
        session.invoke()
        count += 1
    return count
