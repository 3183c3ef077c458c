"""What is shipped of several accepted attempts, and which refused one came nearest."""

import msgspec
import pytest
from builders import LINT, tried

from edgekit.ladder import selection
from edgekit.records import Attempt, Budget, Decision, Recipe

FAILED = Attempt(
    recipe=Recipe(name="broken", precision="int8", steps=()),
    decision=Decision(accepted=False, reasons=("no converter",)),
    error="no converter",
)


def shipped(*attempts: Attempt) -> str | None:
    index = selection.to_ship(attempts)
    return None if index is None else attempts[index].recipe.name


def test_the_fastest_where_the_measurement_decides() -> None:
    assert shipped(tried("a", 1000, 0.7, 0), tried("b", 2000, 0.5, 0.005), tried("c", 500, 0.9, 0)) == "b"


def test_the_smaller_of_two_that_are_equally_fast() -> None:
    assert shipped(tried("a", 1000, 0.500, 0), tried("b", 900, 0.509, 0.005)) == "b"
    assert shipped(tried("a", 1000, 0.500, 0), tried("b", 900, 0.511, 0.005)) == "a"


def test_the_smallest_where_nobody_measured() -> None:
    assert shipped(tried("a", 1000, None, 0), tried("b", 900, None, 0.005)) == "b"


def test_the_more_accurate_of_two_that_are_equal_and_then_the_cheaper() -> None:
    assert shipped(tried("a", 900, None, 0.005), tried("b", 900, None, 0.002)) == "b"
    assert shipped(tried("a", 900, 0.5, 0.002), tried("b", 900, 0.5, 0.002)) == "a"


def test_what_was_refused_is_never_shipped() -> None:
    fastest = tried("a", 100, 0.1, 0.3)
    assert not fastest.decision.accepted
    assert shipped(fastest, tried("b", 900, 0.9, 0), FAILED) == "b"
    assert shipped(fastest, FAILED) is None
    assert shipped() is None


def test_a_figure_from_another_machine_does_not_choose() -> None:
    elsewhere = tried("a", 1000, 0.1, 0)
    assert elsewhere.measurement is not None
    elsewhere = msgspec.structs.replace(
        elsewhere, measurement=msgspec.structs.replace(elsewhere.measurement, on_target=False)
    )
    assert shipped(elsewhere, tried("b", 900, None, 0)) == "b"


# -- the nearest


def nearest(*attempts: Attempt) -> str | None:
    found = selection.nearest(attempts)
    return attempts[found].recipe.name if found is not None else None


def test_the_nearest_misses_its_limits_by_the_least() -> None:
    assert nearest(tried("a", 900, 0.5, 0.05), tried("b", 900, 0.5, 0.02), tried("c", 900, 1.9, 0)) == "c"
    assert nearest(tried("a", 900, 0.5, 0.05), tried("b", 900, 0.5, 0.02), FAILED) == "b"


def test_a_broken_promise_is_the_last_to_be_named() -> None:
    bad = msgspec.structs.replace(LINT, findings=("float ops",), passed=False)
    assert nearest(tried("a", 900, 0.5, 0, lint=bad), tried("b", 900, 0.5, 0.4)) == "b"
    assert nearest(tried("a", 900, 0.5, 0, lint=bad), FAILED) == "a"


def test_nothing_was_near_where_nothing_was_executed() -> None:
    assert nearest(FAILED) is None
    early = tried("b", 900, 3.0, 0)
    assert early.decision.shortfalls, "refused for its time"
    assert nearest(msgspec.structs.replace(early, artifact=None, verdict=None)) is None


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (
            tried("ptq(mse)", 900, 0.5, 0.021),
            "ptq(mse), metric drop 0.021, 900 bytes, 0.50 of float's CPU time, limited by max_drop 0.01 (found 0.021)",
        ),
        (
            tried("fp16", 900, None, 0.0, Budget(max_size_bytes=800, max_drop=0)),
            "fp16, metric drop 0, 900 bytes, limited by max_size_bytes 800 (found 900)",
        ),
        (
            tried("x", 900, None, 0.0, lint=msgspec.structs.replace(LINT, findings=("one", "two"))),
            "x, metric drop 0, 900 bytes, limited by the precision lint",
        ),
    ],
)
def test_words(attempt: Attempt, words: str) -> None:
    assert selection.describe(attempt) == words
