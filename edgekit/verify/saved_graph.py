"""The stage that lints a graph which another version of ONNX Runtime left of a file. One child process."""

import torchvision  # noqa: F401  before any other framework: see edgekit.engine.process

from edgekit.engine.verify_specs import SavedGraphSpec
from edgekit.records import Lint
from edgekit.verify.graphs.onnxruntime import read_saved
from edgekit.verify.lint import build_lint


def lint(spec: SavedGraphSpec) -> Lint:
    """Judges what that version executes against what the artifact promises."""
    stored_only = spec.artifact.precision == "float16"
    return build_lint(spec.artifact, read_saved(spec.artifact.path, spec.graph), stored_only=stored_only)
