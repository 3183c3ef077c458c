"""Which samples an artifact answers otherwise than the float model, and what the metric makes of each.

The metric is the user's function, which tells no sample's score. So it is asked again with the float model's recorded
answers, one of them replaced by the artifact's: what that changes is this sample's share. Only samples whose class changed
can change a share of right answers; where the sum of their shares is not what the artifact lost, the metric is of another kind
and nothing is said. Cost: one call of the metric for each flip, without any model; after LIMIT_S the others are
counted as if each had changed something.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edgekit.records import Flip, Flips, Traced
from edgekit.trace.metric_trials import Change, FedBack, Score, Trials
from edgekit.trace.paired import drop_interval, mcnemar_p

LIMIT_S = 2.0
MOST = 1000  # flips: more are no question of chance
MOST_ANSWER_BYTES = 1 << 28
EXACT = 1e-3  # of a sample: how well the shares must add up

Place = tuple[str, int]  # the hash of a question, and the row of the sample in it


def find(
    traced: Traced, score: Score, changed: Mapping[Place, list[np.ndarray]], asked: int, metric: float
) -> Flips | None:
    """Looks at each sample whose class changed.

    Args:
        traced: The float model and its answers.
        score: Computes the metric of a predict function.
        changed: The artifact's answers to those samples, one row of each output.
        asked: How many samples the metric asked the artifact for.
        metric: The metric of the artifact.

    Returns:
        What was found; None where the metric is no share of right answers, or there are too many answers to hold.
    """
    path = Path(traced.predictions)
    if not _ranks(traced) or len(changed) > MOST or path.stat().st_size > MOST_ANSWER_BYTES:
        return None
    with np.load(path, allow_pickle=False) as kept:
        keys = dict.fromkeys(name.rpartition("_")[0] for name in kept.files)
        answers = {key: [kept[f"{key}_{i}"] for i in range(len(traced.outputs))] for key in keys}
    trials = Trials(answers, score, traced.metric)
    return look(trials, changed, metric) if trials.rows == asked else None


def look(trials: Trials, changed: Mapping[Place, list[np.ndarray]], metric: float) -> Flips | None:
    """Does so with the answers at hand."""
    try:
        shares = _shares(trials, changed)
    except FedBack:
        return None
    unit = next((abs(share) for share in shares.values() if share), 1 / trials.rows)
    gains = {place: share / unit for place, share in shares.items()}
    rest = (metric - trials.metric) / unit - sum(gains.values())
    others = len(changed) - len(gains)
    if not _adds_up(gains, rest, others, trials):
        return None
    counts = [round(gain) for gain in gains.values()]
    gained = counts.count(1) + (others + round(rest)) // 2
    lost = counts.count(-1) + (others - round(rest)) // 2
    return _counted(
        trials, changed, {place: round(gain) for place, gain in gains.items()}, unit, gained, lost
    )


def _shares(trials: Trials, changed: Mapping[Place, list[np.ndarray]]) -> dict[Place, float]:
    """What the metric gains by the artifact's answer to each sample alone, as far as LIMIT_S reaches."""
    found: dict[Place, float] = {}
    start = time.perf_counter()
    for place, rows in changed.items():
        value = trials.of(_replacing(place, rows))
        if value is None:
            break
        found[place] = value - trials.metric
        if abs(found[place]) < EXACT / trials.rows:
            found[place] = 0.0
        if time.perf_counter() - start > LIMIT_S:
            break
    return found


def _replacing(place: Place, rows: list[np.ndarray]) -> Change:
    def change(key: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
        if key != place[0]:
            return arrays
        replaced = [array.copy() for array in arrays]
        for array, row in zip(replaced, rows, strict=True):
            array[place[1]] = row
        return replaced

    return change


def _adds_up(gains: Mapping[Place, float], rest: float, others: int, trials: Trials) -> bool:
    """Whether each sample counts nothing, one more or one less, and all of them make the whole difference."""
    if not any(gains.values()) and not 0 <= trials.metric <= 1:
        return False  # nothing says what one sample counts
    whole = all(abs(gain - round(gain)) < EXACT and abs(gain) < 1.5 for gain in gains.values())
    return whole and abs(rest - round(rest)) < EXACT * trials.rows and abs(round(rest)) <= others


def _counted(
    trials: Trials,
    changed: Mapping[Place, list[np.ndarray]],
    gains: Mapping[Place, int],
    unit: float,
    gained: int,
    lost: int,
) -> Flips:
    scale = unit * trials.rows
    low, high = drop_interval(lost, gained, trials.rows)
    return Flips(
        samples=trials.rows,
        reference=_reference(trials),
        flips=tuple(
            Flip(
                sample=trials.number(place),
                float_class=int(trials.answers[place[0]][0][place[1]].argmax()),
                artifact_class=int(rows[0].argmax()),
                gain=gains.get(place),
            )
            for place, rows in changed.items()
        ),
        scale=scale,
        gained=gained,
        lost=lost,
        exact=len(gains) == len(changed),
        p_value=mcnemar_p(lost, gained),
        drop_low=low * scale,
        drop_high=high * scale,
    )


def _reference(trials: Trials) -> str:
    """A hash of the questions and of the classes that the float model answers."""
    state = hashlib.blake2b(digest_size=12)
    for key, arrays in trials.answers.items():
        state.update(key.encode())
        state.update(arrays[0].argmax(1).astype(np.int64).tobytes())
    return state.hexdigest()


def _ranks(traced: Traced) -> bool:
    """Whether the first output holds class scores."""
    return bool(traced.measures) and traced.measures[0].kind == "top1"
