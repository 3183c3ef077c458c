"""iOS and macOS: a Swift package with the model as a resource, and a script for a build phase that checks its files."""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgekit.errors import UserError
from edgekit.package.bundle.member import Member
from edgekit.package.bundle.naming import Names
from edgekit.package.bundle.template_values import values_of
from edgekit.package.bundle.templating import fill

LEAST_IOS = 16  # MLModel.compileModel and load as async


def write(members: Sequence[Member], names: Names, out: Path) -> None:
    """Writes ios/<Class>/ for the Core ML target. Raises UserError where there is none."""
    found = [member for member in members if member.manifest.file.format == "coreml"]
    if not found:
        given = ", ".join(member.target for member in members)
        raise UserError(f"--for ios: none of the targets is a Core ML package, only {given}")
    member = found[0]
    root = out / names.class_name
    sources = root / "Sources" / names.class_name
    shutil.copytree(member.model, sources / "Resources" / "model.mlpackage")
    plain = shutil.ignore_patterns("*.npz")
    shutil.copytree(member.folder / "golden", sources / "Resources" / "golden", ignore=plain)
    values = values_of(member, names)
    values["ios"] = max(member.manifest.target.min_ios or LEAST_IOS, LEAST_IOS)
    values |= _image_values(member)
    (root / "Package.swift").write_text(fill("Package.swift", **values), encoding="utf-8")
    wrapper = sources / f"{names.class_name}.swift"
    wrapper.write_text(fill("Model.swift", **values), encoding="utf-8")
    tests = root / "Tests" / f"{names.class_name}Tests" / f"{names.class_name}Tests.swift"
    tests.parent.mkdir(parents=True)
    tests.write_text(fill("ModelTests.swift", **values), encoding="utf-8")
    files = sorted(p for p in root.rglob("*") if p.is_file())
    sums = [(p.relative_to(root).as_posix(), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files]
    script = root / "verify.sh"
    script.write_text(fill("verify.sh", sums=sums, **values), encoding="utf-8")
    script.chmod(0o755)


def _image_values(member: Member) -> dict[str, Any]:
    """Whether the package takes an image, and how its colours stand in the golden files."""
    manifest = member.manifest
    shape, asked = manifest.signature.inputs[0].shape, manifest.preprocessing
    return {
        "takes_image": "image" in manifest.app_interface,
        "channels": shape[1] if len(shape) == 4 else 0,
        "bgr": asked is not None and asked.color_order == "BGR",
    }
