"""What the JSON file holds: the trials as they were measured, and the rows that follow from them."""

from typing import Any

from edgekit.records import Record


class Settings(Record):
    """What must be the same for trials to stand in one file. runner_sha256: of the runner's sources, since a
    trial of another runner proves nothing about this one. models: name -> sha256 of the file.
    """

    quick: bool
    runner_version: str
    runner_sha256: str
    models: dict[str, str]


class Trial(Record):
    """One measurement of a section. kind: what was measured; index: from 0 within its kind. reason: why it failed,
    or empty; figures: what it found, each key with its unit.
    """

    section: str
    kind: str
    index: int
    wall_s: float
    reason: str = ""
    figures: dict[str, Any] = {}


class Row(Record):
    """One line of the table. verdict: PASS, FAIL, short (nothing failed, but fewer trials than the claim is about)
    or "-" where nothing is claimed. quotes: lines to print below the table.
    """

    section: str
    what: str
    n: int
    figure: str
    claim: str = ""
    verdict: str = "-"
    quotes: tuple[str, ...] = ()


class Results(Record):
    """The JSON file."""

    settings: Settings
    machine: dict[str, str]
    trials: tuple[Trial, ...] = ()
    rows: tuple[Row, ...] = ()


def judged(section: str, what: str, n: int, full: int, figure: str, claim: str, holds: bool) -> Row:
    """A row with a claim about `full` trials, of which `n` were made."""
    verdict = "FAIL" if not holds else "PASS" if n >= full else "short"
    return Row(section=section, what=what, n=n, figure=figure, claim=claim, verdict=verdict)


def told(section: str, what: str, n: int, figure: str, quotes: tuple[str, ...] = ()) -> Row:
    """A row that claims nothing."""
    return Row(section=section, what=what, n=n, figure=figure, quotes=quotes)
