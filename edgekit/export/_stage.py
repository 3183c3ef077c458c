"""The child process of one export: finds the exporter by its module name."""

import importlib
from pathlib import Path

import msgspec
import torchvision  # noqa: F401  before any converter: see edgekit.engine.process

from edgekit.engine.specs import ExportSpec
from edgekit.errors import ConversionError, MissingRuntime
from edgekit.export._compressed import compressed
from edgekit.formats import FORMATS
from edgekit.records import Artifact, FreeAxes, Interface


def export(spec: ExportSpec) -> Artifact:
    """Lowers the candidate to `folder/model<suffix>`.

    Raises:
        ConversionError: The format cannot express the candidate.
        MissingRuntime: A package of the exporter is not installed.
    """
    name = "_tflite_tensorflow" if spec.candidate.saved_model else spec.target.format
    name = "_own_onnx" if spec.candidate.onnx else name
    try:
        exporter = importlib.import_module(f"edgekit.export.{name}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("edgekit"):
            raise
        packages = " ".join(FORMATS[spec.target.format].packages.values())
        raise MissingRuntime.of(packages, f"exporting {spec.target.format}") from error
    doubts = _fixed(spec.candidate.free, spec.candidate.interface, spec.target.format)
    out = Path(spec.folder) / f"model{exporter.SUFFIX}"
    artifact: Artifact = exporter.export(spec.candidate, spec.target, out)
    return msgspec.structs.replace(
        artifact,
        scheme=spec.candidate.scheme,
        float_layers=len(spec.candidate.float_layers),
        compressed_bytes=compressed(out),
        state=_state(spec.candidate.interface, artifact),
        doubts=(*artifact.doubts, *doubts),
    )


def _state(interface: Interface | None, artifact: Artifact) -> dict[str, str]:
    """Returns the state by the names of the file, which a format may write otherwise."""
    if interface is None or not interface.state:
        return {}
    outputs = {name: spec.name for name, spec in zip(interface.outputs, artifact.outputs, strict=True)}
    inputs = {name: spec.name for name, spec in zip(interface.inputs, artifact.inputs, strict=True)}
    return {outputs[output]: inputs[name] for output, name in interface.state.items()}


def _fixed(free: FreeAxes | None, interface: Interface | None, format_name: str) -> tuple[str, ...]:
    """Says what a format of fixed shapes makes of free axes: one sample at a time.

    Raises:
        ConversionError: Another axis than that of the samples is free.
    """
    if free is None or FORMATS[format_name].free_axes or all(axis.default for axis in free.axes):
        return ()
    places = interface.input_axes if interface else [0] * len(free.inputs)
    samples = {
        axes[str(place)] for axes, place in zip(free.inputs, places, strict=True) if str(place) in axes
    }
    others = [axis.name for axis in free.axes if axis.name not in samples]
    if others:
        raise ConversionError(
            f"the axis {others[0]} is free in the task, and a {format_name} file of edgekit has fixed shapes: export it with "
            "dynamic={} at one length, or choose a target of ONNX or Core ML"
        )
    return (f"the file takes one sample at a time: {format_name} files have fixed shapes",)
