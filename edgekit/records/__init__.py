"""Every record of the flow, in order: Task + Target -> Plan -> Candidate -> Artifact -> Verdict -> Measurement -> Report.

Records are frozen, keyword-only and closed: a stage returns a new one, a field that nobody declared is an
error. They cross process borders as JSON. Units are in the names: `_s` seconds, `_bytes`, `_ratio` plain
quotients, `_db` decibels. Paths are strings, so that a record stays JSON.
"""

from edgekit.records._base import Record, convert
from edgekit.records._options import Settings
from edgekit.records.artifacts import (
    Artifact,
    Candidate,
    Figure,
    FloatLayer,
    LayerTime,
    LayerTimes,
    Traced,
    WidthRow,
    WidthTable,
)
from edgekit.records.blame import Blame, ChannelDegradation, LayerDegradation
from edgekit.records.device_facts import DeviceFacts
from edgekit.records.emulated import EmulatedRun, EmulatedRuns
from edgekit.records.flips import Flip, Flips
from edgekit.records.inputs import (
    Budget,
    Kind,
    Macs,
    Plan,
    Precision,
    Preprocessing,
    Quant,
    Recipe,
    Scalar,
    Scheme,
    Skipped,
    Step,
    TaskFacts,
    TensorSpec,
)
from edgekit.records.interface import FreeArgument, FreeAxes, FreeAxis, Interface, Tree
from edgekit.records.layer_cost import LayerCost
from edgekit.records.measure import Measure, MeasureKind, OutOfRange
from edgekit.records.report import Attempt, Decision, ParetoPoint, Report, Shortfall, StageTime, TargetReport
from edgekit.records.results import (
    LengthProof,
    Lint,
    Measurement,
    OutputParity,
    Parity,
    Saturation,
    Verdict,
    Work,
)
from edgekit.records.runtimes import RuntimeChoice, RuntimeTrial

SCHEMA_VERSION = 2

__all__ = [
    "SCHEMA_VERSION",
    "Artifact",
    "Attempt",
    "Blame",
    "Budget",
    "Candidate",
    "ChannelDegradation",
    "Decision",
    "DeviceFacts",
    "EmulatedRun",
    "EmulatedRuns",
    "Figure",
    "Flip",
    "Flips",
    "FloatLayer",
    "FreeArgument",
    "FreeAxes",
    "FreeAxis",
    "Interface",
    "Kind",
    "LayerCost",
    "LayerDegradation",
    "LayerTime",
    "LayerTimes",
    "LengthProof",
    "Lint",
    "Macs",
    "Measure",
    "MeasureKind",
    "Measurement",
    "OutOfRange",
    "OutputParity",
    "ParetoPoint",
    "Parity",
    "Plan",
    "Precision",
    "Preprocessing",
    "Quant",
    "Recipe",
    "Record",
    "Report",
    "RuntimeChoice",
    "RuntimeTrial",
    "Saturation",
    "Scalar",
    "Scheme",
    "Settings",
    "Shortfall",
    "Skipped",
    "StageTime",
    "Step",
    "TargetReport",
    "TaskFacts",
    "TensorSpec",
    "Traced",
    "Tree",
    "Verdict",
    "WidthRow",
    "WidthTable",
    "Work",
    "convert",
]
