"""`selftest`: an exported folder proves itself on this device, checksums first, then the golden output."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit_runner import api, artifact
from edgekit_runner.cli import sums
from edgekit_runner.errors import UserError, VerificationError
from edgekit_runner.record import AnyRecord

MANIFEST_VERSION = 2
MODEL_ROLE = "model"


def run(folder: str | Path, threads_count: int = 1) -> list[AnyRecord]:
    """Checks every file of the folder, then every model.

    Args:
        folder: Holds manifest.json.
        threads_count: Threads of the runtime.

    Returns:
        A record of kind check for each model.

    Raises:
        UserError: The folder is no bundle.
        VerificationError: The checksum of a file is not the manifest's.
    """
    root = Path(folder)
    manifest = _read(root)
    if (root / sums.NAME).exists():
        sums.check(root)
    models = [entry for entry in manifest["artifacts"] if entry.get("role") == MODEL_ROLE]
    if not models:
        raise UserError(
            f"the manifest of {root} names no artifact with the role {MODEL_ROLE!r}; export it again."
        )
    for entry in manifest["artifacts"]:
        _verify(root, entry)
    golden = manifest.get("golden")
    spec: dict[str, Any] = {"threads_count": threads_count}
    if golden is not None:
        spec |= {"golden": str(_verify(root, golden)), "golden_atol": golden.get("atol")}
    return [api.check({**spec, "artifact": str(_inside(root, m)), "format": m.get("format")}) for m in models]


def _read(root: Path) -> dict[str, Any]:
    path = root / "manifest.json"
    try:
        if path.exists() and not path.is_file():  # a pipe would never end
            raise OSError
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{root} is no bundle: it holds no readable manifest.json.") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}.") from None
    if not isinstance(data, dict) or data.get("schema_version") != MANIFEST_VERSION:
        version = data.get("schema_version") if isinstance(data, dict) else None
        raise UserError(
            f"{path} has schema_version {version!r}; this runner reads {MANIFEST_VERSION}; export again with the edgekit of this version."
        )
    entries = data.get("artifacts")
    golden = data.get("golden")
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UserError(f"{path}: 'artifacts' must be a list of objects.")
    if golden is not None and not isinstance(golden, dict):
        raise UserError(f"{path}: 'golden' must be an object or absent.")
    return data


def _inside(root: Path, entry: dict[str, Any]) -> Path:
    """The file of an entry. A path that leaves the bundle is refused: a manifest may come from anywhere."""
    name = entry.get("path")
    place = PurePosixPath(name) if isinstance(name, str) and name else None
    if place is None or place.is_absolute() or ".." in place.parts:
        raise UserError(
            f"manifest path {name!r} is not inside the bundle; give a relative path without '..'."
        )
    return root / place


def _verify(root: Path, entry: dict[str, Any]) -> Path:
    path = _inside(root, entry)
    if not path.exists():
        raise VerificationError(f"{path} is named by the manifest and is not there; export the bundle again.")
    wanted = entry.get("sha256")
    found = artifact.sha256(path)
    if found != wanted:
        raise VerificationError(
            f"{path} has sha256 {found[:12]}, the manifest says {str(wanted)[:12]}: damaged or changed."
        )
    return path
