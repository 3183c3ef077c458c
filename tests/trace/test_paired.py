"""McNemar's test and Tango's interval beside scipy and the likelihood, and the flips of a metric that tells no sample's score."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest

from edgekit.arrays import as_arrays, digest
from edgekit.records import Flips
from edgekit.trace import flip_search
from edgekit.trace.metric_trials import Trials
from edgekit.trace.paired import Z_95, drop_interval, mcnemar_p

N = 200
RNG = np.random.default_rng(0)
INPUTS = RNG.standard_normal((N, 3)).astype(np.float32)
LABELS = RNG.integers(0, 5, N)
FLOAT = (np.eye(5)[LABELS] * 2 + RNG.standard_normal((N, 5))).astype(np.float32)
ARTIFACT = (FLOAT + 0.7 * RNG.standard_normal(FLOAT.shape)).astype(np.float32)
BATCH = 32


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (5, 4), (12, 2), (3, 40)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar_p(lost, gained) == pytest.approx(expected)


@pytest.mark.parametrize(("lost", "gained", "n"), [(5, 4, 400), (12, 2, 100), (1, 30, 90)])
def test_the_ends_of_the_interval_are_where_the_score_of_the_likelihood_is_at_95(
    lost: int, gained: int, n: int
) -> None:
    """Beside Tango's closed form: the share of gains that is likeliest where the difference is true, by search."""
    for end in drop_interval(lost, gained, n):

        def unlikely(share: float, end: float = end) -> float:
            same = 1 - 2 * share - end
            return -float(
                lost * np.log(share + end) + gained * np.log(share) + (n - lost - gained) * np.log(same)
            )

        share = minimize_scalar(
            unlikely, bounds=(max(0, -end) + 1e-9, (1 - end) / 2 - 1e-9), method="bounded"
        ).x
        score = (lost - gained - n * end) / np.sqrt(n * (2 * share + end - end**2))
        assert abs(score) == pytest.approx(Z_95, abs=0.02)


def test_no_flip_at_all_leaves_the_interval_of_rare_events() -> None:
    low, high = drop_interval(0, 0, 400)
    assert high == pytest.approx(Z_95**2 / (400 + Z_95**2)) == -low


def metric(scale: float, weights: np.ndarray | None = None) -> Callable[[Callable[..., Any]], float]:
    def score(predict: Callable[..., Any]) -> float:
        answers = np.concatenate([predict(INPUTS[i : i + BATCH]) for i in range(0, N, BATCH)])
        return float(np.average(answers.argmax(1) == LABELS, weights=weights) * scale)

    return score


def found(score: Callable[[Callable[..., Any]], float]) -> Flips | None:
    answers = {digest(as_arrays([INPUTS[i : i + BATCH]])): [FLOAT[i : i + BATCH]] for i in range(0, N, BATCH)}
    changed = {
        (key, int(row)): [ARTIFACT[BATCH * part + row]]
        for part, (key, (rows,)) in enumerate(answers.items())
        for row in np.flatnonzero(rows.argmax(1) != ARTIFACT[BATCH * part :][: len(rows)].argmax(1))
    }
    return flip_search.look(
        Trials(answers, score, score(lambda _x: FLOAT[next_rows(_x)])),
        changed,
        score(lambda x: ARTIFACT[next_rows(x)]),
    )


def next_rows(asked: np.ndarray) -> slice:
    first = int(np.flatnonzero((asked[0] == INPUTS).all(1))[0])
    return slice(first, first + len(asked))


RIGHT, STILL = FLOAT.argmax(1) == LABELS, ARTIFACT.argmax(1) == LABELS


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_each_flip_is_found_with_what_the_metric_makes_of_it(scale: float) -> None:
    told = found(metric(scale))
    assert told is not None and told.exact and told.samples == N and told.scale == pytest.approx(scale)
    assert told.lost == (RIGHT & ~STILL).sum() > 0 and told.gained == (~RIGHT & STILL).sum() > 0
    assert {f.sample: f.gain for f in told.flips} == {
        int(i): int(STILL[i]) - int(RIGHT[i]) for i in np.flatnonzero(FLOAT.argmax(1) != ARTIFACT.argmax(1))
    }
    drop = scale * (RIGHT.mean() - STILL.mean())
    assert told.drop_low < drop < told.drop_high


def test_what_time_does_not_allow_to_look_at_counts_as_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = found(metric(1.0))
    monkeypatch.setattr(flip_search, "LIMIT_S", 0.0)
    told = found(metric(1.0))
    assert told is not None and exact is not None and not told.exact
    assert sum(flip.gain is not None for flip in told.flips) == 1
    assert told.lost - told.gained == exact.lost - exact.gained and told.lost >= exact.lost
    assert told.drop_low <= exact.drop_low and told.drop_high >= exact.drop_high


def test_a_metric_that_weighs_samples_is_no_share_of_right_answers() -> None:
    assert found(metric(1.0, weights=RNG.uniform(1, 2, N))) is None


def test_a_metric_that_reads_more_than_the_class_is_none_either() -> None:
    def likelihood(predict: Callable[..., Any]) -> float:
        answers = np.concatenate([predict(INPUTS[i : i + BATCH]) for i in range(0, N, BATCH)])
        return float(answers[np.arange(N), LABELS].mean())

    assert found(likelihood) is None
