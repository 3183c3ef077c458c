"""A figure with its unit and what to know about it, and groups of them under a heading."""

from edgekit.records import (
    Record,
)


class Fact(Record, frozen=True):
    """One line: what it is, its figure with unit, and what to know about it.

    Attributes:
        label: What it is.
        value: The figure with its unit.
        note: What to know about it.
    """

    label: str
    value: str
    note: str = ""


class Group(Record, frozen=True):
    """Facts under one heading."""

    heading: str
    facts: tuple[Fact, ...]
