"""`loadgen`: the MLPerf scenarios SingleStream and Offline, asked and judged by MLCommons' own LoadGen.

LoadGen (the optional package `mlcommons-loadgen`) issues the queries, takes the times and decides whether the
result is valid; its log is read, nothing of it is computed again. A sample is one inference on the golden or
random input, which is handed over before the test as `bench` does; Offline groups samples by `batch_count`. A
percentile is passed on only where ten values lie beyond it, and none of Offline: it issues all samples at
once, so that a sample's latency is its place in the queue. This is MLPerf's protocol, not a submission.
Source: github.com/mlcommons/inference, folder loadgen.
"""

import gc
import importlib.util
import os
import time
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar, TextIO

from edgekit_runner.backends import Session
from edgekit_runner.errors import MissingRuntime, UserError
from edgekit_runner.kinds import _loadgen_log
from edgekit_runner.kinds._timing import median_s, thirds
from edgekit_runner.protocol import Lasting, Preset
from edgekit_runner.record import OneArtifact, Table
from edgekit_runner.stats import doubts
from edgekit_runner.stats.validity import ValiditySection, judge
from edgekit_runner.value_rules import Count, Rule

SCENARIOS = ("SingleStream", "Offline")
_MODULE = "mlperf_loadgen"
_MISSING = "mlcommons-loadgen is not installed; run: pip install edgekit-runner[loadgen]"
_PILOT_COUNT = 5
_OWN_TIMES_MOST_COUNT = 200_000


@dataclass(frozen=True, kw_only=True)
class Spec(Lasting, Preset):
    """`duration_s` and `min_runs_count` are the least that LoadGen asks for.

    Attributes:
        scenario: "SingleStream" or "Offline".
        min_runs_count: The least number of samples.
    """

    kind: ClassVar[str] = "loadgen"
    stated: ClassVar[tuple[str, ...]] = ("scenario", "duration_s", "min_runs_count")

    scenario: Annotated[str, Rule("text", choices=SCENARIOS)] = "SingleStream"
    min_runs_count: Count = 100


class Record(OneArtifact):
    """What LoadGen says, and the median of the inference alone."""

    loadgen: Table | None


def work(spec: Spec, record: Record, parent: TextIO) -> None:
    """Fills the record.

    Args:
        spec: What the worker was asked for.
        record: A blank record of this kind.
        parent: Not used.

    Raises:
        MissingRuntime: LoadGen is not installed.
        RunnerError: The artifact does not run, or is not what it should be.
    """
    from edgekit_runner.kinds import _phases
    from edgekit_runner.stats.window import Window

    if importlib.util.find_spec(_MODULE) is None:
        raise MissingRuntime(_MISSING)
    if spec.scenario == "SingleStream" and (spec.batch_count or 1) != 1:
        raise UserError(
            f"SingleStream asks one sample at a time, not {spec.batch_count}; allowed: batch 1, or Offline."
        )
    with _phases.opened(spec, record) as (session, _):
        model = _Model(session, spec.batch_count or 1)
        expected_s = model.pilot_s()
        window = Window()
        window.begin()
        log = _test(model, spec, expected_s)
        seen = window.end()
    if model.error is not None:
        raise model.error
    found = record["loadgen"] = _loadgen_log.summarize(log, spec.scenario) | model.times()
    validity = record["validity"] = model.validity(seen, spec.threads_count)
    record["doubts"] += [*_loadgen_log.of_result(found), *doubts.of_validity(validity)]


class _Model:
    """What LoadGen calls. It takes times of its own beside LoadGen's, to judge the machine by their drift."""

    def __init__(self, session: Session, batch_count: int) -> None:
        self._library = importlib.import_module(_MODULE)
        self._invoke = session.invoke
        self._batch_count = batch_count
        self._wall, self._cpu = array("q"), array("q")
        self.error: Exception | None = None

    def pilot_s(self) -> float:
        """The least of a few runs: LoadGen prepares its queries before the test and must not run out.

        Raises:
            Exception: What the runtime raised.
        """
        for _ in range(_PILOT_COUNT):
            self._once()
        if self.error is not None:
            raise self.error
        least = min(self._wall) / 1e9
        self._wall, self._cpu = array("q"), array("q")
        return least

    def issue(self, samples: Sequence[Any]) -> None:
        """Runs the samples and says so to LoadGen.

        An error must not cross its C++: it is kept, and the rest is answered without a run.
        """
        lg = self._library
        for start in range(0, len(samples), self._batch_count):
            self._once()
            group = samples[start : start + self._batch_count]
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0) for sample in group])

    def _once(self) -> None:
        if self.error is not None:
            return
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        try:
            self._invoke()
        except Exception as error:
            self.error = error
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        if len(self._wall) < _OWN_TIMES_MOST_COUNT:
            self._wall.append(wall)
            self._cpu.append(cpu)

    def times(self) -> dict[str, float]:
        """Medians of the inference alone, seconds."""
        return {"inference_p50_s": median_s(self._wall), "inference_cpu_p50_s": median_s(self._cpu)}

    def validity(self, window: Mapping[str, Any], threads_count: int) -> ValiditySection:
        """The verdict on the window of the test and on the times taken here."""
        medians = [median_s(part) for part in (*thirds(self._wall), *thirds(self._cpu))]
        return judge(window, threads_count, *medians).section()


def _test(model: _Model, spec: Spec, expected_s: float) -> dict[str, Any]:
    """Runs one test of LoadGen and reads its detail log.

    The log lies in a temporary folder, which is unlinked as soon as LoadGen has opened its files, so that a kill leaves
    nothing behind either.
    """
    import shutil
    import tempfile

    lg = importlib.import_module(_MODULE)
    opened: list[IO[str]] = []
    with tempfile.TemporaryDirectory(prefix="edgekit-loadgen-", ignore_cleanup_errors=True) as folder:
        detail = Path(folder, "mlperf_log_detail.txt")

        def load(samples: Sequence[int]) -> None:
            if os.name == "posix" and detail.exists():
                opened.append(detail.open(encoding="utf-8", errors="replace"))
                shutil.rmtree(folder, ignore_errors=True)

        sut = lg.ConstructSUT(model.issue, lambda: None)
        library = lg.ConstructQSL(1, 1, load, lambda samples: None)
        gc.collect()
        gc.disable()
        try:
            audit = str(Path(folder, "audit.config"))  # never one that lies in the current folder
            lg.StartTestWithLogSettings(sut, library, _settings(spec, expected_s), _log(folder), audit)
        finally:
            gc.enable()
            lg.DestroyQSL(library)
            lg.DestroySUT(sut)
        with opened[0] if opened else detail.open(encoding="utf-8", errors="replace") as lines:
            return _loadgen_log.parse(lines)


def _settings(spec: Spec, expected_s: float) -> Any:
    lg = importlib.import_module(_MODULE)
    settings = lg.TestSettings()
    settings.scenario = getattr(lg.TestScenario, spec.scenario)
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = max(1, round(spec.duration_s * 1e3))
    settings.min_query_count = spec.min_runs_count
    settings.single_stream_expected_latency_ns = max(1, round(expected_s * 1e9))
    settings.offline_expected_qps = (spec.batch_count or 1) / expected_s
    return settings


def _log(folder: str) -> Any:
    lg = importlib.import_module(_MODULE)
    output = lg.LogOutputSettings()
    output.outdir = folder
    output.copy_summary_to_stdout = False
    settings = lg.LogSettings()
    settings.log_output = output
    settings.enable_trace = False
    return settings
