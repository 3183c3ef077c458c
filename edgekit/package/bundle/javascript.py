"""npm packages: for React Native, and for the web with a page that proves itself. Both hold one model.js with its types."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UserError
from edgekit.package.bundle.member import Member
from edgekit.package.bundle.naming import Names
from edgekit.package.bundle.template_values import facts_of, values_of
from edgekit.package.bundle.templating import fill

# runtime -> the adapter, and the package that runs the file
REACT_NATIVE = {
    "litert": ("tflite.ts", "react-native-fast-tflite", ">=3.0.0 <4"),
    "onnxruntime": ("onnx.ts", "onnxruntime-react-native", ">=1.24.0 <2"),
}
WEB = ("onnxruntime-web", ">=1.30.0 <2")


def write_react_native(members: Sequence[Member], names: Names, out: Path, trusted: bytes = b"") -> None:
    """Writes react-native/, one package a runtime. Raises UserError where no target fits."""
    found: dict[str, Member] = {}
    for member in members:
        if member.manifest.target.runtime in REACT_NATIVE:
            found.setdefault(member.manifest.target.runtime, member)
    if not found:
        raise UserError(_none_fits("react-native", "LiteRT or ONNX Runtime", members))
    for runtime, member in found.items():
        adapter, package, versions = REACT_NATIVE[runtime]
        name = f"{names.name}-{Path(adapter).stem}"
        place = out / name
        _write_shared(member, names, place, trusted)
        values = {"npm": name, "file": member.model.name}
        (place / adapter).write_text(fill(adapter, **values), encoding="utf-8")
        exports = {
            ".": {"types": f"./{adapter}", "default": f"./{adapter}"},
            "./model.js": {"types": "./model.d.ts", "default": "./model.js"},
            **_updates(trusted),
            f"./{member.model.name}": f"./{member.model.name}",
        }
        _write_package(place, names, name, exports, {package: versions})


def write_web(members: Sequence[Member], names: Names, out: Path, trusted: bytes = b"") -> None:
    """Writes web/: a package and a page for onnxruntime-web. Raises UserError where no target is an ONNX file."""
    found = [member for member in members if member.manifest.target.runtime == "onnxruntime"]
    if not found:
        raise UserError(_none_fits("web", "ONNX Runtime", members))
    member = found[0]
    _write_shared(member, names, out, trusted)
    shutil.copytree(member.folder / "golden", out / "golden", ignore=shutil.ignore_patterns("*.npz"))
    page = fill("index.html", **values_of(member, names))
    (out / "index.html").write_text(page, encoding="utf-8")
    exports = {
        ".": {"types": "./model.d.ts", "default": "./model.js"},
        **_updates(trusted),
        f"./{member.model.name}": f"./{member.model.name}",
    }
    _write_package(out, names, f"{names.name}-web", exports, dict([WEB]))


def _updates(trusted: bytes) -> dict[str, Any]:
    return {"./updates.js": {"types": "./updates.d.ts", "default": "./updates.js"}} if trusted else {}


def _none_fits(ecosystem: str, runtime: str, members: Sequence[Member]) -> str:
    given = ", ".join(member.target for member in members)
    return f"--for {ecosystem}: none of the targets is for {runtime}, only {given}"


def _write_shared(member: Member, names: Names, place: Path, trusted: bytes) -> None:
    place.mkdir(parents=True)
    shutil.copyfile(member.model, place / member.model.name)
    values = {**values_of(member, names, trusted), "facts": facts_of(member, names)}
    templates = ("model.js", "model.d.ts", *(("updates.js", "updates.d.ts") if trusted else ()))
    for template in templates:
        (place / template).write_text(fill(template, **values), encoding="utf-8")


def _write_package(
    place: Path, names: Names, name: str, exports: dict[str, Any], peers: dict[str, str]
) -> None:
    content = {
        "name": name,
        "version": names.version,
        "license": names.license,
        "description": f"the model {names.name}, packaged by edgekit",
        "type": "module",
        "sideEffects": False,
        "exports": exports,
        "peerDependencies": peers,
    }
    (place / "package.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
