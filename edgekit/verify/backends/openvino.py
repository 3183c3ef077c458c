"""ONNX files in OpenVINO: answers from its kernels, and the precision that those really compute in."""

from edgekit_runner.backends import openvino as backend

from edgekit.errors import VerificationError
from edgekit.records import Artifact, Lint
from edgekit.verify.graphs.openvino import read
from edgekit.verify.lint import MIN_SHARE, build_lint
from edgekit.verify.predict import Session, usable_cpus


def open_session(path: str, exact: bool = False) -> Session:
    """Opens a file, float layers in float32.

    Raises:
        VerificationError: `exact` is asked for: OpenVINO fuses integers always.
    """
    if exact:
        raise VerificationError("OpenVINO has no way to run a file without its fused integer kernels")
    return backend.open(path, threads=usable_cpus(), options={})


def lint(artifact: Artifact, min_share: float = MIN_SHARE) -> Lint:
    """Judges the execution graph on this CPU; float16 is a precision of storage here, widened when the file is opened."""
    stored_only = artifact.precision == "float16"
    return build_lint(artifact, read(artifact.path), min_share=min_share, stored_only=stored_only)
