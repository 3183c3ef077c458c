"""An explanation as lines of plain text."""

from collections.abc import Callable, Iterator, Sequence

from edgekit.report.explanation import Explanation, LayerRow

SHOWN = 12
NAME_WIDTH = 44


def lines(found: Explanation) -> Iterator[str]:
    """Says which layers cost what, what would win, and what was not measured."""
    state = "shipped" if found.accepted else "refused, the nearest"
    yield f"{found.target}: {found.recipe}, {state}"
    rows = _foremost(found.layers)
    if rows:
        by = f"; time and noise as {found.measured_by} measured them" if found.measured_by else ""
        yield f"  layers that cost most, {len(rows)} of {len(found.layers)}{by}"
        yield f"  {'layer':<{NAME_WIDTH}} {'work':>7} {'stored':>7} {'time':>7} {'int8':>9} {'float':>9} {'noise':>7} {'SNR alone':>10}"
        yield from (_line(row) for row in rows)
    yield from (f"  next: {each}" for each in found.wins)
    yield from (f"  unknown: {each}" for each in found.missing)


def _foremost(rows: Sequence[LayerRow]) -> list[LayerRow]:
    """The layers with the largest share of anything, in the order of the program."""

    def most(row: LayerRow) -> float:
        return max(row.work, row.stored, row.time or 0.0, row.noise or 0.0)

    chosen = {id(row) for row in sorted(rows, key=most, reverse=True)[:SHOWN]}
    return [row for row in rows if id(row) in chosen]


def _line(row: LayerRow) -> str:
    name = row.origin if len(row.origin) <= NAME_WIDTH else f"...{row.origin[3 - NAME_WIDTH :]}"
    mark = ", float" if row.is_float else ""
    return (
        f"  {name:<{NAME_WIDTH}} {row.work:>7.1%} {row.stored:>7.1%} {_of(row.time, _share):>7} {_of(row.int8_s, _us):>9} "
        f"{_of(row.float_s, _us):>9} {_of(row.noise, _share):>7} {_of(row.snr_db, _db):>10}{mark}"
    )


def _of(value: float | None, form: Callable[[float], str]) -> str:
    return "-" if value is None else form(value)


def _share(value: float) -> str:
    return f"{value:.1%}"


def _us(value: float) -> str:
    return f"{value * 1e6:.0f} us"


def _db(value: float) -> str:
    return f"{value:.1f} dB"
