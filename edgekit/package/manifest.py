"""manifest.json: what an app build reads beside each artifact.

Canonical (sorted keys), hashes and units in the names. Paths are relative to the folder of the manifest, so that
the folder can be copied anywhere.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from edgekit_runner.artifact import sha256

from edgekit.errors import UserError, VerificationError
from edgekit.records import Artifact, Attempt, Preprocessing, TargetReport, TensorSpec, Verdict
from edgekit.target import Runtime, Target

SCHEMA_VERSION = 1
NAME = "manifest.json"
GOLDEN = "golden.npz"
MIXED = "mixed"


def build(
    report: TargetReport,
    attempt: Attempt,
    target: Target,
    task: str,
    preprocessing: Preprocessing,
    golden_atol: float,
    folder: Path,
    task_doubts: Sequence[str] = (),
) -> dict[str, Any]:
    """The manifest of the accepted artifact in `folder`, as plain JSON data. task_doubts: those about the data and the metric."""
    artifact, verdict, measurement = attempt.artifact, attempt.verdict, attempt.measurement
    assert artifact is not None and verdict is not None
    plain = msgspec.to_builtins
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": task, "content_version": artifact.sha256},
        "target": {
            "name": target.name,
            "isa": report.isa,
            "runtime": target.runtime,
            **plain(target.deployment),
        },
        "artifacts": [_file(artifact, verdict, folder)],
        "signature": {
            "inputs": [_tensor(t, preprocessing, artifact.layout) for t in artifact.inputs],
            "outputs": [{**plain(t), "labels": list(preprocessing.labels)} for t in artifact.outputs],
        },
        "preprocessing": plain(preprocessing),
        "golden": {"path": GOLDEN, "atol": golden_atol, "sha256": sha256(folder / GOLDEN)},
        "compression": {**_compression(artifact, verdict), "recipe": plain(attempt.recipe)},
        "accuracy": {
            "metric": verdict.metric,
            "float_metric": verdict.float_metric,
            "samples": verdict.scored,
            "parity": plain(verdict.parity),
            "program_parity": plain(verdict.program_parity),
        },
        "lint": plain(verdict.lint),
        "measurement": plain(measurement) if measurement is not None else None,
        "doubts": [*task_doubts, *_doubts(attempt)],
        "not_measured": list(attempt.decision.not_measured),
        "toolchain": artifact.toolchain,
    }


def _compression(artifact: Artifact, verdict: Verdict) -> dict[str, Any]:
    """What the file is, by what the runtime really executes; the ratios of `work` are of its multiply-accumulates."""
    total = sum(row.macs for row in verdict.lint.work)
    work = [
        {"kind": row.kind, "dtype": row.dtype, "ratio": row.macs / total, "in_precision": row.in_precision}
        for row in verdict.lint.work
    ]
    return {
        "precision": _precision(artifact, verdict),
        "called": verdict.lint.called or artifact.precision,
        "share_of_work_in_precision": verdict.lint.share,
        "share_of_weight_bytes_in_precision": verdict.lint.weight_share,
        "work": work,
    }


def _precision(artifact: Artifact, verdict: Verdict) -> str:
    """The precision, or "mixed" for a file that does not earn its name."""
    return artifact.precision if verdict.lint.called in ("", artifact.precision) else MIXED


def _doubts(attempt: Attempt) -> list[str]:
    sources = (attempt.candidate, attempt.artifact, attempt.verdict, attempt.measurement, attempt.decision)
    return list(dict.fromkeys(doubt for source in sources if source is not None for doubt in source.doubts))


def _file(artifact: Artifact, verdict: Verdict, folder: Path) -> dict[str, Any]:
    return {
        "path": str(Path(artifact.path).relative_to(folder)),
        "role": "model",
        "format": artifact.format,
        "bytes": artifact.size_bytes,
        "compressed_bytes": artifact.compressed_bytes,
        "sha256": artifact.sha256,
        "sha256_of": "files under Data/" if Path(artifact.path).is_dir() else "file",
        "precision": _precision(artifact, verdict),
    }


def _tensor(spec: TensorSpec, preprocessing: Preprocessing, layout: str) -> dict[str, Any]:
    """The normalization is on pixels in [0, 1]: x = (pixel / 255 - mean) / std."""
    shown = layout if len(spec.shape) == 4 else "as the model"
    normalization = {"mean": list(preprocessing.mean), "std": list(preprocessing.std), "range": [0.0, 1.0]}
    return {**msgspec.to_builtins(spec), "layout": shown, "normalization": normalization}


def write(manifest: dict[str, Any], folder: Path) -> None:
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """Raises UserError: no manifest, not JSON, another schema version, or a path that leaves the folder."""
    path = folder / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{folder} holds no readable {NAME}; give a target's folder that `edgekit export` wrote"
        ) from error
    except ValueError as error:
        raise UserError(f"{path} is not JSON: {error}") from error
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path}: schema_version must be {SCHEMA_VERSION}; export again with this edgekit")
    return data


def artifact_of(folder: Path) -> tuple[Artifact, dict[str, Any]]:
    """The artifact a manifest describes, its checksums proven. Raises UserError or VerificationError."""
    manifest = read(folder)
    try:
        entry = next(e for e in manifest["artifacts"] if e["role"] == "model")
        checked = [
            (entry["path"], entry["sha256"]),
            (manifest["golden"]["path"], manifest["golden"]["sha256"]),
        ]
        artifact = _artifact(manifest, entry, folder)
        msgspec.convert([name for name, _ in checked], list[str])
        msgspec.convert(manifest["golden"]["atol"], float)
        msgspec.convert(manifest["target"]["runtime"], Runtime)
    except (AttributeError, KeyError, TypeError, StopIteration, msgspec.ValidationError) as error:
        raise UserError(f"{folder / NAME} is incomplete: {error}; export again") from error
    for name, expected in checked:
        check_file(folder, name, expected)
    return artifact, manifest


def _artifact(manifest: dict[str, Any], entry: dict[str, Any], folder: Path) -> Artifact:
    names = set(TensorSpec.__struct_fields__)
    sides = {
        side: [{k: v for k, v in t.items() if k in names} for t in manifest["signature"][side]]
        for side in ("inputs", "outputs")
    }
    return msgspec.convert(
        {
            "path": str(folder / entry["path"]),
            "format": entry["format"],
            "precision": _stored(entry["precision"], manifest),
            "size_bytes": entry["bytes"],
            "compressed_bytes": entry.get("compressed_bytes", {}),
            "sha256": entry["sha256"],
            "layout": "as the model",
            "toolchain": manifest["toolchain"],
            **sides,
        },
        Artifact,
    )


def _stored(precision: str, manifest: dict[str, Any]) -> str:
    """The precision that a mixed file was made for."""
    if precision != MIXED:
        return precision
    return str(manifest["compression"]["recipe"]["precision"])


def check_file(folder: Path, name: str, expected: str) -> None:
    """Raises VerificationError if a file of the manifest is gone, outside the folder, or altered."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise VerificationError(f"{folder / NAME} points outside its folder: {name}")
    if not path.exists():
        raise VerificationError(f"{folder / name} is missing; export again")
    found = sha256(path)
    if found != expected:
        raise VerificationError(
            f"{folder / name} was altered after export: its sha256 is {found[:16]}..., the manifest says {str(expected)[:16]}..."
        )


def target_folders(place: Path) -> list[Path]:
    """The folders with a manifest: `place` itself, or those of every target in it. Raises UserError if there is none."""
    if not place.exists():
        raise UserError(f"{place} does not exist; give a folder that `edgekit export` wrote")
    if (place / NAME).is_file():
        return [place]
    found = sorted(path.parent for path in place.glob(f"*/{NAME}")) if place.is_dir() else []
    if not found:
        raise UserError(
            f"{place} holds no accepted artifact (no {NAME}); give a folder that `edgekit export` wrote"
        )
    return found
