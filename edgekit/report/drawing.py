"""What the plot of size against accuracy is made of, in the coordinates of the drawing."""

from typing import Literal

from edgekit.records import Record


class Tick(Record, frozen=True):
    """A mark on an axis: its place in pixels, and its label."""

    at: float
    label: str


class Point(Record, frozen=True):
    """One artifact.

    Attributes:
        number: Its place in the list below the plot.
        x: Pixels from the left.
        y: Pixels from the top.
        shape: The mark.
        colour: The index of its target's colour.
        kind: Whether it was accepted or refused, or is a float file.
        off_scale: Whether it is drawn at the edge, worse than shown.
        title: What it is, in words.
        front: Whether it is on the Pareto front of its target.
    """

    number: int
    x: float
    y: float
    shape: Literal["circle", "square", "diamond", "triangle"]
    colour: int
    kind: Literal["accepted", "refused", "float"]
    off_scale: bool
    title: str
    front: bool = False


class Front(Record, frozen=True):
    """The Pareto front of one target, its points joined in the order of their size.

    Attributes:
        colour: The index of the target's colour.
        points: The points as SVG takes them.
        title: What it is, in words.
    """

    colour: int
    points: str
    title: str


class Label(Record, frozen=True):
    """The numbers of the points that lie on one spot.

    Attributes:
        x: Pixels from the left.
        y: Pixels from the top.
        words: The numbers.
    """

    x: float
    y: float
    words: str


class Line(Record, frozen=True):
    """A limit of the budget, or the float model's metric.

    Attributes:
        axis: The axis that it crosses.
        at: Pixels on that axis.
        label: What it is, in words.
        kind: Whether it is a limit or the float model's metric.
    """

    axis: Literal["x", "y"]
    at: float
    label: str
    kind: Literal["budget", "float"]


class Plot(Record, frozen=True):
    """Everything the template needs to draw, in pixels.

    Attributes:
        width: The width of the drawing.
        height: The height of the drawing.
        left: The left edge of the axes.
        right: Their right edge.
        top: Their top edge.
        bottom: Their bottom edge.
        x_ticks: The marks of the size axis.
        y_ticks: The marks of the metric axis.
        points: The artifacts.
        labels: Their numbers.
        lines: The limits, and the float model's metric.
        left_out: Attempts without a size or a metric, one line each.
        fronts: The Pareto fronts.
    """

    width: int
    height: int
    left: int
    right: int
    top: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    points: tuple[Point, ...]
    labels: tuple[Label, ...]
    lines: tuple[Line, ...]
    left_out: tuple[str, ...]
    fronts: tuple[Front, ...] = ()
