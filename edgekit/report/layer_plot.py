"""The geometry of the picture of layers: noise, time and stored numbers of each, as shares; the template draws it."""

from edgekit.records import Attempt, Record
from edgekit.report.explanation import LayerRow, layer_rows

SHOWN = 20
WIDTH, NAME, RIGHT, TOP, ROW, BAR = 760, 250, 60, 26, 30, 7
KINDS = ("noise", "time", "stored")


class Bar(Record, frozen=True):
    """One share of one layer.

    Attributes:
        kind: Which of KINDS.
        y: Pixels from the top.
        width: Pixels.
        label: The share in words.
    """

    kind: str
    y: float
    width: float
    label: str


class LayerBars(Record, frozen=True):
    """One layer.

    Attributes:
        name: Its module.
        y: Where its name stands, in pixels from the top.
        title: All of it in words.
        bars: Its shares.
        is_float: Whether it stays float.
    """

    name: str
    y: float
    title: str
    bars: tuple[Bar, ...]
    is_float: bool


class LayerPlot(Record, frozen=True):
    """Everything the template needs to draw, in pixels."""

    width: int
    height: int
    left: int
    layers: tuple[LayerBars, ...]
    of: int


def layer_plot(attempt: Attempt) -> LayerPlot | None:
    """Lays out the layers of an attempt that measured them, the noisiest first; None for others."""
    costs = attempt.candidate.layers if attempt.candidate is not None else ()
    rows = sorted(layer_rows(costs, attempt), key=lambda row: -(row.noise or 0.0))[:SHOWN]
    if not rows:
        return None
    most = max(getattr(row, kind) or 0.0 for row in rows for kind in KINDS) or 1.0
    scale = (WIDTH - NAME - RIGHT) / most
    return LayerPlot(
        width=WIDTH,
        height=TOP + ROW * len(rows) + 6,
        left=NAME,
        layers=tuple(_bars(row, TOP + ROW * number, scale) for number, row in enumerate(rows)),
        of=len(costs),
    )


def _bars(row: LayerRow, top: int, scale: float) -> LayerBars:
    bars = []
    for place, kind in enumerate(KINDS):
        share = getattr(row, kind)
        if share is not None:
            y, width = top + place * (BAR + 1), round(max(share * scale, 0.5), 1)
            bars.append(Bar(kind=kind, y=y, width=width, label=f"{share:.1%}"))
    return LayerBars(
        name=row.origin if len(row.origin) <= 36 else f"...{row.origin[-33:]}",
        y=top + BAR * 2,
        title=_title(row),
        bars=tuple(bars),
        is_float=bool(row.is_float),
    )


def _title(row: LayerRow) -> str:
    alone = "" if row.snr_db is None else f"; alone in integers it leaves {row.snr_db:.1f} dB"
    shares = [
        f"{getattr(row, kind):.1%} of {_WORDS[kind]}" for kind in KINDS if getattr(row, kind) is not None
    ]
    return f"{row.origin}{', stays float' if row.is_float else ''}: {', '.join(shares)}{alone}"


_WORDS = {"noise": "the noise", "time": "the layers' time", "stored": "the stored numbers"}
