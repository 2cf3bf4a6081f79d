"""Plots of measurements: the command that draws a CSV of `kgen bench`.

In: a CSV. Out: files, for each chart that the rows give one in ink for light pages and one for dark, as SVG and PNG.
Needs typer and rich, and matplotlib, the extra `plots`; neither torch nor the generator.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgen.console import HELP, say
from kgen.errors import KgenError
from kgen.tools.bench.charts import Bars, Lines, Roofline, bars, lines, rooflines
from kgen.tools.bench.figures import Row
from kgen.tools.bench.heatmaps import Heatmap, heatmaps
from kgen.tools.bench.readings import read
from kgen.tools.selection import must_exist

if TYPE_CHECKING:
    from types import ModuleType

Chart = Heatmap | Lines | Roofline | Bars

FORMATS = ("svg", "png")
# of each kind: what it shows, in the words of a mistake, and the columns without which it shows nothing
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "heatmap": ("a kernel that was swept over a grid of sizes, with another contender", ()),
    "lines": ("a kernel that was measured at several sizes", ("bytes_us", "binds", "gflops")),
    "roofline": ("a kernel of ours with floors of traffic and of arithmetic", ("bytes_us", "instructions_us")),
    "bars": ("a kernel that was measured at sizes that are no grid", ()),
}

app = typer.Typer(add_completion=False)


def charts(rows: Sequence[Row], kind: str, against: str) -> Sequence[Chart]:
    """The charts of a kind; none where the rows give none."""
    of: dict[str, Callable[[Sequence[Row]], Sequence[Chart]]] = {
        "heatmap": partial(heatmaps, against=against),
        "lines": lines,
        "roofline": rooflines,
        "bars": bars,
    }
    return of[kind](rows)


def chosen(rows: Sequence[Row], kind: str, against: str) -> dict[str, Chart]:
    """The charts to draw, by the names of their files; of every kind that fits, without one. KgenError for none."""
    must_exist([against] if against else [], (r.contender for r in rows if not r.ours), "no contender {!r}")
    found = {name(one, chart): chart for one in ([kind] if kind else KINDS) for chart in charts(rows, one, against)}
    if not found:
        raise KgenError(
            f"nothing to draw{f' as {kind}' if kind else ''}",
            hint=f"that shows {KINDS[kind][0] if kind else 'a kernel with a time'}",
        )
    return found


def name(kind: str, chart: Chart) -> str:
    """The end of a file's name, such as "heatmap-vga3d-layer-tf32"."""
    match chart:
        case Heatmap():
            words = [chart.case, chart.dtype, chart.held]
        case Lines():
            words = [chart.case, chart.dtype]
        case _:
            words = []
    return "-".join(filter(None, (re.sub(r"\W+", "-", word) for word in [kind, *words])))


def drawing() -> "ModuleType":
    """The module that draws; KgenError where matplotlib is not installed."""
    try:
        from kgen.tools.bench import drawing
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0].startswith("kgen"):
            raise
        raise KgenError(f"plots need {missing.name}", hint="pip install '.[plots]'") from None
    return drawing


def write(found: dict[str, Chart], out: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    """Draw the charts into a folder, for every theme and format; the files, in order."""
    tool, paths = drawing(), []
    out.mkdir(parents=True, exist_ok=True)
    for ending, chart in found.items():
        for theme in tool.THEMES:
            figure = tool.draw(chart, theme)
            for suffix in formats:
                paths.append(out / f"{stem}-{ending}-{theme.name}.{suffix}")
                tool.save(figure, paths[-1])
    return paths


@app.command(context_settings=HELP)
def main(
    source: Annotated[Path, typer.Argument(metavar="CSV", help="What kgen bench --out wrote.")],
    out: Annotated[Path | None, typer.Option(help="The folder of the files.", show_default="the CSV's")] = None,
    kind: Annotated[str, typer.Option(help=f"Only {', '.join(KINDS)}.", show_default="every one that fits")] = "",
    against: Annotated[
        str, typer.Option(help="The contender of heatmaps.", show_default="the fastest in each cell")
    ] = "",
    format: Annotated[list[str] | None, typer.Option(help="svg or png.", show_default="both")] = None,
) -> None:
    """Draw measurements, each figure for light and for dark pages. Needs matplotlib."""
    try:
        must_exist([kind] if kind else [], KINDS, "no kind {!r}")
        must_exist(format or [], FORMATS, "no format {!r}")
        rows = read(source, KINDS[kind][1] if kind else ())
        paths = write(chosen(rows, kind, against), out or source.parent, source.stem, format or FORMATS)
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None
    except OSError as error:
        say(f"cannot write {error.filename}: {error.strerror}", error=True)
        raise typer.Exit(2) from None
    for path in paths:
        say(f"wrote {path}")
