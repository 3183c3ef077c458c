"""The bill of materials by CycloneDX's own validator: `make test-bundles`; skipped where cyclonedx-python-lib is not installed."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from app_tools import package
from commands import in_process
from exported_net import write_export

from edgekit.package import manifest_file, sums

__all__ = ["in_process"]
pytestmark = [pytest.mark.bundles, pytest.mark.usefixtures("in_process")]


@pytest.fixture
def bom(tmp_path: Path) -> dict[str, Any]:
    """Of two targets, with doubts, a converter of a local version and a choice of licences."""
    for target, version in (("arm-mobile", "1.19.0"), ("x86-server", "2.14.1+cpu")):
        folder = write_export(tmp_path / "export", target=target)
        manifest = msgspec.structs.replace(
            manifest_file.read(folder),
            doubts=('few "samples" <600>',),
            not_measured=("µs of a call",),
            toolchain={"onnx": version, "ai_edge_litert": "2.0.0"},
        )
        manifest_file.write(manifest, folder)
        sums.seal(folder)
    dist = package(tmp_path / "export", tmp_path / "dist", "web", "--license", "Apache-2.0 OR MIT")
    found: dict[str, Any] = json.loads((dist / "bom.cdx.json").read_text(encoding="utf-8"))
    return found


def said_of(bom: dict[str, Any]) -> Any:
    """What the strict validator says of it: None where all is well."""
    pytest.importorskip("cyclonedx", reason="cyclonedx-python-lib is not installed")
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bom))


def test_the_bill_of_materials_is_valid(bom: dict[str, Any]) -> None:
    assert said_of(bom) is None
    models = [c["name"] for c in bom["components"] if c["type"] == "machine-learning-model"]
    assert models == ["tiny-arm-mobile", "tiny-x86-server"]
    assert {c["version"] for c in bom["components"] if c["name"] == "onnx"} == {"1.19.0", "2.14.1+cpu"}
    known = {bom["metadata"]["component"]["bom-ref"], *(c["bom-ref"] for c in bom["components"])}
    assert all({d["ref"], *d["dependsOn"]} <= known for d in bom["dependencies"])


@pytest.mark.parametrize(
    ("part", "value"),
    [("hashes", [{"alg": "SHA-256", "content": "x"}]), ("modelCard", {"inputs": []}), ("surprise", 1)],
)
def test_the_validator_finds_what_is_wrong(part: str, value: object, bom: dict[str, Any]) -> None:
    bom["components"][0][part] = value
    assert said_of(bom) is not None
