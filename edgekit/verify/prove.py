"""The verify stage: opens an artifact in its runtime, scores it with the user's metric, lints it. One child process."""

import math
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torchvision  # noqa: F401  before any other framework: see edgekit.engine.process
from edgekit_runner import errors

from edgekit.arrays import to_model
from edgekit.engine.verify_specs import ProveSpec
from edgekit.errors import TaskError, VerificationError
from edgekit.formats import RUNTIMES
from edgekit.golden import write_golden
from edgekit.records import Artifact, Parity, Saturation, Traced, Verdict
from edgekit.trace import flip_search, promise
from edgekit.trace.flat import flat_task
from edgekit.trace.metric import score, seed_everything
from edgekit.verify import lengths, stream
from edgekit.verify.backends import check_content, load_backend
from edgekit.verify.lint import demand_integers
from edgekit.verify.parity import ComparingPredictor, Comparison
from edgekit.verify.predict import Predictor

DEVICE_SAMPLES = 8  # what a device must answer as this machine did, before it is timed
FORCED_SAMPLES = 1000  # compared on the float model's inputs, where the metric feeds answers back
FLOAT_SNR_DB = 50.0  # a float32 file below this does not compute the same function


def prove(spec: ProveSpec) -> Verdict:
    """Executes the artifact on every sample that the metric asks for.

    Raises:
        VerificationError: The file was altered, cannot be run, answers NaN, or is a float file that does not compute the model's function.
        TaskError: The metric fails, or is not deterministic.
        MissingRuntime: The runtime is not installed.
    """
    try:
        return _proven(spec)
    except errors.MissingRuntime:
        raise
    except errors.RunnerError as error:
        raise VerificationError(
            f"{spec.runtime} cannot run the {spec.artifact.format} artifact: {error}; replace the operator that this names in the model, or "
            "choose another target"
        ) from error


def _proven(spec: ProveSpec) -> Verdict:
    check_content(spec.artifact)
    backend = load_backend(spec.runtime)
    seed_everything(spec.seed)
    task = flat_task(spec.source.load(), spec.traced.interface)
    session = backend.open_session(spec.artifact.path, exact=spec.exact)
    predictor = Predictor(session, spec.artifact, spec.traced.inputs)
    inputs, answers = _kept(spec.traced)
    _write_golden(spec, predictor, inputs, answers, 1, spec.golden)
    if spec.device_golden:
        _write_golden(spec, predictor, inputs, answers, DEVICE_SAMPLES, spec.device_golden)
    if spec.artifact.state:
        place = Path(spec.golden).with_name(stream.NAME)
        stream.write(place, spec.artifact, spec.traced, predictor, inputs)
    predictions = np.load(spec.traced.predictions, allow_pickle=False)
    comparing = ComparingPredictor(predictor, predictions, spec.traced.measures)
    metric = score(task, comparing)
    parity = _parity(comparing, spec)
    right = promise.answers_of(spec.program, inputs, spec.traced) if spec.program else answers
    program_parity = _program_parity(spec, predictor, inputs, right) if spec.program else None
    proven = lengths.prove(session, spec.artifact, spec.traced, own=not spec.program)
    if spec.artifact.precision == "float32":
        _faithful(spec.artifact, program_parity or parity)
    lint = backend.lint(spec.artifact, spec.precision_share)
    if spec.full_integer:
        lint = demand_integers(lint)
    return Verdict(
        runtime=spec.runtime,
        metric=metric,
        float_metric=spec.traced.metric,
        parity=parity,
        lint=lint,
        saturation=_saturation(backend, spec, inputs),
        golden=spec.golden,
        doubts=(*_mode_doubts(spec), *_sample_doubts(comparing), *lint.notes),
        program_parity=program_parity,
        samples=comparing.asked,
        promised_db=spec.promised_db,
        kept_db=_kept_db(spec, predictor, inputs, right),
        lengths=proven,
        flips=None
        if comparing.unknown
        else flip_search.find(spec.traced, partial(score, task), comparing.changed, comparing.asked, metric),
    )


def _kept(traced: Traced) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The first samples of the metric, and the float model's answers to them."""
    with np.load(traced.samples_file, allow_pickle=False) as kept:
        sides = {"input": len(traced.inputs), "output": len(traced.outputs)}
        inputs, answers = ([kept[f"{side}_{i}"] for i in range(count)] for side, count in sides.items())
    return inputs, answers


def _write_golden(
    spec: ProveSpec,
    predictor: Predictor,
    inputs: list[np.ndarray],
    answers: list[np.ndarray],
    count: int,
    path: str,
) -> None:
    """Writes the first samples of the metric, the artifact's answers to them on this machine, and the float model's."""
    if any(each.batch_axis != 0 for each in (*spec.traced.inputs, *spec.traced.outputs)):
        count = 1
    sample, answer = [a[:count] for a in inputs], [a[:count] for a in answers]
    outputs = predictor.run(sample)
    if not all(np.isfinite(o).all() for o in outputs):
        raise VerificationError(
            f"the artifact answers NaN or infinity in {spec.runtime} on the first sample of the metric"
        )
    inputs, outputs, answer = (
        [to_model(a, each.batch_axis) for a, each in zip(arrays, specs, strict=True)]
        for arrays, specs in (
            (sample, spec.traced.inputs), (outputs, spec.traced.outputs), (answer, spec.traced.outputs)
        )
    )  # fmt: skip
    write_golden(Path(path), inputs, outputs, spec.artifact.layout, answer)


def _parity(comparing: ComparingPredictor, spec: ProveSpec) -> Parity:
    if not comparing.comparison.samples:
        raise TaskError(
            f"the metric asked for {comparing.unknown} samples the float model was never asked: it is not deterministic. "
            "Fix its random seed, so that every artifact is scored on the same samples"
        )
    if comparing.unknown and spec.traced.questions:
        comparing.force(_questions(spec.traced), FORCED_SAMPLES)
    parity = comparing.comparison.parity()
    if not math.isfinite(parity.max_abs_error):
        raise VerificationError(f"the {spec.artifact.format} artifact answers NaN on the metric's samples")
    return parity


def _questions(traced: Traced) -> dict[str, list[np.ndarray]]:
    """What the metric asked the float model, as far as it was kept: key -> inputs."""
    kept = np.load(traced.questions, allow_pickle=False)
    keys = dict.fromkeys(name.rpartition("_")[0] for name in kept.files)
    return {key: [kept[f"{key}_{i}"] for i in range(len(traced.inputs))] for key in keys}


def _kept_db(
    spec: ProveSpec, predictor: Predictor, inputs: list[np.ndarray], right: list[np.ndarray]
) -> tuple[float | None, ...]:
    """The ratio to float, in dB per output, on the samples that its program was judged by; () where it promised nothing."""
    if not spec.promised_db:
        return ()
    few, answers = ([part[: promise.SAMPLES] for part in side] for side in (inputs, right))
    return tuple(promise.kept_db(a, b) for a, b in zip(answers, predictor.run(few), strict=True))


def _program_parity(
    spec: ProveSpec, predictor: Predictor, inputs: list[np.ndarray], answers: list[np.ndarray]
) -> Parity:
    """Compares the artifact with the answers of the float program that it was made from."""
    comparison = Comparison(predictor.output_names, spec.traced.measures)
    comparison.add(answers, predictor.run(inputs))
    return comparison.parity()


def _faithful(artifact: Artifact, parity: Parity) -> None:
    """Raises VerificationError where an output of a float file differs from what it was exported from."""
    for output in parity.outputs:
        if output.snr_db is not None and output.equal_ratio is None and output.snr_db < FLOAT_SNR_DB:
            raise VerificationError(
                f"the float32 {artifact.format} artifact does not compute the model's function: SNR {output.snr_db:.1f} dB "
                f"of output {output.name}, at least {FLOAT_SNR_DB:.0f} dB is expected of a faithful conversion"
            )


def _saturation(backend: ModuleType, spec: ProveSpec, inputs: list[np.ndarray]) -> Saturation | None:
    if spec.artifact.precision != "int8" or not hasattr(backend, "saturation"):
        return None
    return backend.saturation(spec.artifact, inputs, spec.traced.inputs, spec.isa, spec.host_isa)  # type: ignore[no-any-return]


def _sample_doubts(comparing: ComparingPredictor) -> tuple[str, ...]:
    if not comparing.unknown:
        return ()
    figures = (
        f"{comparing.unknown} of the metric's {comparing.asked} samples followed from the artifact's own answers, "
        "and the float model was never asked them"
    )
    if not comparing.forced:
        return (f"{figures}: parity leaves them out",)
    return (
        f"{figures}: parity is of n={comparing.comparison.samples}, of which {comparing.forced} were fed the float model's inputs",
    )


def _mode_doubts(spec: ProveSpec) -> tuple[str, ...]:
    if spec.exact and spec.artifact.scheme == "dynamic":
        return (
            f"scored by the int8 kernels of this {spec.host_isa} machine, which saturate where the target's do not: a dynamic file has no float form",
        )
    if spec.exact:
        return (
            f"scored with graph optimizations off: the int8 kernels of this {spec.host_isa} machine saturate, the target's do not",
        )
    proof = RUNTIMES[spec.runtime].proof
    return (proof,) if proof else ()
