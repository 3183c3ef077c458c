"""What a quantized program keeps to its float program, on samples of the metric: what its file will be held to.

A converter may lose what the program has: a bias, a scale, an order of channels. Both answer the same few samples, in
the stage that has the program at hand; `edgekit.ladder.floor` compares the file's answers to those samples with it.
"""

from collections.abc import Sequence

import msgspec
import numpy as np
import torch

from edgekit.golden import snr_db
from edgekit.quant import program as programs
from edgekit.records import Candidate, Traced
from edgekit.trace.structure import in_rows

SAMPLES = 8  # of those that the trace kept
CEILING_DB = 200.0  # stands for no error at all: a record is JSON


def promised(made: Candidate, before: Candidate, traced: Traced) -> Candidate:
    """Returns `made` with what its program keeps to that of `before`, in dB, one number per output."""
    with np.load(traced.samples_file, allow_pickle=False) as kept:
        inputs = [kept[f"input_{i}"][:SAMPLES] for i in range(len(traced.inputs))]
        answers = [kept[f"output_{i}"][:SAMPLES] for i in range(len(traced.outputs))]
    right = answers if before.program == traced.program else answers_of(before.program, inputs, traced)
    found = answers_of(made.program, inputs, traced)
    db = tuple(kept_db(a, b) for a, b in zip(right, found, strict=True))
    return msgspec.structs.replace(made, promised_db=db)


def answers_of(path: str, inputs: Sequence[np.ndarray], traced: Traced) -> list[np.ndarray]:
    """Returns all outputs of a program for all samples in rows, [N, ...] each; programs have batch 1."""
    module = programs.load(path).module()

    def call(*arrays: np.ndarray) -> list[np.ndarray]:
        answer = module(*(torch.from_numpy(a) for a in arrays))
        return [t.numpy() for t in (answer if isinstance(answer, tuple | list) else (answer,))]

    axes = [[spec.batch_axis for spec in specs] for specs in (traced.inputs, traced.outputs)]
    asked, rows = in_rows(call, *axes), []
    with torch.no_grad():
        for i in range(len(inputs[0])):
            rows.append(asked(*(part[i : i + 1] for part in inputs)))
    return [np.concatenate(column) for column in zip(*rows, strict=True)]


def kept_db(right: np.ndarray, found: np.ndarray) -> float | None:
    """Returns what an output keeps, within +-CEILING_DB; None for integers, and where there is no signal."""
    if right.dtype.kind != "f":
        return None
    db = snr_db(right, found)
    return None if np.isnan(db) else float(np.clip(db, -CEILING_DB, CEILING_DB))
