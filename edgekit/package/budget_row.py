"""A limit of a budget file, and whether it is kept."""

from typing import Literal

from edgekit.records import Record

Kept = Literal["kept", "broken", "not measured"]


class Row(Record):
    """One limit.

    Attributes:
        place: The target, or the ABI.
        what: The name of the limit.
        found: The figure, with its unit; why there is none.
        allowed: The limit, with its unit.
        verdict: Whether it is kept.
    """

    place: str
    what: str
    found: str
    allowed: str
    verdict: Kept


def row(place: str, what: str, found: str, allowed: str, kept: bool) -> Row:
    """A limit that a figure decides."""
    return Row(place=place, what=what, found=found, allowed=allowed, verdict="kept" if kept else "broken")


def at_most(
    place: str, what: str, found: float | None, limit: float, unit: str, why: str = "not measured"
) -> Row:
    """A limit from above; where there is no figure, `why` says why."""
    if found is None:
        return Row(place=place, what=what, found=why, allowed=plain(limit), verdict="not measured")
    return row(place, what, f"{plain(found)} {unit}", plain(limit), found <= limit)


def plain(value: float) -> str:
    """Whole numbers with all their digits, `5160123`, others with six."""
    return f"{value:.0f}" if value == round(value) else f"{value:.6g}"
