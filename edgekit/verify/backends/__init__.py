"""Backends, one module a runtime, found by its name.

Each has `open_session(path, exact)` and `lint(artifact, min_share)`; one whose kernels may saturate also has `saturation(...)`.
"""

import importlib
from pathlib import Path
from types import ModuleType

from edgekit_runner.artifact import sha256

from edgekit.errors import MissingRuntime, VerificationError
from edgekit.formats import RUNTIMES
from edgekit.records import Artifact


def check_content(artifact: Artifact) -> None:
    """Raises VerificationError if the file is gone or is not what was exported."""
    if not Path(artifact.path).exists():
        raise VerificationError(f"the artifact {artifact.path} does not exist")
    found = sha256(artifact.path)
    if found != artifact.sha256:
        raise VerificationError(
            f"{artifact.path} was altered after export: its sha256 is {found[:16]}..., the manifest says {artifact.sha256[:16]}..."
        )


def load_backend(runtime: str) -> ModuleType:
    """Imports the backend of a runtime.

    Raises:
        MissingRuntime: A package that it needs is not installed.
    """
    try:
        return importlib.import_module(f"edgekit.verify.backends.{runtime}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("edgekit"):
            raise
        packages = " ".join(RUNTIMES[runtime].packages.values())
        raise MissingRuntime.of(packages, f"verifying {runtime} artifacts") from error
