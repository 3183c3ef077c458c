"""The golden file of a model with a state: several steps, each fed what the step before has left.

One step with a state of zeros proves little of a streaming model. The runner feeds the artifact its own answers back and holds every
step to what the artifact answered here, and to float's answer to the same inputs.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgekit.arrays import to_model
from edgekit.golden import write_golden
from edgekit.records import Artifact, TensorSpec, Traced
from edgekit.trace import promise
from edgekit.verify.predict import Predictor

STEPS = 8
NAME = "stream.npz"  # beside the golden pair


def write(
    path: Path, artifact: Artifact, traced: Traced, predictor: Predictor, inputs: Sequence[np.ndarray]
) -> None:
    """Runs a stream over the first inputs of the metric and writes its steps.

    Args:
        path: The file to write.
        artifact: The file's description, with its state.
        traced: The float model.
        predictor: The opened artifact.
        inputs: Inputs of the metric in rows, [N, ...]; repeated where they are fewer than the steps.
    """
    fed, answered = _run(artifact, predictor, inputs)
    floats = promise.answers_of(traced.program, fed, traced) if traced.program else ()
    pairs = (fed, traced.inputs), (answered, traced.outputs), (floats, traced.outputs)
    asked, answers, right = (
        [_steps(a, s) for a, s in zip(arrays, specs, strict=bool(arrays))] for arrays, specs in pairs
    )
    write_golden(path, asked, answers, artifact.layout, right, steps=len(fed[0]))


def _run(
    artifact: Artifact, predictor: Predictor, inputs: Sequence[np.ndarray]
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What goes in and what comes out, a row a step."""
    places = [[spec.name for spec in side] for side in (artifact.outputs, artifact.inputs)]
    feeds = {places[1].index(name): places[0].index(output) for output, name in artifact.state.items()}
    fed, answered = list[list[np.ndarray]](), list[list[np.ndarray]]()
    for step in range(STEPS):
        row = step % len(inputs[0])
        given = [
            answered[-1][feeds[i]] if i in feeds and step else a[:1] if i in feeds else a[row : row + 1]
            for i, a in enumerate(inputs)
        ]
        fed.append(given)
        answered.append(predictor.run(given))
    return _joined(fed), _joined(answered)


def _joined(steps: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(column) for column in zip(*steps, strict=True)]


def _steps(rows: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """The rows as the file takes them, one behind the other along its first axis; what has no axes is the same at every step."""
    each = [np.asarray(to_model(rows[i : i + 1], spec.batch_axis)) for i in range(len(rows))]
    return np.concatenate(each) if each[0].ndim else each[0]
