"""The report of a benchmark: tables for people, data for programs, bars for a chart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any, NamedTuple

_WIDTH, _LABELS, _BAR, _GAP = 760, 270, 22, 8  # pixels
_FONT = "font-family='system-ui, sans-serif' font-size='13'"
# Readable on light and dark pages, because a README can be shown on either.
_TEXT, _COLOUR = "#7d8590", "#3b82f6"


class Table(NamedTuple):
    """A table. The first column has names, the others have figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Bars(NamedTuple):
    """A bar chart: its title, its unit, and the name and value of each bar."""

    title: str
    unit: str
    values: Sequence[tuple[str, float]]


class Report(NamedTuple):
    """The report. `exact` is False if a table did not hold exactly the sent orders; its figures are then invalid."""

    data: dict[str, Any]
    tables: Sequence[Table]
    bars: Bars
    exact: bool = True


def svg(bars: Bars) -> str:
    """Return the chart as one SVG file without external scripts, fonts or style sheets."""
    largest = max((value for _, value in bars.values), default=0) or 1
    width = _WIDTH - _LABELS - 90
    height = 40 + len(bars.values) * (_BAR + _GAP)
    return "\n".join(
        [
            f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {height}' role='img' {_FONT}>",
            f"<title>{escape(bars.title)}, {escape(bars.unit)}</title>",
            f"<text x='0' y='18' fill='{_TEXT}' font-weight='600'>{escape(bars.title)} ({escape(bars.unit)})</text>",
            *_bars(bars.values, width / largest),
            "</svg>\n",
        ]
    )


def _bars(values: Sequence[tuple[str, float]], scale: float) -> Iterable[str]:
    for number, (name, value) in enumerate(values):
        top = 34 + number * (_BAR + _GAP)
        middle, length = top + _BAR / 2 + 5, max(1.0, value * scale)
        yield f"<text x='{_LABELS - 8}' y='{middle}' text-anchor='end' fill='{_TEXT}'>{escape(name)}</text>"
        yield f"<rect x='{_LABELS}' y='{top}' width='{length:.1f}' height='{_BAR}' rx='3' fill='{_COLOUR}'/>"
        yield f"<text x='{_LABELS + length + 6:.1f}' y='{middle}' fill='{_TEXT}'>{_figure(value)}</text>"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
