"""Two models on the same samples: is the difference of their shares of right answers more than chance?

Only samples that one model has right and the other wrong tell anything. McNemar 1947, "Note on the sampling error of the
difference between correlated proportions", in its exact form: under chance each of them falls on either side like a coin. The
interval of the difference is Tango's of 1998, "Equivalence test and confidence interval for the difference in proportions
for the paired-sample design" (Statistics in Medicine 17): it holds for few samples, and where none differs.
"""

from math import comb, sqrt

Z_95 = 1.959963984540054
HALVINGS = 60


def mcnemar_p(lost: int, gained: int) -> float:
    """Returns how often chance alone gives counts as uneven as these, or more so."""
    count = lost + gained
    tail = sum(comb(count, k) for k in range(min(lost, gained) + 1))
    return float(min(1.0, 2 * tail / 2**count))


def drop_interval(lost: int, gained: int, samples: int) -> tuple[float, float]:
    """Returns the 95 % interval of the difference of two shares.

    Args:
        lost: Samples that the first model has right and the second wrong.
        gained: The other way.
        samples: All samples.

    Returns:
        The ends of the interval of (share of the first - share of the second).
    """
    found = (lost - gained) / samples
    return _end(lost, gained, samples, found, -1.0), _end(lost, gained, samples, found, 1.0)


def _end(lost: int, gained: int, samples: int, inside: float, outside: float) -> float:
    """Finds, by bisection, the difference between `inside` and `outside` whose score is just at Z_95."""
    for _ in range(HALVINGS):
        middle = (inside + outside) / 2
        if abs(_score(lost, gained, samples, middle)) <= Z_95:
            inside = middle
        else:
            outside = middle
    return inside


def _score(lost: int, gained: int, samples: int, difference: float) -> float:
    """Tango's score: how many standard deviations the counts are from a true difference."""
    slope = -lost - gained + (2 * samples - lost + gained) * difference
    root = slope * slope + 8 * samples * gained * difference * (1 - difference)
    share = (sqrt(max(root, 0.0)) - slope) / (4 * samples)  # of samples gained, where the difference is true
    variance = samples * (2 * share + difference * (1 - difference))
    away = lost - gained - samples * difference
    if variance <= 0:
        return 0.0 if abs(away) < 1e-9 else float("inf")
    return away / sqrt(variance)
