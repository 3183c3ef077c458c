"""Golden input and output: proof before timing that the artifact computes what it should.

The golden file may hold several samples: where every leading dimension is the same multiple of the artifact's fixed
one, the artifact is run once per slice; those of a stream are its steps, the state from step to step is the artifact's own. With the float model's answers it proves two things: that this device computes
the file as the host did, and that the file is right.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edgekit_runner.backends import Arrays, Session, TensorInfo
from edgekit_runner.errors import VerificationError
from edgekit_runner.feeds import as_feed, dequantize
from edgekit_runner.golden.archive import Array, Golden
from edgekit_runner.stats import deviation


@dataclass(frozen=True, kw_only=True)
class GoldenResult:
    """What the check found.

    Attributes:
        status: "passed", "failed" or "absent".
        output: The output that came closest to its tolerance.
        max_abs_error: The largest error of that output, in its own unit.
        atol: Its tolerance, in the same unit; `atol_source` says where it comes from.
        samples_count: How many batches of the artifact were compared.
        float_snr_db: The least that an output keeps to the float model's answer; None without error or answer.
        equal_ratio: The share of values that are exactly those of the golden outputs.
        top1_ratio: The share of samples whose largest value is in the same place, of the output that has it least often;
            None where no output has several values a sample.
    """

    status: str
    output: str | None = None
    max_abs_error: float | None = None
    atol: float | None = None
    atol_source: str | None = None
    samples_count: int = 0
    float_snr_db: float | None = None
    equal_ratio: float | None = None
    top1_ratio: float | None = None


ABSENT = GoldenResult(status="absent")


def slices(golden: Golden, session: Session) -> Iterator[tuple[Arrays, tuple[Array, ...]]]:
    """Cuts the golden arrays into batches of the artifact.

    Yields:
        Feeds in the artifact's dtype, and the expected outputs.

    Raises:
        VerificationError: Number or shapes do not fit the artifact.
    """
    _fit_counts(golden, session)
    parts = {golden.steps_count} - {0} or {
        _parts(array, info) for array, info in zip(golden.inputs, session.inputs, strict=True)
    }
    whole = (*golden.outputs, *(golden.inputs if golden.steps_count else ()))
    if len(parts) != 1 or any(a.ndim and len(a) % max(parts) for a in whole if max(parts) > 1):
        raise VerificationError("the golden arrays do not split into one number of batches of the artifact.")
    count = parts.pop()
    for i in range(count):
        inputs = [_slice(array, i, count) for array in golden.inputs]
        pairs = zip(session.inputs, inputs, strict=True)
        yield (
            {info.name: as_feed(a, info) for info, a in pairs},
            tuple(_slice(o, i, count) for o in golden.outputs),
        )


def check(session: Session, golden: Golden, atol: float | None) -> GoldenResult:
    """Runs every slice and compares real values.

    Args:
        session: The opened artifact.
        golden: What to feed and what to expect.
        atol: The tolerance of every output; None for that of `deviation.default_atol`.

    Raises:
        VerificationError: An output is beyond its tolerance, holds NaN or infinity where the reference has none, or
            has another shape.
    """
    worst, margin, count = ABSENT, -1.0, 0
    answers: list[list[tuple[str, Array]]] = []
    for feeds, expected in slices(golden, session):
        results = session.run(session.continued(feeds) if count else feeds)
        count += 1
        answers.append([(info.name, dequantize(results[info.name], info)) for info in session.outputs])
        for info, reference in zip(session.outputs, expected, strict=True):
            real = dequantize(results[info.name], info)
            tolerance, source = (
                (atol, "given") if atol is not None else deviation.default_atol(info, reference)
            )
            error = deviation.max_error(info.name, real, reference)
            if error > tolerance:
                raise VerificationError(
                    f"output {info.name!r} differs from golden by {error:.4g}; allowed: {tolerance:.4g} "
                    f"({source}). It is not timed: export again, or give the tolerance it was accepted with."
                )
            if (part := error / tolerance if tolerance else 0.0) > margin:
                worst, margin = (_passed(info.name, error, tolerance, source), part)
    got = [np.concatenate([np.atleast_1d(row[i][1]) for row in answers]) for i in range(len(session.outputs))]
    return replace(
        worst,
        samples_count=count,
        float_snr_db=near_float(answers, golden),
        equal_ratio=_equal_ratio(got, golden.outputs),
        top1_ratio=_top1_ratio(got, golden.outputs),
    )


def _equal_ratio(got: Sequence[Array], expected: Sequence[Array]) -> float | None:
    size = sum(array.size for array in got)
    same = sum(int((a.ravel() == b.ravel()).sum()) for a, b in zip(got, expected, strict=True))
    return same / size if size else None


def _top1_ratio(got: Sequence[Array], expected: Sequence[Array]) -> float | None:
    rows = [
        (a.reshape(len(a), -1), b.reshape(len(a), -1))
        for a, b in zip(got, expected, strict=True)
        if a.ndim > 1
    ]
    shares = [float((a.argmax(1) == b.argmax(1)).mean()) for a, b in rows if a.shape[1] > 1 and len(a)]
    return min(shares, default=None)


def near_float(answers: Sequence[Sequence[tuple[str, Array]]], golden: Golden) -> float | None:
    """The least that an output keeps to the float model's answer, in decibels, over all slices.

    Args:
        answers: Name and real values of each output, for each slice.
        golden: The float model's answers and what to keep to them.

    Raises:
        VerificationError: It is less than the export was proven with: the file itself is wrong, whatever the device.
    """
    lowest: float | None = None
    for index, (reference, least) in enumerate(zip(golden.floats, golden.float_min_snr_db, strict=True)):
        name, got = answers[0][index][0], np.concatenate([row[index][1] for row in answers])
        db = deviation.snr_db(reference, got)
        if not math.isnan(least) and not db >= least:
            raise VerificationError(
                f"output {name!r} keeps {db:.1f} dB to the float model's answer; it was exported with at least {least:.1f}. "
                "It is not timed: export again."
            )
        lowest = db if math.isfinite(db) and (lowest is None or db < lowest) else lowest
    return lowest


def refuse_nan(outputs: Arrays) -> None:
    """Raises `VerificationError` when an output holds NaN."""
    for name, array in outputs.items():
        if array.dtype.kind == "f" and bool(np.isnan(array).any()):
            raise VerificationError(
                f"output {name!r} holds NaN; it is not timed. Export again and compare by layer."
            )


def _passed(name: str, error: float, atol: float, source: str) -> GoldenResult:
    return GoldenResult(status="passed", output=name, max_abs_error=error, atol=atol, atol_source=source)


def _fit_counts(golden: Golden, session: Session) -> None:
    for what, have, want in (
        ("inputs", golden.inputs, session.inputs),
        ("outputs", golden.outputs, session.outputs),
    ):
        if len(have) != len(want):
            raise VerificationError(f"golden holds {len(have)} {what}, the artifact has {len(want)}.")


def _parts(array: Array, info: TensorInfo) -> int:
    """How many of the artifact's batches the array holds; `VerificationError` when none fits."""
    fits = array.ndim == len(info.shape) and all(
        w in (-1, h) for h, w in zip(array.shape[1:], info.shape[1:], strict=True)
    )
    if fits and (not info.shape or info.shape[0] in (-1, array.shape[0])):
        return 1
    if fits and info.shape[0] > 0 and array.shape[0] > 0 and array.shape[0] % info.shape[0] == 0:
        return len(array) // info.shape[0]
    raise VerificationError(
        f"golden input for {info.name!r} has shape {list(array.shape)}, the artifact {list(info.shape)}."
    )


def _slice(array: Array, index: int, count: int) -> Array:
    if count == 1 or not array.ndim:
        return array
    size = len(array) // count
    return array[index * size : (index + 1) * size]
