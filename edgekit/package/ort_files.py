"""Exported ONNX files as a minimal build of ONNX Runtime takes them: model.ort and its operators, proven against the golden pair."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit_runner import api

from edgekit.arm import guest, userland
from edgekit.arm.cpus import CPUS
from edgekit.device.scratch import Scratch
from edgekit.engine import process
from edgekit.engine.catalogue import ORT
from edgekit.engine.output import check_place, is_free
from edgekit.engine.specs import OrtSpec
from edgekit.engine.workspace import replacement
from edgekit.errors import UserError, VerificationError
from edgekit.package import manifest_file
from edgekit.package.bundle import bundle_file
from edgekit.package.sums import check_whole
from edgekit.records import Record
from edgekit.records.manifest import Manifest
from edgekit.requirements import runtime_version

RUNTIME = "onnxruntime"


class OrtProof(Record):
    """A file in ONNX Runtime's own format.

    Attributes:
        path: Where it is.
        operators: The list of operators and types.
        max_abs_error: The largest difference to the golden output, in its unit, on this machine or on each emulated one.
        proven_on: Where it answered: "x86-64", "cortex-a72, emulated".
    """

    target: str
    path: str
    operators: str
    size_bytes: int
    sha256: str
    runtime_version: str
    golden_atol: float
    max_abs_error: float
    proven_on: tuple[str, ...]


def convert(place: Path, out: Path, arm: bool, note: Callable[[str], None]) -> list[OrtProof]:
    """Converts every ONNX file for ARM machines of an exported folder or a bundle; `out` appears whole or not at all.

    Args:
        place: The folder.
        out: The folder to write: one folder a target.
        arm: Whether the files are proven on emulated ARM CPUs, too.
        note: Is told what takes time.

    Raises:
        UserError: There is no such file, or `out` exists.
        ConversionError: ONNX Runtime's tool refuses a file.
        VerificationError: A converted file does not answer as the golden pair says.
    """
    _check_free(out)
    place = place / "targets" if bundle_file.is_bundle(place) else place
    folders = [
        folder for folder in manifest_file.target_folders(place) if _is_fit(manifest_file.read(folder))
    ]
    if not folders:
        raise UserError(
            f"no target in {place} is an ONNX file for ARM machines; give an export for arm-mobile"
        )
    with replacement(out, _check_free) as partial:
        return [
            _convert_one(folder, partial / folder.name, out / folder.name, arm, note) for folder in folders
        ]


def _check_free(out: Path) -> None:
    check_place(out)
    if not is_free(out):
        raise UserError(f"{out} exists; give the name of a new folder")


def _is_fit(data: Manifest) -> bool:
    return data.target.runtime == RUNTIME and data.target.isa.startswith("arm")


def _convert_one(
    folder: Path, partial: Path, place: Path, arm: bool, note: Callable[[str], None]
) -> OrtProof:
    check_whole(folder)
    artifact, data = manifest_file.artifact_of(folder)
    partial.mkdir()
    with Scratch() as work:
        spec = OrtSpec(path=artifact.path, folder=str(work), runtime_version=runtime_version(RUNTIME))
        made, _ = process.run(ORT, spec, work / "stage", label=f"ort {folder.name}")
        files = [Path(shutil.copy2(source, partial)) for source in (made.path, made.operators)]
    errors = _proven(files[0], folder, data, arm, note)
    return OrtProof(
        target=folder.name,
        path=str(place / files[0].name),
        operators=str(place / files[1].name),
        size_bytes=made.size_bytes,
        sha256=made.sha256,
        runtime_version=spec.runtime_version,
        golden_atol=data.golden.atol,
        max_abs_error=max(errors.values()),
        proven_on=tuple(errors),
    )


def _proven(
    file: Path, folder: Path, data: Manifest, arm: bool, note: Callable[[str], None]
) -> dict[str, float]:
    """Where the file answered the golden pair, and how far off.

    It holds fused kernels, which saturate on a machine whose exported file is proven without them: there only ARM proves it.
    """
    spec = {
        "kind": "check", "artifact": str(file), "format": "onnx", "runtime": RUNTIME, "warmup_s": 0.0, "warmup_count": 0,
        "golden": str(folder / data.golden.path), "golden_atol": data.golden.atol,
    }  # fmt: skip
    records: dict[str, Any] = {} if manifest_file.is_exact_here(data) else {"this machine": api.check(spec)}
    if arm or not records:
        here, site = userland.prepare(note), guest.wheels(RUNTIME)
        records |= {f"{cpu.name}, emulated": guest.run(here, cpu, site, spec) for cpu in CPUS}
    for where, record in records.items():
        if record["status"] != "ok":
            raise VerificationError(
                f"the .ort file of {folder.name} is not what was exported, on {where}: {record['reason']}"
            )
    return {where: float((record["golden"] or {})["max_abs_error"]) for where, record in records.items()}
