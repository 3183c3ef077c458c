"""A file with free axes is executed at the shortest, the longest and two lengths between, beside the float model.

A converter may write a length into the file though its shape says that it is free: a position, a mask, a reshape. One shape proves
nothing about the others.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from edgekit_runner.stats.deviation import snr_db

from edgekit.arrays import to_layout
from edgekit.errors import VerificationError
from edgekit.records import Artifact, LengthProof, Traced
from edgekit.verify.predict import Session, decode, encode

FLOAT_DB = 50.0  # as of a float32 file at the length of the example
LEAST_DB = 10.0  # of integers and float16: right files keep 13 to 60, those with a length written into them less than 7
LOST_DB = 10.0  # what a length may keep less than the best, where that is little already
CEILING_DB = 200.0


def prove(session: Session, artifact: Artifact, traced: Traced, own: bool) -> tuple[LengthProof, ...]:
    """Executes the file at every length for which the float model was asked.

    Args:
        session: The opened file.
        artifact: Its description.
        traced: The float model's answers.
        own: Whether the file was made of the float model itself, and not of what pruning or training left of it.

    Returns:
        What each output keeps to float at each length; nothing where no axis is free.

    Raises:
        VerificationError: An output keeps too little at a length, has another shape there, or the file does not run.
    """
    if not artifact.free or not traced.shapes_file:
        return ()
    with np.load(traced.shapes_file, allow_pickle=False) as kept:
        asked = {name: kept[name] for name in kept.files}
    count = 1 + max(int(name.rpartition("_")[2]) for name in asked)
    found = tuple(_at(session, artifact, asked, number) for number in range(count))
    _judge(artifact, found, own)
    return found


def _at(session: Session, artifact: Artifact, asked: Mapping[str, np.ndarray], number: int) -> LengthProof:
    inputs = [asked[f"input_{i}_{number}"] for i in range(len(artifact.inputs))]
    lengths = {
        name: int(array.shape[int(axis)])
        for array, spec in zip(inputs, artifact.inputs, strict=True)
        for axis, name in spec.free.items()
    }
    where = " and ".join(f"{name} {length}" for name, length in lengths.items())
    feeds = {
        spec.name: np.asarray(encode(to_layout(array, artifact.layout), spec), order="C")
        for spec, array in zip(artifact.inputs, inputs, strict=True)
    }
    try:
        answers = session.run(feeds)
    except Exception as error:  # each runtime raises its own
        raise VerificationError(
            f"the file does not run at {where}: {' '.join(str(error).split())[:300]}"
        ) from error
    kept = []
    for i, spec in enumerate(artifact.outputs):
        right = to_layout(asked[f"output_{i}_{number}"], artifact.layout)
        got = decode(np.asarray(answers[spec.name]), spec)
        if got.shape != right.shape:
            raise VerificationError(
                f"output {spec.name} has shape {list(got.shape)} at {where}; the float model's has {list(right.shape)}"
            )
        kept.append(_db(right, got))
    return LengthProof(lengths=lengths, snr_db=tuple(kept))


def _db(right: np.ndarray, got: np.ndarray) -> float | None:
    if right.dtype.kind != "f":
        return None
    db = snr_db(right, got)
    return None if np.isnan(db) else float(np.clip(db, -CEILING_DB, CEILING_DB))


def _judge(artifact: Artifact, found: Sequence[LengthProof], own: bool) -> None:
    for index, spec in enumerate(artifact.outputs):
        kept = [(proof.snr_db[index], proof.lengths) for proof in found]
        numbers = [(db, lengths) for db, lengths in kept if db is not None]
        if not numbers:
            continue
        best = max(db for db, _ in numbers)
        whole = own and artifact.precision == "float32"
        least = FLOAT_DB if whole else min(best - LOST_DB, LEAST_DB)
        db, lengths = min(numbers, key=lambda pair: pair[0])
        if db < least:
            where = " and ".join(f"{name} {length}" for name, length in lengths.items())
            raise VerificationError(
                f"output {spec.name} keeps {db:.1f} dB to the float model at {where}, and {best:.1f} dB at its best length; "
                f"at least {least:.1f} dB is expected: the file holds a length that should be free, or its ranges do not"
            )
