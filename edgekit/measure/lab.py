"""Records that were measured elsewhere and come as files: those of `edgekit compare ARTIFACT FLOAT --json` on a device.

A record counts for an artifact where both hashes agree, its comparison came to an end, and the artifact was proven against
its golden answer before it was timed.
"""

from pathlib import Path
from typing import Any

from edgekit.device import record_check
from edgekit.errors import UserError
from edgekit.records import Artifact


def check(folder: Path) -> None:
    """Checks the folder before any work.

    Raises:
        UserError: It is no folder, or a file in it is not a runner's record.
    """
    if not folder.is_dir():
        raise UserError(
            f"--records {folder} is no folder; give one with the .json files of edgekit compare --json"
        )
    _read_all(folder)


def find(folder: str, artifact: Artifact, baseline: Artifact) -> dict[str, Any] | None:
    """Returns the newest record about this pair of files; None where there is none, or no folder."""
    if not folder:
        return None
    pair = (artifact.sha256, baseline.sha256)
    found = [record for record in _read_all(Path(folder)) if _is_proven(record) and _pair(record) == pair]
    return max(found, key=lambda record: str(record["started_utc"]), default=None)


def _pair(record: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str((record[whose] or {}).get("sha256")) for whose in ("artifact", "baseline"))


def _is_proven(record: dict[str, Any]) -> bool:
    if record["kind"] != "compare" or record["status"] != "ok":
        return False
    return bool((record["artifact_golden"] or {}).get("status") == "passed")


def _read_all(folder: Path) -> list[dict[str, Any]]:
    return [record_check.read(path) for path in sorted(folder.glob("*.json"))]
