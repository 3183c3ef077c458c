"""The bill of materials, as CycloneDX 1.6 has it for machine learning: nothing random and no date, so that it is reproducible."""

import uuid
from collections.abc import Sequence
from typing import Any

from edgekit.package.bundle.member import Member
from edgekit.package.bundle.naming import Names


def bom_of(members: Sequence[Member], names: Names) -> dict[str, Any]:
    """Makes the document: one machine-learning model a target, and the converters' packages."""
    tools = {tool for member in members for tool in member.manifest.toolchain.items()}
    identity = "|".join([names.name, names.version, *(m.manifest.file.sha256 for m in members)])
    root = f"bundle:{names.name}"
    models = [_model(member, names) for member in members]
    libraries = [
        {"type": "library", "bom-ref": _tool(name, version), "name": name, "version": version, "scope": "excluded",
         "purl": f"pkg:pypi/{name.lower()}@{version.replace('+', '%2B')}"}
        for name, version in sorted(tools)
    ]  # fmt: skip
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'edgekit:{identity}')}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application", "bom-ref": root, "name": names.name, "version": names.version,
                "licenses": [{"expression": names.license}],
            }
        },
        "components": [*models, *libraries],
        "dependencies": [
            {"ref": root, "dependsOn": sorted(model["bom-ref"] for model in models)},
            *({"ref": f"model:{m.target}", "dependsOn": sorted(_tool(*t) for t in m.manifest.toolchain.items())} for m in members),
        ],
    }  # fmt: skip


def _tool(name: str, version: str) -> str:
    return f"pypi:{name}@{version}"


def _model(member: Member, names: Names) -> dict[str, Any]:
    manifest = member.manifest
    metrics = {"metric": manifest.accuracy.metric, "float metric": manifest.accuracy.float_metric}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{member.target}",
        "name": f"{names.name}-{member.target}",
        "version": names.version,
        "licenses": [{"expression": names.license}],
        "hashes": [{"alg": "SHA-256", "content": manifest.file.sha256}],
        "modelCard": {
            "modelParameters": {
                "inputs": [_format(spec) for spec in manifest.signature.inputs],
                "outputs": [_format(spec) for spec in manifest.signature.outputs],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [{"type": k, "value": repr(v)} for k, v in metrics.items()]
            },
            "considerations": {"technicalLimitations": [*manifest.doubts, *manifest.not_measured]},
        },
        "properties": [
            {"name": "edgekit:recipe", "value": manifest.compression.recipe.name},
            {"name": "edgekit:target", "value": member.target},
        ],
    }


def _format(spec: Any) -> dict[str, str]:
    return {"format": f"{spec.name}: {spec.dtype} {list(spec.shape)}"}
