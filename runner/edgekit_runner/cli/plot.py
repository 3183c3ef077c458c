"""The latency of a sustained run over time as an SVG file: two lines, two axes that begin at zero, and a mark
where it became slower for good. Written by hand, so that a device needs no plotting library.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_WIDTH, _HEIGHT = 800, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 50
_WALL, _CPU, _MARK = "#1f5fbf", "#888888", "#c0392b"
_TICKS_COUNT = 6


def svg(record: Mapping[str, Any]) -> str:
    """The plot of a record of kind `sustain`: milliseconds over seconds."""
    found = record["sustained"]
    buckets = found["buckets"]
    seconds = [bucket["start_s"] + bucket["duration_s"] / 2 for bucket in buckets]
    wall, cpu = ([1e3 * bucket[f"{clock}_p50_s"] for bucket in buckets] for clock in ("wall", "cpu"))
    end, y_ticks = found["duration_s"], ticks(max(*wall, *cpu) * 1.05)
    x_ticks = [value for value in ticks(end) if value <= end * 1.001]
    plane = _Plane(end, y_ticks[-1])
    name = record["artifact"]["path"].replace("\\", "/").rpartition("/")[2]
    runtime = f"{record['runtime']['name']} {record['runtime']['version']}"
    title = f"{name} on {runtime}, {record['protocol']['threads_count']} thread(s)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        _text(_LEFT, 20, title, size=14),
        *_axes(plane, x_ticks, y_ticks),
        plane.line(seconds, cpu, _CPU),
        plane.line(seconds, wall, _WALL),
        _text(_LEFT + 10, _TOP - 8, "wall time", color=_WALL),
        _text(_LEFT + 80, _TOP - 8, "CPU time", color=_CPU),
        *_mark(plane, found["throttle_point_s"], y_ticks[-1]),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def ticks(most: float) -> list[float]:
    """About six round numbers from zero to at least `most`."""
    rough = max(most, 1e-9) / _TICKS_COUNT
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough * 0.999)
    return [step * i for i in range(math.ceil(most / step - 1e-9) + 1)]


class _Plane:
    """Data to picture coordinates."""

    def __init__(self, x_most: float, y_most: float) -> None:
        self._x = (_WIDTH - _LEFT - _RIGHT) / x_most
        self._y = (_HEIGHT - _TOP - _BOTTOM) / y_most

    def x(self, value: float) -> float:
        return _LEFT + value * self._x

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value * self._y

    def line(self, xs: Sequence[float], ys: Sequence[float], color: str) -> str:
        points = " ".join(f"{self.x(a):.1f},{self.y(b):.1f}" for a, b in zip(xs, ys, strict=True))
        return f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'


def _axes(plane: _Plane, x_ticks: Sequence[float], y_ticks: Sequence[float]) -> list[str]:
    left, right, low = plane.x(0), _WIDTH - _RIGHT, plane.y(0)
    out = []
    for value in y_ticks:
        out += [_rule(left, plane.y(value), right, plane.y(value), "#dddddd")]
        out += [_text(left - 6, plane.y(value) + 4, f"{value:.4g}", anchor="end")]
    for value in x_ticks:
        out += [_rule(plane.x(value), low, plane.x(value), low + 5, "black")]
        out += [_text(plane.x(value), low + 18, f"{value:.4g}", anchor="middle")]
    out += [_rule(left, low, right, low, "black"), _rule(left, low, left, plane.y(y_ticks[-1]), "black")]
    middle = _HEIGHT / 2
    out += [_text((left + right) / 2, _HEIGHT - 10, "time since the start (s)", anchor="middle")]
    label = _text(16, middle, "median latency (ms)", anchor="middle")
    return [*out, label.replace("<text ", f'<text transform="rotate(-90 16 {middle:.1f})" ', 1)]


def _mark(plane: _Plane, point_s: float | None, y_most: float) -> list[str]:
    if point_s is None:
        return []
    x = plane.x(point_s)
    rule = _rule(x, plane.y(0), x, plane.y(y_most), _MARK).replace("/>", ' stroke-dasharray="5 4"/>')
    late = x > _WIDTH * 0.75
    label = f"slower from {point_s:.3g} s on"
    return [rule, _text(x - 4 if late else x + 4, _TOP + 12, label, _MARK, "end" if late else "start")]


def _rule(x1: float, y1: float, x2: float, y2: float, color: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"/>'


def _text(x: float, y: float, text: str, color: str = "black", anchor: str = "start", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" fill="{color}" text-anchor="{anchor}" font-size="{size}"'
    shown = "".join(letter if letter.isprintable() else "?" for letter in text)
    return f"<text {place}>{escape(shown)}</text>"
