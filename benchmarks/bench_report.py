"""The report of a benchmark: tables for people, data for programs, bars for a chart."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from io import StringIO
from typing import Any, NamedTuple

# Readable on light and dark pages, because a README can be shown on either.
_TEXT, _OTHERS, HIGHLIGHTED = "#7d8590", "#7d859080", "#3b82f6"
_WIDTH, _BAR_HEIGHT, _FRAME = 8.0, 0.42, 0.45  # inches


class Table(NamedTuple):
    """A table. The first column has names, the others have figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Bars(NamedTuple):
    """A bar chart: its title, its unit, and the name and value of each bar.

    `notes` has a second line for the bars that it names. Without `highlighted`, all bars have one color.
    """

    title: str
    unit: str
    values: Sequence[tuple[str, float]]
    notes: Mapping[str, str] = {}
    highlighted: Collection[str] = ()


class Report(NamedTuple):
    """The report. `exact` is False if a table did not hold exactly the sent orders; its figures are then invalid."""

    data: dict[str, Any]
    tables: Sequence[Table]
    bars: Bars
    exact: bool = True


def svg(bars: Bars) -> str:
    """Return the chart as one SVG file. Its text is text, without fonts of its own."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = [f"{name}\n{note}" if (note := bars.notes.get(name)) else name for name, _ in bars.values]
    colors = [_OTHERS if bars.highlighted and name not in bars.highlighted else HIGHLIGHTED for name, _ in bars.values]
    height = _FRAME + _BAR_HEIGHT * len(bars.values)
    with rc_context({"font.size": 9, "text.color": _TEXT, "ytick.color": _TEXT, "svg.fonttype": "none"}):
        figure = Figure((_WIDTH, height), layout="constrained")
        axes = figure.subplots()
        drawn = axes.barh(range(len(names)), [value for _, value in bars.values], color=colors, height=0.7)
        axes.bar_label(drawn, [_figure(value) for _, value in bars.values], padding=4)
        axes.set_yticks(range(len(names)), names, parse_math=False)
        axes.set_title(f"{bars.title} ({bars.unit})", loc="left", fontweight="bold", parse_math=False)
        axes.invert_yaxis()
        axes.xaxis.set_visible(False)
        axes.tick_params(length=0)
        axes.margins(x=0.12, y=0.02)
        axes.spines[:].set_visible(False)
        file = StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Title": bars.title, "Date": None})
    return file.getvalue()


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
