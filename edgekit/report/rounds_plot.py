"""The latency of an artifact and of float, round by round: the geometry of a strip of marks each; the template draws it."""

from collections.abc import Sequence
from statistics import median

from edgekit.records import Measurement, Record
from edgekit.report import text

WIDTH, ROW, TOP, SIDE = 360, 46, 8, 12
CUT = 3.0  # the axis ends this many times the largest median: one disturbed round must not squeeze the others


class Strip(Record, frozen=True):
    """All rounds of one file.

    Attributes:
        words: What the strip says.
        y: Pixels from the top.
        marks: Its rounds, as the path of an SVG.
        beyond: Those that are slower than the axis shows, at its end.
        middle: Where the median stands, in pixels.
    """

    words: str
    y: int
    marks: str
    beyond: str
    middle: float


class RoundsPlot(Record, frozen=True):
    """Everything the template needs to draw, in pixels."""

    width: int
    height: int
    strips: tuple[Strip, ...]
    ticks: tuple[tuple[float, str, str], ...]
    where: str


def rounds_plot(took: Measurement | None) -> RoundsPlot | None:
    """Lays out the rounds of a measurement; None where it holds none."""
    if took is None or not took.rounds_wall_s:
        return None
    files = [("this file", took.rounds_wall_s), ("float", took.float_rounds_wall_s)]
    rows = [(name, seconds) for name, seconds in files if seconds]
    low = min(min(seconds) for _, seconds in rows)
    high = min(max(max(s) for _, s in rows), CUT * max(median(s) for _, s in rows))
    scale = (WIDTH - 2 * SIDE) / (high - low or 1.0)
    strips = [_strip(name, seconds, i, low, high, scale) for i, (name, seconds) in enumerate(rows)]
    ends = (low, (low + high) / 2, high)
    anchors = ("start", "middle", "end")
    return RoundsPlot(
        width=WIDTH,
        height=TOP + ROW * len(rows) + 22,
        strips=tuple(strips),
        ticks=tuple(
            (round(SIDE + (end - low) * scale, 1), text.seconds(end), anchor)
            for end, anchor in zip(ends, anchors, strict=True)
        ),
        where=f"on {took.measured_on or 'an unnamed machine'}"
        + ("" if took.on_target else ", not the target"),
    )


def _strip(name: str, seconds: Sequence[float], number: int, low: float, high: float, scale: float) -> Strip:
    half, y = median(seconds), TOP + ROW * number
    span = f"{text.seconds(min(seconds))} to {text.seconds(max(seconds))}"
    places = [round(SIDE + (min(s, high) - low) * scale, 1) for s in seconds]
    return Strip(
        words=f"{name}: median {text.seconds(half)}, {span}, n={text.count(len(seconds), 'round')}",
        y=y,
        marks=_path([x for x, s in zip(places, seconds, strict=True) if s <= high], y),
        beyond=_path([x for x, s in zip(places, seconds, strict=True) if s > high], y),
        middle=round(SIDE + (min(half, high) - low) * scale, 1),
    )


def _path(places: Sequence[float], y: int) -> str:
    return "".join(f"M{x:g} {y + 18}v18" for x in sorted(places))
