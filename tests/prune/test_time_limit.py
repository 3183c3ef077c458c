"""A limit on code that does not end."""

import time

import pytest

from edgekit.prune._time_limit import TimeUp, time_limit


def test_it_ends_what_does_not_end() -> None:
    with pytest.raises(TimeUp), time_limit(0.1):
        while True:
            pass


def test_what_ends_in_time_is_left_alone() -> None:
    with time_limit(0.05):
        value = sum(range(10))
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        pass
    assert value == 45
