"""What a metric looks at, found from recorded answers: no model of a framework is needed."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.arrays import slice_axis
from edgekit.errors import TaskError
from edgekit.records import Measure, TensorSpec
from edgekit.trace import metric_check, output_measures
from edgekit.trace.metric_check import Replayed, Seen
from edgekit.trace.recorder import Recorder

N = 60
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((N, 3)).astype(np.float32)
LABELS = RNG.integers(0, 5, N)
SCORES = (np.eye(5)[LABELS] * 2 + RNG.standard_normal((N, 5))).astype(np.float32)
VALUES = RNG.standard_normal((N, 5)).astype(np.float32)
BOXES = RNG.uniform(0, 640, (N, 4, 8)).astype(np.float32)

Metric = Callable[[Callable[..., Any]], float]


def look(outputs: list[np.ndarray], metric: Metric, labels: int = 0, batch: int = N) -> Seen:
    """outputs: [N, ...] each, the answers to INPUTS. The metric gets a predict of them."""

    def answer(asked: np.ndarray) -> list[np.ndarray]:
        rows = [int(np.flatnonzero((row == INPUTS).all(1))[0]) for row in asked]
        return [o[rows] for o in outputs]

    def over_batches(predict: Callable[..., Any]) -> float:
        parts = [predict(INPUTS[i : i + batch]) for i in range(0, N, batch)]
        columns = [parts] if len(outputs) == 1 else list(zip(*parts, strict=True))
        joined = [np.concatenate(column) for column in columns]
        return metric(joined[0] if len(outputs) == 1 else joined)

    recorder = Recorder(answer)
    specs = [
        TensorSpec(name=f"output_{i}", shape=(1, *o.shape[1:]), dtype=str(o.dtype))
        for i, o in enumerate(outputs)
    ]
    images = [TensorSpec(name="x", shape=(1, 3, 8, 8), dtype="float32")]
    replayed = Replayed(0.0, ())
    return metric_check.look(recorder, over_batches, over_batches(recorder), replayed, specs, images, labels)


def spec(*names: str) -> list[TensorSpec]:
    return [TensorSpec(name=name, shape=(1, 1), dtype="float32") for name in names]


def kinds(seen: Seen) -> list[str]:
    return [measure.kind for measure in seen.measures]


def top1(y: np.ndarray) -> float:
    return float((y.argmax(1) == LABELS).mean())


def r2(y: np.ndarray) -> float:
    truth = VALUES + 0.3 * np.random.default_rng(1).standard_normal(VALUES.shape)
    return float(1 - ((y - truth) ** 2).mean() / truth.var())


def fidelity(y: np.ndarray) -> float:
    return float(1 - np.linalg.norm(y - VALUES) / np.linalg.norm(VALUES))


# ------------------------------------------------------------------------------------------------ classes
@pytest.mark.parametrize("batch", [N, 7, 1])
def test_a_metric_that_reads_the_argmax_alone_tells_classes(batch: int) -> None:
    assert look([SCORES], top1, batch=batch) == Seen((Measure(kind="top1"),), ())


@pytest.mark.parametrize(
    ("metric", "name"),
    [(r2, "R2"), (fidelity, "fidelity"), (lambda y: -float(np.abs(y - VALUES).mean()), "-MAE")],
)
def test_a_regression_is_no_class_and_no_doubt(metric: Metric, name: str) -> None:
    assert look([VALUES], metric) == Seen((Measure(kind="correlation"),), ()), name


def test_names_for_each_column_tell_classes() -> None:
    assert kinds(look([SCORES], r2, labels=5)) == ["top1"]
    assert kinds(look([SCORES], r2, labels=4)) == ["correlation"]
    assert kinds(look([BOXES], lambda y: -float(y.mean()), labels=4)) == ["correlation"]


def test_a_metric_that_does_not_read_the_first_output_tells_nothing() -> None:
    assert kinds(look([SCORES, VALUES], lambda y: r2(y[1]))) == ["correlation", "correlation"]


def test_integers_and_a_single_column_are_no_classes() -> None:
    assert kinds(look([LABELS[:, None]], lambda y: float((y[:, 0] == LABELS).mean()))) == ["equal"]


# ------------------------------------------------------------------------------------------------ other outputs
MAPS = (
    np.eye(3)[RNG.integers(0, 3, (N, 8, 8))].transpose(0, 3, 1, 2) + RNG.uniform(0, 0.4, (N, 3, 8, 8))
).astype(np.float32)
LINES = (np.eye(6)[RNG.integers(0, 6, (N, 9))] + RNG.uniform(0, 0.4, (N, 9, 6))).astype(np.float32)
SIGNS = RNG.standard_normal((N, 1, 8, 8)).astype(np.float32)


def likeness(y: np.ndarray) -> float:
    norms = np.linalg.norm(y, axis=1) * np.linalg.norm(VALUES, axis=1)
    return float(((y * VALUES).sum(1) / norms).mean())


@pytest.mark.parametrize(
    ("outputs", "metric", "kind"),
    [
        ([MAPS], lambda y: float((y.argmax(1) == MAPS.argmax(1)).mean()), "mask"),
        ([SIGNS], lambda y: float(((y > 0) == (SIGNS > 0)).mean()), "mask"),
        ([LINES], lambda y: float((y.argmax(2) == LINES.argmax(2)).mean()), "sequence"),
        ([VALUES], likeness, "cosine"),
        ([MAPS], lambda y: -float(np.abs(y - MAPS).mean()), "psnr"),
        ([LINES], lambda y: -float(np.abs(y - LINES).mean()), "correlation"),
    ],
)
def test_what_an_output_is(outputs: list[np.ndarray], metric: Metric, kind: str) -> None:
    assert kinds(look(outputs, metric)) == [kind]


@pytest.mark.parametrize("given", [{"z": "mask"}, {"y": "iou"}, {"y": Measure(kind="boxes", scores="z")}])
def test_measures_of_the_task_that_are_none(given: dict[str, Any]) -> None:
    with pytest.raises(TaskError, match=r"measures (names 'z'|gives 'iou'; allowed are top1, mask)"):
        output_measures.said(given, ["y"])


# ------------------------------------------------------------------------------------------------ cannot see
def test_a_net_at_chance_is_a_doubt_with_both_figures() -> None:
    others = np.random.default_rng(104).standard_normal((N, 5)).astype(np.float32)
    (doubt,) = look([others], top1).doubts
    assert doubt.startswith("this metric cannot see errors: it gives ")
    assert f"{top1(others):.4g} for the float model's answers and 0." in doubt
    assert "for the same answers shuffled among samples (n = 60): a net at chance" in doubt


@pytest.mark.parametrize("metric", [lambda y: 0.9, lambda y: float(y.mean())])
def test_a_metric_that_is_constant_or_averages_all_answers_is_a_doubt(metric: Metric) -> None:
    assert look([VALUES], metric).doubts[0].startswith("this metric cannot see errors")


def test_a_loss_taken_for_a_metric_is_a_doubt() -> None:
    (doubt,) = look([VALUES], lambda y: -r2(y)).doubts
    assert doubt.startswith("the metric rises where answers get worse: ")
    assert doubt.endswith("Higher must be better: return the negative of a loss")


def test_an_output_that_is_not_looked_at_is_named() -> None:
    seen = look([SCORES, BOXES], lambda y: top1(y[0]))
    assert kinds(seen) == ["top1", "correlation"]
    assert seen.doubts == ("the metric does not look at output_1: only the floor guards it",)


def test_channels_that_are_not_looked_at_are_counted() -> None:
    both = np.concatenate([BOXES, np.repeat(SCORES[:, :, None], 8, 2)], 1)  # [N, 9, 8]: axis 2 is the smaller
    swapped = both.transpose(0, 2, 1)[:, :, :]  # [N, 8, 9]
    assert slice_axis(both.shape) == 2 and slice_axis(swapped.shape) == 1
    wide = np.concatenate([both, both], 2)  # [N, 9, 16]
    (doubt,) = look([wide], lambda y: top1(y[:, 4:, 0])).doubts
    assert doubt == (
        "the metric does not look at channels 0 to 3 of the 9 channels of output_0: only the floor guards them"
    )
    assert (
        look([wide], lambda y: top1(y[:, 4:, 0]) - float(np.abs(y[:, :4] - wide[:, :4]).mean())).doubts == ()
    )


def test_a_metric_that_chokes_on_shuffled_answers_looks_at_them() -> None:
    def strict(y: np.ndarray) -> float:
        if not np.array_equal(y, VALUES):
            raise TaskError("no")
        return 1.0

    assert look([VALUES], strict) == Seen((Measure(kind="correlation"),), ())


def test_two_samples_are_shuffled_and_one_is_not() -> None:
    recorder = Recorder(lambda x: [x])
    predict = recorder(INPUTS[:1])
    assert metric_check.look(recorder, lambda p: 1.0, 1.0, Replayed(0.0, ()), spec("y")) == Seen(
        (Measure(kind="correlation"),), ()
    )
    assert predict.shape == (1, 3)


def test_a_slow_metric_is_asked_for_classes_only() -> None:
    calls: list[int] = []
    recorder = Recorder(lambda x: [SCORES])

    def metric(predict: Callable[..., Any]) -> float:
        calls.append(1)
        return top1(predict(INPUTS))

    figure = metric(recorder)
    slow = Replayed(metric_check.SLOW_S + 1, ())
    assert metric_check.look(recorder, metric, figure, slow, spec("y")) == Seen((Measure(kind="top1"),), ())
    assert len(calls) == 3


# ------------------------------------------------------------------------------------------------ state fed back
def streaming(see: Callable[[np.ndarray], float]) -> Seen:
    """Output 1 is the next input 1. see: the figure of the answers of output 0, [clips, steps]."""
    clips = np.random.default_rng(5).standard_normal((4, 30, 1)).astype(np.float32)

    def model(x: np.ndarray, state: np.ndarray) -> list[np.ndarray]:
        state = 0.5 * state + x
        return [state * 2, state]

    def run(predict: Callable[..., Any]) -> float:
        state, answers = np.zeros((4, 1), np.float32), []
        for i in range(30):
            y, state = predict(clips[:, i], state)
            answers.append(y[:, 0])
        return see(np.stack(answers, 1))

    recorder = Recorder(model)
    return metric_check.look(recorder, run, run(recorder), Replayed(0.0, ()), spec("y", "state"))


def test_state_that_is_fed_back_is_not_shuffled_but_the_answers_are() -> None:
    assert streaming(lambda y: 1.0).doubts[0].startswith("this metric cannot see errors")
    right: list[np.ndarray] = []

    def fidelity(y: np.ndarray) -> float:
        right.append(y)
        return -float(np.abs(y - right[0]).mean())

    assert streaming(fidelity) == Seen((Measure(kind="correlation"),) * 2, ())
