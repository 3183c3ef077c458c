"""Exported folders on emulated ARM CPUs: each target that ARM machines serve answers there as here, and its instructions are counted."""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
from edgekit_runner import __version__
from edgekit_runner.errors import UserError as RunnerUserError
from edgekit_runner.golden import archive

from edgekit.arm import proof
from edgekit.arm.cpus import CPUS, cpu_of
from edgekit.arm.userland import RUNTIMES
from edgekit.device.scratch import Scratch
from edgekit.engine import process
from edgekit.engine.catalogue import ANSWER
from edgekit.engine.verify_specs import AnswerSpec, EmulateSpec
from edgekit.errors import UserError
from edgekit.package import manifest_file
from edgekit.package.bundle import bundle_file
from edgekit.records import Artifact, EmulatedRun, Record
from edgekit.records.instructions import SCHEMA_VERSION, Instructions
from edgekit.records.manifest import Manifest
from edgekit.report import load
from edgekit.requirements import runtime_version


class Asked(Record):
    """What is asked for beside the folder.

    Attributes:
        cpus: As qemu calls them; empty is all of them.
        inputs: An .npz of input_i, samples first, in place of the golden input; "" for that one.
        runs: How many inferences are counted.
    """

    cpus: tuple[str, ...] = ()
    inputs: str = ""
    runs: int = 5


class ArmProof(Record):
    """One target on the CPUs; without runs the reason why it was not run."""

    target: str
    runs: tuple[EmulatedRun, ...] = ()
    left_out: str = ""


def prove(place: Path, asked: Asked, note: Callable[[str], None]) -> list[ArmProof]:
    """Runs every target of an exported folder, or of a bundle, that ARM machines serve.

    Args:
        place: The folder.
        asked: What is asked for beside.
        note: Is told what takes time.

    Raises:
        UserError: Something asked for is wrong, or no target runs there.
        MissingRuntime: The emulator cannot be had.
        DeviceError: The runner does not come to an end there.
    """
    for name in asked.cpus:
        cpu_of(name)
    place = place / "targets" if bundle_file.is_bundle(place) else place
    found = [_prove_one(folder, asked, note) for folder in manifest_file.target_folders(place)]
    if not any(each.runs for each in found):
        raise UserError("; ".join(f"{each.target}: {each.left_out}" for each in found))
    return found


def _prove_one(folder: Path, asked: Asked, note: Callable[[str], None]) -> ArmProof:
    artifact, data = manifest_file.artifact_of(folder)
    if data.target.runtime not in RUNTIMES or not data.target.isa.startswith("arm"):
        why = f"it runs in {data.target.runtime} on {data.target.isa}; emulated are {', '.join(RUNTIMES)} on ARM"
        return ArmProof(target=folder.name, left_out=why)
    with Scratch() as work:
        spec = EmulateSpec(
            artifact=artifact,
            runtime=data.target.runtime,
            runtime_version=runtime_version(data.target.runtime),
            golden=_golden(folder, artifact, data, asked.inputs, work),
            golden_atol=data.golden.atol,
            target=folder.name,
            cpus=asked.cpus or tuple(cpu.name for cpu in CPUS),
            baseline=_float_of(folder),
            runs=asked.runs,
        )
        return ArmProof(target=folder.name, runs=proof.emulate(spec, note).runs)


def _golden(folder: Path, artifact: Artifact, data: Manifest, inputs: str, work: Path) -> str:
    """The golden pair of the folder, or the given inputs with what the file answers to them on this machine."""
    if not inputs:
        return str(folder / data.golden.path)
    given = _read_inputs(Path(inputs), artifact)
    spec = AnswerSpec(
        artifact=artifact,
        runtime=data.target.runtime,
        inputs=inputs,
        outputs=str(work / "answers.npz"),
        exact=manifest_file.is_exact_here(data),
    )
    answer, _ = process.run(ANSWER, spec, work / "answer", label=f"answer {folder.name}")
    with np.load(answer.outputs, allow_pickle=False) as answers:
        np.savez(work / "golden.npz", allow_pickle=False, **given, **answers)
    return str(work / "golden.npz")


def _read_inputs(path: Path, artifact: Artifact) -> dict[str, np.ndarray]:
    try:
        arrays = archive.arrays_of(str(path))
    except RunnerUserError as error:
        raise UserError(f"--inputs: {error}") from error
    names = [f"input_{i}" for i in range(len(artifact.inputs))]
    wanted = ", ".join(
        f"{name} {list(spec.shape)}" for name, spec in zip(names, artifact.inputs, strict=True)
    )
    shapes = [arrays[name].shape[1:] if name in arrays else None for name in names]
    if set(arrays) != set(names) or shapes != [tuple(spec.shape[1:]) for spec in artifact.inputs]:
        held = ", ".join(f"{name} {list(array.shape)}" for name, array in sorted(arrays.items())) or "nothing"
        raise UserError(
            f"--inputs {path} holds {held}; {artifact.path} takes {wanted}, with any number of samples first"
        )
    return arrays


def _float_of(folder: Path) -> Artifact | None:
    """The float file that the export compared with; None in a bundle, which has none, or for a folder that was copied out."""
    if not (folder.parent / load.NAME).is_file():
        return None
    report = load.read(folder.parent)
    found = next((target.baseline for target in report.targets if target.folder == folder.name), None)
    if found is None or not (folder.parent / found.path).exists():
        return None
    return msgspec.structs.replace(found, path=str(folder.parent / found.path))


def write_counts(path: Path, proofs: Sequence[ArmProof]) -> None:
    """Writes the instruction counts of all targets as one file, for `edgekit check`.

    Raises:
        UserError: It cannot be written, or nothing was counted.
    """
    runs = [run for each in proofs for run in each.runs if run.count is not None]
    if not runs:
        raise UserError(
            f"nothing was counted, so {path} is not written: no file gave the right answers there"
        )
    found = Instructions(
        schema_version=SCHEMA_VERSION,
        kind="instructions",
        edgekit_version=__version__,
        emulator=runs[0].emulator,
        counts=tuple(run.count for run in runs if run.count is not None),
    )
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error


def exit_code(proofs: Sequence[ArmProof]) -> int:
    """0 where every file that was run gave the right answers."""
    return 0 if all(run.passed for each in proofs for run in each.runs) else 1
