"""Drawing: charts of measurements as figures of matplotlib, and figures as files.

In: tables of `heatmaps.py` and `charts.py`, and a theme. Out: figures on a transparent ground whose ink is for light
or for dark pages, in colours that are told apart without seeing red or green (Okabe and Ito's; cividis). The same chart
gives the same bytes under one version of matplotlib: no dates, and names in SVG that follow from the content.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullFormatter, NullLocator

from kgen.tools.bench.charts import BarPanel, Bars, Curves, Lines, Point, Roofline
from kgen.tools.bench.heatmaps import Cell, Heatmap, Panel

Chart = Heatmap | Lines | Roofline | Bars

MAP = "cividis"
MARKS = "osD^vPX*<>"
DOTS = 140  # of a PNG, an inch
SMALLEST, LARGEST = 1 / 64, 64  # of a roofline's axis, unless points lie beyond


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours for pages of one kind."""

    name: str
    ink: str
    faint: str  # grids, and cells without a figure
    alarm: str  # where kgen is slower
    lines: tuple[str, ...]  # the first is kgen's


LIGHT = Theme(
    "light", "#1f2328", "#c6cbd1", "#d55e00", ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
)
DARK = Theme(
    "dark", "#e6edf3", "#4b535d", "#ff8c42", ("#56b4e9", "#e69f00", "#2fd3a2", "#e3a6c6", "#ff8c42", "#f0e442")
)
THEMES = (LIGHT, DARK)


def draw(chart: Chart, theme: Theme) -> Figure:
    """The figure of a chart."""
    with style(theme):
        match chart:
            case Heatmap():
                return _heatmap(chart, theme)
            case Lines():
                return _lines(chart, theme)
            case Roofline():
                return _roofline(chart, theme)
            case Bars():
                return _bars(chart, theme)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as what the path's suffix says, ".png" or ".svg", without date or program."""
    without = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with style(LIGHT):  # of it only what does not depend on the theme is read now
        figure.savefig(path, dpi=DOTS, transparent=True, metadata=without)


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    """Settings of matplotlib that make figures, and their bytes; those from before come back."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rc("font", size=9.0)
        matplotlib.rc("svg", hashsalt="kgen", fonttype="path")
        matplotlib.rc("text", color=theme.ink)
        matplotlib.rc("axes", labelcolor=theme.ink, edgecolor=theme.ink)
        matplotlib.rc("xtick", color=theme.ink)
        matplotlib.rc("ytick", color=theme.ink)
        matplotlib.rc("grid", color=theme.faint, linewidth=0.5)
        yield


def _figure(width: float, height: float, rows: int, columns: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


# heatmaps


def _heatmap(chart: Heatmap, theme: Theme) -> Figure:
    columns = len({panel.direction for panel in chart.panels})
    lines = len(chart.panels) // columns
    width, height = 1.2 + 0.62 * len(chart.x.extents), 1.0 + 0.45 * len(chart.y.extents)
    figure, places = _figure(max(columns * width, 6.0), 0.9 + lines * height, lines, columns)
    for place, panel in zip(places, chart.panels):
        _cells(place, panel, _scale(chart, panel.quantity), theme)
        place.set_xticks(range(len(chart.x.extents)), [str(extent) for extent in chart.x.extents])
        place.set_yticks(range(len(chart.y.extents)), [str(extent) for extent in chart.y.extents])
        place.set_xlabel(chart.x.name)
        place.set_ylabel(chart.y.name)
    what = f"{chart.against} over kgen, framed where kgen needs more; below, kgen's own in us and MiB"
    figure.suptitle(_title(chart.case, chart.dtype, chart.held, f"\n{what}\n{chart.where}"), fontsize="medium")
    return figure


def _cells(place: Axes, panel: Panel, scale: LogNorm, theme: Theme) -> None:
    """Squares in the colour of the ratio, with the ratio and kgen's own figure.

    Hatched where there is no ratio, empty where nobody ran.
    """
    for y, line in enumerate(panel.cells):
        for x, cell in enumerate(line):
            fill, ink = _colours(cell, scale, theme)
            hatch = "////" if cell.why else ""
            edge = theme.alarm if cell.ratio and cell.ratio < 1 else theme.faint
            square = (x - 0.47, y - 0.47), 0.94, 0.94
            place.add_patch(Rectangle(*square, facecolor=fill, edgecolor=edge, hatch=hatch, linewidth=_border(cell)))
            place.text(x, y, _told(cell), color=ink, ha="center", va="center", fontsize=7.5, linespacing=1.05)
    place.set_xlim(-0.5, len(panel.cells[0]) - 0.5)
    place.set_ylim(-0.5, len(panel.cells) - 0.5)
    place.tick_params(length=0)
    place.spines[:].set_visible(False)
    place.set_title(f"{panel.quantity}, {panel.direction}", fontsize=9)


def _border(cell: Cell) -> float:
    return 2.0 if cell.ratio and cell.ratio < 1 else 0.6


def _scale(chart: Heatmap, quantity: str) -> LogNorm:
    """One scale for both directions."""
    panels = [panel for panel in chart.panels if panel.quantity == quantity]
    ratios = [cell.ratio for panel in panels for line in panel.cells for cell in line if cell.ratio]
    low, high = min(ratios, default=1.0), max(ratios, default=2.0)
    return LogNorm(low, max(high, 1.01 * low))


def _colours(cell: Cell, scale: LogNorm, theme: Theme) -> tuple[tuple[float, ...] | str, str]:
    """Of the square, and of what is written in it: dark on light squares, light on dark ones."""
    if not cell.ratio:
        return "none", theme.ink
    red, green, blue, alpha = matplotlib.colormaps[MAP](scale(cell.ratio))
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    return (red, green, blue, alpha), LIGHT.ink if light else DARK.ink


def _told(cell: Cell) -> str:
    above = _short(cell.ratio) if cell.ratio else cell.why
    return above if cell.ours is None else f"{above}\n{_short(cell.ours)}"


def _short(x: float) -> str:
    """Three digits, or all before the point."""
    return f"{x:.0f}" if x >= 100 else f"{x:#.3g}"


def _title(case: str, dtype: str, held: str, rest: str) -> str:
    return f"{case}, {dtype}{', ' if held else ''}{held}: {rest}"


# lines


def _lines(chart: Lines, theme: Theme) -> Figure:
    names = list(dict.fromkeys(line.contender for panel in chart.panels for line in panel.lines))
    rows = -(-len(chart.panels) // 2)
    figure, places = _figure(9.0, 1.2 + 2.9 * rows, rows, 2)
    for place, panel in zip(places, chart.panels):
        _curves(place, panel, names, theme)
    for place in places[len(chart.panels) :]:
        place.set_visible(False)
    figure.suptitle(_title(chart.case, chart.dtype, "", f"rates and the floor\n{chart.where}"))
    handles, labels = places[0].get_legend_handles_labels()
    known = dict(zip(labels, handles))
    for place in places[1:]:
        known |= dict(zip(*reversed(place.get_legend_handles_labels())))
    figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def _curves(place: Axes, panel: Curves, names: Sequence[str], theme: Theme) -> None:
    if panel.floor:
        place.plot(*zip(*panel.floor), color=theme.ink, linewidth=1.0, linestyle=":", label="floor")
    for line in panel.lines:
        number = names.index(line.contender)
        colour, mark = theme.lines[number % len(theme.lines)], MARKS[number % len(MARKS)]
        place.plot(*zip(*line.points), color=colour, marker=mark, markersize=4, linewidth=1.4, label=line.contender)
    extents = sorted({extent for line in panel.lines for extent, _ in line.points})
    place.set_xscale("log", base=2)
    place.set_xticks(extents, [str(extent) for extent in extents], rotation=45 if len(extents) > 6 else 0)
    place.xaxis.set_minor_locator(NullLocator())
    place.set_ylim(bottom=0)
    place.set_xlabel(f"{panel.axis}{' at ' if panel.held else ''}{panel.held}")
    place.set_ylabel(panel.unit)
    _plain(place, panel.direction)


def _plain(place: Axes, title: str) -> None:
    place.grid(True)
    place.set_axisbelow(True)
    place.spines[["top", "right"]].set_visible(False)
    place.set_title(title, fontsize=9)


# the roofline


def _roofline(chart: Roofline, theme: Theme) -> Figure:
    kernels = list(dict.fromkeys((point.case, point.dtype, point.size) for point in chart.points))
    figure, (place,) = _figure(12.0, max(5.0, 1.6 + 0.19 * len(kernels)), 1, 1)
    low = min(SMALLEST, *(point.balance / 2 for point in chart.points))
    high = max(LARGEST, *(2 * point.balance for point in chart.points))
    place.plot((low, 1, high), (low, 1, 1), color=theme.ink, linewidth=1.2)
    for number, kernel in enumerate(kernels, 1):
        _points(place, [p for p in chart.points if (p.case, p.dtype, p.size) == kernel], number, theme)
    place.set_xscale("log")
    place.set_yscale("log")
    place.set_xlim(low, high)
    place.set_ylim(min(low, *(point.rate / 2 for point in chart.points)), 2)
    place.yaxis.set_minor_formatter(NullFormatter())
    place.set_xlabel("least time of arithmetic / least time of memory traffic")
    place.set_ylabel("least time of arithmetic / median")
    _plain(place, "filled: forward, hollow: forward+backward; the line is the floor")
    place.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=7.5, handlelength=1.5)
    figure.suptitle(f"kgen under the roofline\n{chart.where}")
    return figure


def _points(place: Axes, points: Sequence[Point], number: int, theme: Theme) -> None:
    """One kernel: a mark for each direction, with its number, and a line of the legend with what it reaches."""
    colour, mark = theme.lines[(number - 1) % len(theme.lines)], MARKS[(number - 1) // len(theme.lines) % len(MARKS)]
    first = points[0]
    shares = " and ".join(f"{100 * point.share:.0f}%" for point in points)
    label = f"{number}  {first.case}, {first.dtype}, {first.size}: {shares}"
    for point in points:
        fill = colour if point.direction == "forward" else "none"
        place.plot(
            [point.balance], [point.rate], mark, color=colour, markerfacecolor=fill, label=label, linestyle="none"
        )
        place.annotate(str(number), (point.balance, point.rate), (4, 3), textcoords="offset points", fontsize=7)
        label = "_"  # no second line in the legend


# bars


def _bars(chart: Bars, theme: Theme) -> Figure:
    rows = math.ceil(len(chart.panels) / 2)
    heights = 0.7 + 0.2 * max(len(panel.bars) for panel in chart.panels)
    figure, places = _figure(12.0, 0.9 + heights * rows, rows, 2)
    for place, panel in zip(places, chart.panels):
        _bar_panel(place, panel, theme)
    for place in places[len(chart.panels) :]:
        place.set_visible(False)
    figure.suptitle(f"Time over the floor\n{chart.where}")
    figure.supxlabel("time / floor; the dotted line is the floor", fontsize=9)
    return figure


def _bar_panel(place: Axes, panel: BarPanel, theme: Theme) -> None:
    lengths = [bar.ratio or 0.0 for bar in panel.bars]
    colours = [theme.lines[0 if bar.ours else 1] for bar in panel.bars]
    place.barh(range(len(lengths)), lengths, color=colours, height=0.65)
    place.axvline(1, color=theme.ink, linewidth=0.8, linestyle=":")
    place.set_yticks(range(len(lengths)), [bar.contender for bar in panel.bars])
    place.invert_yaxis()
    for line, (bar, length) in enumerate(zip(panel.bars, lengths)):
        told = f" {_short(bar.ratio)}x, {_short(bar.us)} us" if bar.ratio and bar.us else f" {bar.why[:40]}"
        place.text(length, line, told, va="center", fontsize=8)
    place.set_xlim(0, 1.45 * max([*lengths, 1.0]))
    place.spines[["top", "right"]].set_visible(False)
    floor = f", floor {_short(panel.floor_us)} us" if panel.floor_us else ""
    place.set_title(f"{panel.title}\n{panel.direction}{floor}", fontsize=9, loc="left")
