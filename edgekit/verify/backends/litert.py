"""TFLite files in LiteRT: answers from its kernels, and the precision that those really compute in."""

from edgekit_runner.backends import litert as backend

from edgekit.records import Artifact, Lint
from edgekit.verify.graphs.litert import read
from edgekit.verify.lint import MIN_SHARE, build_lint
from edgekit.verify.predict import Session, usable_cpus


def open_session(path: str, exact: bool = False) -> Session:
    """Opens a file. `exact` changes nothing here: LiteRT's int8 kernels sum in 32 bits everywhere."""
    return backend.open(path, threads=usable_cpus(), options={})


def lint(artifact: Artifact, min_share: float = MIN_SHARE) -> Lint:
    """Judges the operators of the file; float16 is a precision of storage here, widened at load."""
    stored_only = artifact.precision == "float16"
    return build_lint(artifact, read(artifact.path), min_share=min_share, stored_only=stored_only)
