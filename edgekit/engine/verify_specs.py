"""What crosses to the stages that execute an artifact, and what they return."""

from edgekit.engine.task_source import TaskSource
from edgekit.records import Artifact, Candidate, Record, Traced


class ProveSpec(Record):
    """The spec of edgekit.verify.prove:prove.

    Attributes:
        source: The task to score with.
        golden: Where the golden pair is written.
        exact: Whether the file is run without fused kernels.
        program: The float program that the file was made of, where steps changed what the model computes (prune, distill);
            "" is the float model.
        precision_share: The share of the profile.
        full_integer: Whether a file with any float operator breaks its promise.
        promised_db: What the candidate promises.
        device_golden: Where a golden pair of several samples is written, for a device to prove the file by; "" for none.
        runtime_version: Of a runtime that the run's fingerprint does not hold.
    """

    artifact: Artifact
    traced: Traced
    source: TaskSource
    runtime: str
    isa: str
    host_isa: str
    golden: str
    exact: bool = False
    seed: int = 0
    program: str = ""
    precision_share: float = 0.8
    full_integer: bool = False
    promised_db: tuple[float | None, ...] = ()
    runtime_version: str = ""
    device_golden: str = ""


class SavedGraphSpec(Record):
    """The spec of edgekit.verify.saved_graph:lint.

    Attributes:
        graph: The ONNX file that some version of ONNX Runtime wrote of the artifact, after its own optimizer.
    """

    artifact: Artifact
    graph: str


class RecheckSpec(Record):
    """The spec of edgekit.verify.golden_check:recheck: a folder exported before, and the tolerance of its manifest.

    Attributes:
        exact: Whether the file is run without fused kernels.
    """

    artifact: Artifact
    runtime: str
    golden: str
    golden_atol: float
    exact: bool = False


class Recheck(Record):
    """What proving an artifact again found.

    Attributes:
        findings: What the precision lint found broken.
        notes: What it found that breaks no promise: which work runs in another precision.
        float_snr_db: The least that an output keeps to the float model's answer, in dB; None without an error or without
            that answer.
        elsewhere: What it answers in the runtime that its manifest calls the fastest, where that is another one.
    """

    max_abs_error: float
    golden_atol: float
    findings: tuple[str, ...]
    float_snr_db: float | None = None
    notes: tuple[str, ...] = ()
    elsewhere: str = ""


class EmulateSpec(Record):
    """The spec of edgekit.arm.proof:emulate.

    Attributes:
        golden: An .npz of inputs in the layout and the real values of the file, and of what it answered here.
        baseline: The float file of the same runtime, to count its instructions beside; None for none.
        target: The name of the target.
        cpus: As qemu calls them.
        runs: How many inferences are counted.
        runtime_version: As of ProveSpec; another version is another result.
    """

    artifact: Artifact
    runtime: str
    golden: str
    golden_atol: float
    target: str
    cpus: tuple[str, ...]
    baseline: Artifact | None = None
    runs: int = 5
    runtime_version: str = ""


class AnswerSpec(Record):
    """The spec of edgekit.verify.golden_check:answer.

    Attributes:
        inputs: An .npz with input_i, in the layout and the real values of the file.
        outputs: The .npz to write, with output_i.
        exact: Whether the file is run without fused kernels.
    """

    artifact: Artifact
    runtime: str
    inputs: str
    outputs: str
    exact: bool = False


class Answer(Record):
    """What an artifact answered: the .npz."""

    outputs: str


class BlameSpec(Record):
    """The spec of edgekit.verify.blame.stage:blame.

    It holds an artifact, the candidate it was exported from, and the float model.
    """

    artifact: Artifact
    candidate: Candidate
    traced: Traced
    runtime: str
