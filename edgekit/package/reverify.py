"""Re-proves exported folders: nothing altered, and the artifact still answers its golden pair and is what it is called."""

from pathlib import Path

import msgspec

from edgekit import requirements
from edgekit.device.scratch import Scratch
from edgekit.engine import process
from edgekit.engine.catalogue import RECHECK
from edgekit.engine.verify_specs import Recheck, RecheckSpec
from edgekit.errors import UserError, VerificationError
from edgekit.package import manifest_file
from edgekit.package.bundle import bundle_file
from edgekit.package.sums import check_whole
from edgekit.records import Artifact
from edgekit.records.manifest import Manifest


def recheck(place: Path, key: Path | None = None) -> dict[str, Recheck]:
    """Re-proves one target's folder, all of an export, or a bundle.

    Args:
        place: The folder.
        key: The public key that a bundle must be signed with.

    Returns:
        Target name -> what was found.

    Raises:
        UserError: The folder is not one that edgekit wrote.
        VerificationError: A file was altered, an answer is wrong, or nothing in the file is of the precision that it claims.
        MissingRuntime: A runtime is not installed.
    """
    if bundle_file.is_bundle(place):
        bundle_file.check_bundle(place, key)
        place = place / "targets"
    elif key is not None:
        raise UserError(
            f"{place} is no bundle, so it has no signature; leave --key out, or give what `edgekit package` wrote"
        )
    else:
        manifest_file.target_folders(place)  # says what a folder is that is no export
        check_whole(place)
    return {folder.name: _recheck_one(folder) for folder in manifest_file.target_folders(place)}


def _recheck_one(folder: Path) -> Recheck:
    artifact, data = manifest_file.artifact_of(folder)
    own = data.target.runtime
    found = _recheck_in(own, folder, artifact, data)
    fastest = data.runtimes.fastest if data.runtimes else own
    if fastest == own:
        return found
    return msgspec.structs.replace(found, elsewhere=_elsewhere(fastest, folder, artifact, data))


def _elsewhere(runtime: str, folder: Path, artifact: Artifact, data: Manifest) -> str:
    """Re-proves the file in a second runtime, which an app was told to use; says so where it is not installed here."""
    lacking = requirements.lacking(runtime)
    if lacking:
        return f"not checked in {runtime}, where it is the fastest: not installed; pip install {' '.join(lacking)}"
    try:
        found = _recheck_in(runtime, folder, artifact, data)
    except VerificationError as error:
        raise VerificationError(f"in {runtime}, which its manifest calls the fastest: {error}") from error
    return f"in {runtime}, where it is the fastest, off by {found.max_abs_error:.4g}"


def _recheck_in(runtime: str, folder: Path, artifact: Artifact, data: Manifest) -> Recheck:
    spec = RecheckSpec(
        artifact=artifact,
        runtime=runtime,
        golden=str(folder / data.golden.path),
        golden_atol=data.golden.atol,
        exact=runtime == data.target.runtime and manifest_file.is_exact_here(data),
    )
    with Scratch() as work:
        found, _ = process.run(RECHECK, spec, work, label=f"verify {folder.name} in {runtime}")
    if found.findings:  # what the gate refuses at export is refused here
        raise VerificationError(
            f"{artifact.path} is not the {artifact.precision} file that its manifest says: {'; '.join(found.findings)} "
            f"(in {runtime}); export again"
        )
    return found
