"""What a terminal shows while a run lasts: each target's stage, and a bar once the time left is known."""

import io

import pytest
from rich.console import Console

from edgekit.cli.progress import Live, about
from edgekit.engine.events import Event


def shown(live: Live) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(live._shown())
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def test_a_bar_says_how_long_it_still_takes_once_that_is_known() -> None:
    live = Live()
    live._console, live._began_s = Console(file=io.StringIO()), live._began_s - 60
    live(Event(target="x86-server", stage="verify", state="started"))
    assert "verify" in shown(live) and "left" not in shown(live)
    live(Event(target="", stage="export float32 onnx", state="done", wall_s=2.0, left_s=42.0))
    live(Event(target="x86-server", stage="", state="note", message="what is noted changes no time"))
    text = shown(live)
    assert "about 40 s left" in text and "━" in text and "x86-server" in text


@pytest.mark.parametrize(
    ("left_s", "words"),
    [
        (0.0, "a few seconds left"),
        (44.0, "about 40 s left"),
        (99.9, "about 100 s left"),
        (600.0, "about 10 min left"),
    ],
)
def test_no_more_exact_than_anybody_knows(left_s: float, words: str) -> None:
    assert about(left_s) == words
