"""The stages of a file that was exported before: is it still what was proven, and what does it answer? One child process."""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import torchvision  # noqa: F401  before any other framework: see edgekit.engine.process
from edgekit_runner.golden.archive import Golden as Pair

from edgekit.arrays import save_arrays
from edgekit.engine.verify_specs import Answer, AnswerSpec, Recheck, RecheckSpec
from edgekit.errors import VerificationError
from edgekit.golden import golden_atol, read, snr_db
from edgekit.records import Artifact
from edgekit.verify.backends import load_backend
from edgekit.verify.predict import Predictor

ATOL_RATIO = 10.0  # what a manifest may allow beyond what edgekit writes into it


def recheck(spec: RecheckSpec) -> Recheck:
    """Re-proves an exported file against its golden pair.

    Raises:
        VerificationError: An answer differs by more than is allowed; the sentence gives the figures.
        MissingRuntime: The runtime is not installed.
    """
    backend = load_backend(spec.runtime)
    usual = golden_atol(Path(spec.golden), spec.artifact.precision)
    if spec.golden_atol > ATOL_RATIO * usual:
        raise VerificationError(
            f"the manifest of {spec.artifact.path} allows an error of {spec.golden_atol:.6g}; edgekit allows {usual:.6g} for outputs "
            "as large as its golden ones: it was altered, export again"
        )
    golden = read(Path(spec.golden))
    counts = len(golden.inputs), len(golden.outputs)
    if counts != (len(spec.artifact.inputs), len(spec.artifact.outputs)):
        raise VerificationError(
            f"{spec.golden} holds {counts[0]} inputs and {counts[1]} outputs, {spec.artifact.path} has others; export again"
        )
    got = _answers(backend, spec.artifact, golden.inputs, spec.exact)
    errors = [np.abs(answer - wanted).max() for answer, wanted in zip(got, golden.outputs, strict=True)]
    worst = float(np.max(errors))  # unlike max(), keeps a NaN in any position
    if not worst <= spec.golden_atol:
        raise VerificationError(
            f"{spec.artifact.path} differs from its golden output by {worst:.6g}; allowed is {spec.golden_atol:.6g}"
        )
    lint = backend.lint(spec.artifact)
    return Recheck(
        max_abs_error=worst,
        golden_atol=spec.golden_atol,
        findings=lint.findings,
        notes=lint.notes,
        float_snr_db=_near_float(spec.artifact, golden, got),
    )


def answer(spec: AnswerSpec) -> Answer:
    """Writes what an artifact answers to inputs in the layout of its file.

    Raises:
        MissingRuntime: The runtime is not installed.
    """
    with np.load(spec.inputs, allow_pickle=False) as kept:
        inputs = [kept[f"input_{i}"] for i in range(len(spec.artifact.inputs))]
    got = _answers(load_backend(spec.runtime), spec.artifact, inputs, spec.exact)
    save_arrays(Path(spec.outputs), {f"output_{i}": array for i, array in enumerate(got)})
    return Answer(outputs=spec.outputs)


def _answers(
    backend: ModuleType, artifact: Artifact, inputs: Sequence[np.ndarray], exact: bool
) -> list[np.ndarray]:
    """Runs the artifact on its inputs, which are in the layout of the file."""
    session = backend.open_session(artifact.path, exact=exact)
    stored_as_is = msgspec.structs.replace(artifact, layout="as the model")
    predictor = Predictor(session, stored_as_is, artifact.inputs)
    return predictor.as_stored(list(inputs))


def _near_float(artifact: Artifact, golden: Pair, got: Sequence[np.ndarray]) -> float | None:
    """The lowest signal-to-noise ratio of an output to the float model's answer, in dB.

    None where there is no error, or the export kept no answer.

    Raises:
        VerificationError: It is lower than when the file was proven.
    """
    if not golden.floats:
        return None
    found = [snr_db(reference, answer) for reference, answer in zip(golden.floats, got, strict=True)]
    for spec, db, least in zip(artifact.outputs, found, golden.float_min_snr_db, strict=True):
        if not (np.isnan(least) or db >= least):
            raise VerificationError(
                f"{artifact.path}: output {spec.name} keeps {db:.1f} dB to the float model's answer; it was proven with at least {least:.1f} dB"
            )
    return min((db for db in found if np.isfinite(db)), default=None)
