"""Bars of time over the floor, one panel a case and direction, from a CSV that `kgen bench` wrote.

    python benchmarks/plot.py benchmarks/results/NAME.csv

writes NAME.png beside it, or what --out says. A bar of length one would move memory as fast as a copy does, or
multiply matrices as fast as the device can. A contender without a time is named with the reason. Needs matplotlib.
"""

from itertools import groupby
from pathlib import Path
from typing import Annotated

import matplotlib  # type: ignore[import-not-found, unused-ignore]
import typer

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # type: ignore[import-not-found, unused-ignore]
from matplotlib.axes import Axes  # type: ignore[import-not-found, unused-ignore]

from kgen.console import say
from kgen.errors import KgenError
from kgen.tools.bench.figures import cells

Row = dict[str, str]

DIRECTIONS = ("forward", "forward+backward")
OURS, OTHERS, COMPILED = "#1b6ca8", "#c98a2b", "#9a9a9a"


def color(contender: str) -> str:
    if contender.partition(" ")[0] == "kgen":  # in brackets stands where no GPU ran it
        return OURS
    return COMPILED if contender.startswith("torch.compile") else OTHERS


def draw(axes: Axes, rows: list[Row]) -> None:
    """One panel: horizontal bars, the first row on top."""
    places = range(len(rows))
    lengths = [float(row["ratio_to_floor"] or 0) for row in rows]
    axes.barh(places, lengths, color=[color(row["contender"]) for row in rows], height=0.65)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [row["contender"] for row in rows])
    axes.invert_yaxis()
    for place, row, length in zip(places, rows, lengths):
        text = f" {length:.3g}x, {float(row['median_us']):.3g} us" if row["median_us"] else f" {row['status'][:40]}"
        axes.text(length, place, text, va="center", fontsize=8)
    axes.set_xlim(0, 1.45 * max([*lengths, 1.0]))
    axes.spines[["top", "right"]].set_visible(False)
    first = rows[0]
    title = f"{first['case']}  {first['size']}  {first['dtype']}\n{first['direction']}, floor {first['floor_us']} us"
    axes.set_title(title, fontsize=9, loc="left")


def panels(rows: list[Row]) -> list[list[Row]]:
    """The rows of each panel: by case, size and dtype in the file's order, then by direction."""
    kept = [row for row in rows if row["direction"] in DIRECTIONS]
    return [list(part) for _, part in groupby(kept, lambda r: (r["case"], r["size"], r["dtype"], r["direction"]))]


def main(
    source: Annotated[Path, typer.Argument(help="The CSV.")],
    out: Annotated[Path | None, typer.Option(help="The PNG; by default beside the CSV.")] = None,
) -> None:
    """Draw time over the floor for every case of a benchmark's CSV."""
    try:
        rows = cells(source)
    except KgenError as mistake:
        say(str(mistake), error=True)
        raise typer.Exit(2) from None
    parts = panels(rows)
    if not parts:
        typer.echo(f"{source} has no measurements", err=True)
        raise typer.Exit(2)
    lines = (len(parts) + 1) // 2
    figure, grid = plt.subplots(lines, 2, figsize=(12, 1.9 * lines), squeeze=False, layout="constrained")
    for axes, part in zip(grid.flat, parts):
        draw(axes, part)
    for axes in list(grid.flat)[len(parts) :]:
        axes.set_visible(False)
    figure.suptitle(
        f"Time over the floor of memory traffic, {rows[0]['device']}, torch {rows[0]['torch']}", fontsize=11
    )
    figure.supxlabel("time / floor; the dotted line is the floor", fontsize=9)
    figure.savefig(out or source.with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    typer.run(main)
