"""What the templates are filled with."""

import json
from typing import Any

from edgekit.package.bundle import bundle_file, update_index
from edgekit.package.bundle.member import Member
from edgekit.package.bundle.naming import Names
from edgekit.records import Preprocessing
from edgekit.records.manifest import Input, Output


def values_of(member: Member, names: Names, trusted: bytes = b"") -> dict[str, Any]:
    """The values that all languages share; `trusted` is the public key by which an app knows its updates, where there is one."""
    manifest = member.manifest
    asked = manifest.preprocessing
    return {
        "name": names.name,
        "version": names.version,
        "license": names.license,
        "package": names.java_package,
        "cls": names.class_name,
        "target": member.target,
        "interface": bundle_file.interface_of(manifest),
        "key": trusted.hex(),
        "schema_version": update_index.SCHEMA_VERSION,
        "clock_s": update_index.CLOCK_S,
        "model": member.model.name,
        "sha256": manifest.file.sha256,
        "bytes": manifest.file.bytes,
        "atol": manifest.golden.atol,
        "inputs": manifest.signature.inputs,
        "outputs": manifest.signature.outputs,
        "labels": asked.labels if asked else (),
        "golden": member.golden,
        "image": _image(asked, member.golden, manifest.signature.inputs[0]) if asked else None,
    }


def facts_of(member: Member, names: Names) -> str:
    """The same for JavaScript, as JSON."""
    manifest = member.manifest
    found = {
        "name": names.name,
        "version": names.version,
        "file": member.model.name,
        "sha256": manifest.file.sha256,
        "inputs": [_tensor(spec) for spec in manifest.signature.inputs],
        "outputs": [_tensor(spec) for spec in manifest.signature.outputs],
        "labels": manifest.preprocessing.labels if manifest.preprocessing else (),
        "goldenAtol": manifest.golden.atol,
    }
    return json.dumps(found, indent=2)


def _tensor(spec: Input | Output) -> dict[str, Any]:
    scale = 1.0 if spec.scale is None else spec.scale
    return {
        "name": spec.name,
        "dtype": spec.dtype,
        "shape": spec.shape,
        "scale": scale,
        "zeroPoint": spec.zero_point or 0,
    }


def _image(asked: Preprocessing, golden: dict[str, Any], spec: Input) -> dict[str, Any] | None:
    if "image" not in golden:
        return None
    nchw = asked.layout == "NCHW"
    return {
        "channels": golden["image"]["channels"],
        "height": spec.shape[2 if nchw else 1],
        "width": spec.shape[3 if nchw else 2],
        "mean": list(asked.mean),
        "std": list(asked.std),
        "scale": asked.scale,
        "nchw": nchw,
        "bgr": asked.color_order == "BGR" and golden["image"]["channels"] == 3,
        "crop": asked.crop,
        "resize": asked.resize if isinstance(asked.resize, tuple) else None,
        "resize_shorter": asked.resize if isinstance(asked.resize, int) else None,
        "mode": asked.resize_mode,
        "antialias": asked.antialias,
    }
