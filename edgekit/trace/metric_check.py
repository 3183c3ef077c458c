"""What the metric looks at, found by asking it again: the float model's recorded answers are changed, and no model runs.

- The same answers to the same questions must give the same figure: else the metric is not deterministic.
- Answers shuffled among samples must give a lower one: else the float model is at chance, or the metric cannot see
  errors. The float figure must stand three standard deviations above five shuffles, or, where few samples make that wide,
  two above ten and above each of them.
- One output, or the first or last channels of one, replaced by noise must change the figure: else the metric does not look
  there, and whatever happens there goes unseen.
- What each output is, and so how it is compared (`edgekit.trace.output_measures`).

An answer that the metric feeds back as an input cannot be changed: the recorder was never asked what follows from it. Such
outputs are left out. Cost: some fifteen calls of the metric, each as long as one that costs no model; only the two for
classes where one takes longer than SLOW_S.
"""

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from edgekit.arrays import slice_axis
from edgekit.errors import TaskError
from edgekit.records import Measure, TensorSpec
from edgekit.trace import output_measures
from edgekit.trace.metric_trials import SAME_METRIC, FedBack, Score, Trials, noise, same
from edgekit.trace.recorder import Recorder, Replay

SLOW_S = 2.0
SHUFFLES = 5
STDS = 3.0
FEW_SAMPLES_STDS = 2.0
MAX_OUTPUTS = 4  # looked at one by one
MAX_CHANNEL_OUTPUTS = 2


class Replayed(NamedTuple):
    """The metric, computed a second time.

    Attributes:
        seconds: How long that took.
        doubts: That the metric is not deterministic, if so.
    """

    seconds: float
    doubts: tuple[str, ...]


class Seen(NamedTuple):
    """What the metric looks at.

    Attributes:
        measures: How each output is compared with the float model's.
        doubts: Sentences about what the metric does not see.
    """

    measures: tuple[Measure, ...]
    doubts: tuple[str, ...]


def replay(name: str, recorder: Recorder, score: Score, metric: float) -> Replayed:
    """Scores the recorded answers again.

    Args:
        name: The name of the task, for messages.
        recorder: What the model answered.
        score: Computes the metric of a predict function.
        metric: The metric of the first time.

    Raises:
        TaskError: The metric asks for nothing that it asked before.
    """
    again_of, start = Replay(recorder), time.perf_counter()
    again = score(again_of)
    seconds = time.perf_counter() - start
    if again_of.unknown == again_of.samples:
        raise TaskError(
            f"the metric of task {name!r} asked for {again_of.unknown} samples, none of them those it asked for "
            "before: it is not deterministic. Fix its random seed, so that every artifact is scored on the same samples"
        )
    cause = ""
    if again_of.unknown:
        cause = f"it asked for {again_of.unknown} of {again_of.samples} other samples the second time"
    elif not same(again, metric):
        cause = "to the same answers of the float model"
    if not cause:
        return Replayed(seconds, ())
    doubt = (
        f"the metric is not deterministic: {metric:.6g} and then {again:.6g}, {cause}; "
        f"a drop below {abs(again - metric):.2g} says nothing. Fix its random seed"
    )
    return Replayed(seconds, (doubt,))


def look(
    recorder: Recorder,
    score: Score,
    metric: float,
    replayed: Replayed,
    outputs: Sequence[TensorSpec],
    inputs: Sequence[TensorSpec] = (),
    labels: int = 0,
    told: Mapping[str, Measure] | None = None,
) -> Seen:
    """Finds out what the metric sees of the outputs.

    Args:
        recorder: What the model answered.
        score: Computes the metric of a predict function.
        metric: The metric of the unchanged answers.
        replayed: What `replay` found.
        outputs: The outputs of the model.
        inputs: Its inputs.
        labels: How many class names the task gives.
        told: The measures that the task gives, by the name of the output.
    """
    answers = recorder.answers()
    if not answers:
        return Seen((), ())
    trials = Trials(answers, score, metric)
    quick = replayed.seconds <= SLOW_S
    measures = output_measures.pick(outputs, inputs, told or {}, trials, labels, not replayed.doubts, quick)
    lengths = {tuple(a.shape[1:] for a in arrays) for arrays in answers.values()}
    if replayed.doubts or not quick or trials.rows < 2 or len(lengths) > 1:
        return Seen(measures, ())
    names = [spec.name for spec in outputs]
    return Seen(measures, _Look(trials, names, measures[0].kind == "top1").doubts())


class _Look:
    """The doubts about what the metric sees."""

    def __init__(self, trials: Trials, names: Sequence[str], classes: bool) -> None:
        self._trials, self._names, self._classes = trials, names, classes

    def doubts(self) -> tuple[str, ...]:
        free, ignored = self._outputs()
        if not free:
            return ()
        blind = self._shuffles(free)
        if blind or ignored == free:
            return (blind,) if blind else ()
        return (*(self._unseen(i) for i in ignored), *self._channels([i for i in free if i not in ignored]))

    def _outputs(self) -> tuple[list[int], list[int]]:
        """Returns the outputs that are not fed back, and those of them that may be anything."""
        free, ignored = [], []
        for i in range(min(len(self._names), MAX_OUTPUTS)):
            try:
                changed = self._trials.changes(noise(i))
            except FedBack:
                continue
            free.append(i)
            ignored += [] if changed else [i]
        return free, ignored

    def _shuffles(self, free: list[int]) -> str:
        """Returns the doubt that answers count at all, or ""."""
        metric, found = self._trials.metric, list[float]()
        for seed in range(2 * SHUFFLES):
            value = self._trials.shuffled(free, seed)
            if value is None:
                return ""
            found.append(value)
            if len(found) >= SHUFFLES and (_stands_out(metric, found) or metric <= max(found)):
                break
        if _stands_out(metric, found) or (
            metric > max(found) and _stands_out(metric, found, FEW_SAMPLES_STDS)
        ):
            return ""
        figures = f"{metric:.4g} for the float model's answers and {np.mean(found):.4g} for the same answers shuffled among samples (n = {self._trials.rows})"
        if _stands_out(-metric, [-value for value in found]):
            return f"the metric rises where answers get worse: {figures}. Higher must be better: return the negative of a loss"
        return f"this metric cannot see errors: it gives {figures}: a net at chance, or a metric that does not hold each answer to its own sample"

    def _unseen(self, output: int) -> str:
        return f"the metric does not look at {self._names[output]}: only the floor guards it"

    def _channels(self, looked_at: list[int]) -> list[str]:
        found = []
        for i in [i for i in looked_at if not (self._classes and i == 0)][:MAX_CHANNEL_OUTPUTS]:
            first = next(iter(self._trials.answers.values()))[i]
            axis = slice_axis(first.shape)
            if axis is None or first.shape[axis] < 2 or first.dtype.kind != "f":
                continue
            count = first.shape[axis]
            low, high = self._ignored(i, axis, count, False), self._ignored(i, axis, count, True)
            found += [
                f"the metric does not look at {_span(start, stop)} of the {count} channels of {self._names[i]}: "
                "only the floor guards them"
                for start, stop in ((0, low), (count - high, count))
                if stop > start
            ]
        return found

    def _ignored(self, output: int, axis: int, count: int, last: bool) -> int:
        """Returns how many of the first (or last) channels may be anything: by bisection, since not all of them may."""

        def matters(number: int) -> bool:
            part = slice(count - number, count) if last else slice(0, number)
            return self._trials.changes(noise(output, axis, part))

        if matters(1):
            return 0
        low, high = 1, count
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if matters(middle) else (middle, high)
        return low


def _stands_out(metric: float, shuffled: Sequence[float], stds: float = STDS) -> bool:
    spread = float(np.std(shuffled, ddof=1))
    return metric - float(np.mean(shuffled)) > max(stds * spread, SAME_METRIC * abs(metric), 1e-12)


def _span(start: int, stop: int) -> str:
    return f"channel {start}" if stop - start == 1 else f"channels {start} to {stop - 1}"
