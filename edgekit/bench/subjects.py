"""What can be measured: an artifact file, an exported folder, or the artifact of a runner's record."""

from pathlib import Path
from typing import Any

from edgekit_runner import artifact

from edgekit.device import record_check
from edgekit.errors import UserError, VerificationError
from edgekit.golden import golden_atol
from edgekit.package import manifest_file

Spec = dict[str, Any]
_TAKES = "give an artifact file, a target's folder that `edgekit export` wrote, or a runner's record (.json)"


def read_all(place: Path) -> list[Spec]:
    """Reads the runner's spec for an artifact file, or for every target in an exported folder.

    Raises:
        UserError: `place` is neither.
        VerificationError: A file was altered after export.
    """
    if _is_artifact(place):
        return [{"artifact": str(place)}]
    return [_of_target(folder) for folder in manifest_file.target_folders(place)]


def read_one(place: Path) -> Spec:
    """Reads the spec of exactly one artifact, which a record may name too. Raises as `read_all` does."""
    if place.suffix == ".json" and place.is_file():
        return _of_record(place)
    found = read_all(place)
    if len(found) > 1:
        names = ", ".join(folder.name for folder in manifest_file.target_folders(place))
        raise UserError(f"{place} holds several targets ({names}); name the folder of one")
    return found[0]


def pair(a: Path, b: Path) -> Spec:
    """Makes the spec that compares the artifact of `a` with that of `b`."""
    other = read_one(b)
    baseline = {f"baseline_{key}": value for key, value in other.items() if key not in ("artifact", "state")}
    return {**read_one(a), "baseline": other["artifact"], **baseline}


def _is_artifact(place: Path) -> bool:
    return place.is_file() or place.suffix == ".mlpackage"


def _of_target(folder: Path) -> Spec:
    found, data = manifest_file.artifact_of(folder)
    about = {"artifact": found.path, "format": found.format}
    steps = folder / manifest_file.STREAM
    if found.state and steps.is_file():
        atol = golden_atol(steps, found.precision)
        return {**about, "golden": str(steps), "golden_atol": atol, "state": dict(found.state)}
    return {**about, "golden": str(folder / data.golden.path), "golden_atol": data.golden.atol}


def _of_record(path: Path) -> Spec:
    """Takes the artifact of a record, unchanged since, with the options it was run with; a record keeps no golden pair."""
    try:
        record = record_check.read(path)
    except UserError as error:
        raise UserError(f"{error}; {_TAKES}") from error
    about = record["artifact"]
    if record["kind"] == "compare" or not about:
        raise UserError(f"{path} is no record of one artifact (its kind is {record['kind']}); {_TAKES}")
    place = Path(about["path"])
    if not place.exists():
        raise UserError(f"{path} is about {place}, which is not there; {_TAKES}")
    if artifact.sha256(place) != about["sha256"]:
        raise VerificationError(f"{place} is not the artifact that {path} is about: its sha256 is another")
    options = (record["protocol"] or {}).get("options") or {}
    return {"artifact": str(place), "format": about["format"], "options": options}
