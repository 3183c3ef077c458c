"""Every stage: the function that a process of its own runs, with what goes in and what comes out.

A stage is started by the name of its function, so that the process which starts it imports no framework; the types
are here, so that mypy checks both ends. Its folder is `<work>/<target or shared>/<name>-<key>`, with spec.json,
result.json and log.txt in it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgekit import technique
from edgekit.engine import measure_specs, specs, verify_specs
from edgekit.engine.families import TENSORFLOW, TORCH
from edgekit.engine.parts import CALIBRATION, CODE, METRIC, QUESTIONS, TRAINING
from edgekit.records import (
    Artifact,
    Blame,
    Candidate,
    EmulatedRuns,
    LayerTimes,
    Lint,
    Measurement,
    Record,
    TaskFacts,
    Traced,
    Verdict,
    WidthTable,
)

S = TypeVar("S", bound=Record)
R = TypeVar("R", bound=Record)

HOUR_S = 3600.0


def _family_of_export(spec: specs.ExportSpec) -> str:
    return TENSORFLOW if spec.candidate.saved_model else spec.target.format


def _ignored_by_compress(spec: specs.CompressSpec) -> tuple[str, ...]:
    return () if technique.of(spec.step).scores else (METRIC, CODE, TRAINING)


@dataclass(frozen=True, kw_only=True)
class Stage(Generic[S, R]):
    """A function of one spec.

    Attributes:
        name: What it is called in messages and in the name of its folder, unless its caller says more.
        function: "package.module:name", with one parameter `spec`.
        spec: The record that goes in.
        result: The record that comes out.
        limit_s: Seconds of wall time after which it counts as hung and is ended; `--stage-timeout` replaces it.
        alone: It measures time: it has the machine to itself, a fresh interpreter, and none of the settings that make
            torch fast.
        family: Which frameworks it needs, see `edgekit.engine.families`.
        usual_s: Seconds of wall time that it takes of a usual network, where none were kept.
        ignores: The parts of the run's fingerprint that its result does not depend on.
        lasts: Of a stage that is alone: whether later runs may take over what it found, until the machine starts again.
        worth_keeping: Whether a result is good enough for later runs.
    """

    name: str
    function: str
    spec: type[S]
    result: type[R]
    limit_s: float = 2 * HOUR_S
    alone: bool = False
    usual_s: float = 5.0
    family: Callable[[S], str] = lambda _spec: TORCH
    ignores: Callable[[S], tuple[str, ...]] = lambda _spec: ()
    lasts: Callable[[S], bool] = lambda _spec: False
    worth_keeping: Callable[[R], bool] = lambda _result: True


TRACE = Stage(
    name="trace",
    function="edgekit.trace.stage:trace",
    spec=specs.TraceSpec,
    result=Traced,
    limit_s=6 * HOUR_S,
)
LOOK = Stage(name="look", function="edgekit.trace.stage:look", spec=specs.TraceSpec, result=TaskFacts)
INSPECT = Stage(
    name="inspect",
    function="edgekit.trace.inspection:inspect",
    spec=specs.TraceSpec,
    result=specs.Inspected,
)
TAKES = Stage(name="takes", function="edgekit.trace.takes:takes", spec=specs.FileSpec, result=specs.Takes)
CHECK = Stage(name="check", function="edgekit.techniques._stage:check", spec=specs.Steps, result=specs.Steps)
# trainings are among them
COMPRESS = Stage(
    name="compress",
    function="edgekit.techniques._stage:compress",
    spec=specs.CompressSpec,
    result=Candidate,
    limit_s=7 * 24 * HOUR_S,
    ignores=_ignored_by_compress,
)
SAVED_MODEL = Stage(
    name="saved-model",
    function="edgekit.export._saved_model:make",
    spec=specs.SavedModelSpec,
    result=specs.SavedModel,  # not of TensorFlow's family, which imports Keras: this stage chooses Keras's other backend
)
EXPORT = Stage(
    name="export",
    function="edgekit.export._stage:export",
    spec=specs.ExportSpec,
    result=Artifact,
    family=_family_of_export,
    ignores=lambda _spec: (QUESTIONS, METRIC, CALIBRATION, TRAINING, CODE),  # all in the candidate
)
INTERFACE = Stage(
    name="app-interface",
    function="edgekit.export._app_interface:change",
    spec=specs.InterfaceSpec,
    result=Artifact,
    family=lambda spec: spec.artifact.format,
)
ORT = Stage(
    name="ort-format",
    function="edgekit.export._ort_format:convert",
    spec=specs.OrtSpec,
    result=specs.OrtFiles,
    family=lambda _spec: "onnx",
)
PROVE = Stage(
    name="verify",
    function="edgekit.verify.prove:prove",
    spec=verify_specs.ProveSpec,
    result=Verdict,
    limit_s=24 * HOUR_S,  # the user's metric, on every sample
)
RECHECK = Stage(
    name="recheck",
    function="edgekit.verify.golden_check:recheck",
    spec=verify_specs.RecheckSpec,
    result=verify_specs.Recheck,
)
LINT_SAVED = Stage(
    name="lint-saved",
    function="edgekit.verify.saved_graph:lint",
    spec=verify_specs.SavedGraphSpec,
    result=Lint,
)
EMULATE = Stage(
    name="emulate",
    function="edgekit.arm.proof:emulate",
    spec=verify_specs.EmulateSpec,
    result=EmulatedRuns,
    limit_s=12 * HOUR_S,
    ignores=lambda _spec: (QUESTIONS, METRIC, CALIBRATION, TRAINING, CODE),  # all in the files
)
ANSWER = Stage(
    name="answer",
    function="edgekit.verify.golden_check:answer",
    spec=verify_specs.AnswerSpec,
    result=verify_specs.Answer,
)
BLAME = Stage(
    name="blame", function="edgekit.verify.blame.stage:blame", spec=verify_specs.BlameSpec, result=Blame
)
MEASURE = Stage(
    name="measure",
    function="edgekit.measure.stage:measure",
    spec=measure_specs.MeasureSpec,
    result=Measurement,
    alone=True,
    lasts=lambda spec: not spec.device,
    worth_keeping=lambda found: found.calm,
)
LAYER_TIMES = Stage(
    name="layer-times",
    function="edgekit.measure.layer_times:layer_times",
    spec=measure_specs.LayerTimesSpec,
    result=LayerTimes,
    alone=True,
)
WIDTH_FILES = Stage(
    name="width-files",
    function="edgekit.measure.width_table:width_files",
    spec=measure_specs.WidthTableSpec,
    result=measure_specs.WidthFiles,
)
WIDTH_TABLE = Stage(
    name="width-table",
    function="edgekit.measure.width_table:width_table",
    spec=measure_specs.WidthTableSpec,
    result=WidthTable,
    limit_s=6 * HOUR_S,
    alone=True,
)
PLAN_TIME = Stage(
    name="plan-time",
    function="edgekit.measure.width_table:plan_time",
    spec=measure_specs.WidthTableSpec,
    result=measure_specs.PlanTime,
    alone=True,
)

STAGES = (
    TRACE, LOOK, INSPECT, TAKES, CHECK, COMPRESS, SAVED_MODEL, EXPORT, INTERFACE, PROVE, RECHECK, LINT_SAVED, ANSWER, BLAME, MEASURE, LAYER_TIMES, WIDTH_FILES, WIDTH_TABLE, PLAN_TIME,
)  # fmt: skip
