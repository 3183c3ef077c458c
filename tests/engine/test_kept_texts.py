"""What is kept of programs that were not understood: so many bytes, the latest."""

import os
from pathlib import Path

import pytest

from edgekit.engine import kept_texts


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "edgekit" / kept_texts.OUTPUTS


def test_the_oldest_go_where_all_take_too_much(cache: Path) -> None:
    places = []
    for second, letter in enumerate("abcd"):
        places.append(kept_texts.keep(letter * 100, limit_bytes=300))
        os.utime(places[-1], (second, second))
    assert sorted(cache.iterdir()) == sorted(places[1:])
    assert [place.read_text()[0] for place in places[1:]] == ["b", "c", "d"]


def test_the_newest_stays_however_large_and_whatever_the_clock(cache: Path) -> None:
    tomorrow = kept_texts.keep("tomorrow")
    os.utime(tomorrow, (1e10, 1e10))
    newest = kept_texts.keep("x" * 1000, limit_bytes=300)
    assert list(cache.iterdir()) == [newest]


def test_the_same_text_is_one_file_and_half_a_character_no_fault(cache: Path) -> None:
    assert kept_texts.keep("\ud800") == kept_texts.keep("\ud800")
    assert len(list(cache.iterdir())) == 1
