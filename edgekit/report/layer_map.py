"""The precision of each layer of an artifact, as tiles in the order of the program, and what the foremost layers cost."""

from collections.abc import Sequence

from edgekit.records import Attempt, LayerCost, Record
from edgekit.report import text
from edgekit.report.cells import MISSING
from edgekit.report.explanation import LayerRow, layer_rows

SHOWN = 20
KINDS = {
    "work": "multiply-accumulates",
    "stored": "stored numbers",
    "time": "the layers' time",
    "noise": "noise in integers",
}
COLOURS = {"int8": 0, "float16": 1, "float32": 2}


class Tile(Record, frozen=True):
    """One layer.

    Attributes:
        colour: The index of its precision's colour.
        title: All of it in words.
    """

    colour: int
    title: str


class Share(Record, frozen=True):
    """A share of one layer.

    Attributes:
        name: What it is a share of.
        label: The share in words.
        percent: The length of its bar, relative to the largest share of the table.
    """

    name: str
    label: str
    percent: int


class Line(Record, frozen=True):
    """One layer of the table."""

    name: str
    tile: Tile
    precision: str
    shares: tuple[Share, ...]


class Legend(Record, frozen=True):
    """One precision: how many layers compute in it, and their part of the work."""

    colour: int
    words: str


class LayerMap(Record, frozen=True):
    """Everything the template needs.

    Attributes:
        tiles: Every layer, in the order of the program.
        lines: The layers with the largest share of anything.
    """

    tiles: tuple[Tile, ...]
    legend: tuple[Legend, ...]
    lines: tuple[Line, ...]


def layer_map(attempt: Attempt, layers: Sequence[LayerCost] = ()) -> LayerMap | None:
    """Lays out the layers of an attempt.

    Args:
        attempt: The attempt; what it measured of its layers goes before `layers`.
        layers: Those of the float model, for an attempt that measured none; a student has others.

    Returns:
        None where no layer is known.
    """
    made = attempt.candidate
    if made is None:
        return None
    rows = layer_rows(made.layers or (() if made.student else layers), attempt)
    if not rows:
        return None
    floats = {layer.origin for layer in made.float_layers}
    precisions = ["float32" if row.origin in floats else attempt.recipe.precision for row in rows]
    tiles = [_tile(row, name) for row, name in zip(rows, precisions, strict=True)]
    return LayerMap(
        tiles=tuple(tiles),
        legend=tuple(_legend(rows, precisions, name) for name in COLOURS if name in precisions),
        lines=_lines(rows, precisions, tiles),
    )


def _tile(row: LayerRow, precision: str) -> Tile:
    shares = ", ".join(f"{share:.1%} of {KINDS[kind]}" for kind, share in _shares(row).items())
    alone = "" if row.snr_db is None else f"; alone in integers it leaves {row.snr_db:.1f} dB"
    return Tile(colour=COLOURS[precision], title=f"{row.origin}, {precision}: {shares}{alone}")


def _shares(row: LayerRow) -> dict[str, float]:
    return {kind: getattr(row, kind) for kind in KINDS if getattr(row, kind) is not None}


def _legend(rows: Sequence[LayerRow], precisions: Sequence[str], name: str) -> Legend:
    of_it = [row for row, precision in zip(rows, precisions, strict=True) if precision == name]
    work = sum(row.work for row in of_it)
    return Legend(
        colour=COLOURS[name],
        words=f"{name}: {text.count(len(of_it), 'layer')}, {work:.1%} of multiply-accumulates",
    )


def _lines(rows: Sequence[LayerRow], precisions: Sequence[str], tiles: Sequence[Tile]) -> tuple[Line, ...]:
    """The foremost layers, in the order of the program."""
    largest = [max(_shares(row).values()) for row in rows]
    foremost = sorted(sorted(range(len(rows)), key=lambda i: -largest[i])[:SHOWN])
    most = max(largest) or 1.0
    kinds = [kind for kind in KINDS if any(getattr(row, kind) is not None for row in rows)]
    return tuple(
        Line(
            name=rows[i].origin,
            tile=tiles[i],
            precision=precisions[i],
            shares=tuple(_share(kind, getattr(rows[i], kind), most) for kind in kinds),
        )
        for i in foremost
    )


def _share(kind: str, share: float | None, most: float) -> Share:
    if share is None:
        return Share(name=KINDS[kind], label=MISSING, percent=0)
    return Share(name=KINDS[kind], label=f"{share:.1%}", percent=round(100 * share / most))
