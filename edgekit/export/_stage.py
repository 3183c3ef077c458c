"""The child process of one export: finds the exporter by its module name."""

import importlib
from pathlib import Path

import msgspec
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit.engine.specs import ExportSpec
from edgekit.errors import MissingRuntime
from edgekit.export._compressed import compressed
from edgekit.formats import FORMATS
from edgekit.records import Artifact


def export(spec: ExportSpec) -> Artifact:
    """Lowers the candidate to `folder/model<suffix>`.

    Raises:
        ConversionError: The format cannot express the candidate.
        MissingRuntime: A package of the exporter is not installed.
    """
    name = "_tflite_tensorflow" if spec.candidate.saved_model else spec.target.format
    try:
        exporter = importlib.import_module(f"edgekit.export.{name}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("edgekit"):
            raise
        packages = " ".join(FORMATS[spec.target.format].packages.values())
        raise MissingRuntime.of(packages, f"exporting {spec.target.format}") from error
    out = Path(spec.folder) / f"model{exporter.SUFFIX}"
    artifact: Artifact = exporter.export(spec.candidate, spec.target, out)
    return msgspec.structs.replace(
        artifact,
        scheme=spec.candidate.scheme,
        float_layers=len(spec.candidate.float_layers),
        compressed_bytes=compressed(out),
    )
