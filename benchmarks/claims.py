"""What the pages say about a sweep, from its CSV: how much longer others take, where least and most, and the floor.

    python -m benchmarks.claims text benchmarks/results/NAME-heatmaps.csv
    python -m benchmarks.claims pictures

The first rewrites what stands between the markers of `claims` in README.md, the second lists the figures of
docs/plots/ between those of `plots` in docs/benchmarks.md; `make plots` draws them, and runs both. No cell is chosen:
every size, dtype and direction in which both were right counts. Tests compare both pages with the CSVs and the figures.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import table
from kgen.errors import KgenError
from kgen.tools.bench.figures import DIRECTIONS, Row
from kgen.tools.bench.heatmaps import opponent
from kgen.tools.bench.readings import circumstances, read, time

FASTEST = "the fastest of them"
PLOTS = Path("docs/plots")
SWEEPS = "*heatmaps*.csv"  # in benchmarks/results/

app = typer.Typer(no_args_is_help=True, add_completion=False)


@dataclass(frozen=True, slots=True)
class Gain:
    """A cell in which both were right: our row, and the other's time over ours."""

    ours: Row
    ratio: float


Cells = dict[tuple[str, str, str, str], list[Row]]


def cells(rows: Iterable[Row]) -> Cells:
    """The rows of each case, size, dtype and direction, in the files' order."""
    found: Cells = {}
    for row in rows:
        found.setdefault((row.case, row.size, row.dtype, row.direction), []).append(row)
    return found


def projects(rows: Iterable[Row]) -> dict[str, tuple[str, ...]]:
    """The contenders but ours: as they are and compiled by torch are one, of which the faster counts in each cell."""
    names = list(dict.fromkeys(row.contender for row in rows if not row.ours))
    found = dict[str, tuple[str, ...]]()
    for name in names:
        plain = name.removeprefix("torch.compile(").removesuffix(")")
        both = plain in names and f"torch.compile({plain})" in names
        found |= {f"{plain}, compiled or not": (plain, f"torch.compile({plain})")} if both else {name: (name,)}
    return found


def gains(found: Cells, direction: str, against: Sequence[str] = ()) -> list[Gain]:
    """Against the fastest of some contenders in each cell, or of all others, in one direction."""
    result = []
    for rows in (rows for key, rows in found.items() if key[-1] == direction):
        ours, other = next((row for row in rows if row.ours), None), _fastest(rows, against)
        if ours and (mine := time(ours)) and (its := time(other)):
            result.append(Gain(ours, its / mine))
    return result


def _fastest(rows: Iterable[Row], against: Sequence[str]) -> Row | None:
    return opponent([row for row in rows if row.contender in against] if against else rows)


def mean(numbers: Sequence[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, numbers)) / len(numbers))


def claims(rows: Sequence[Row]) -> str:
    """The section: a line for each contender and direction, and what share of the floor is reached."""
    found = cells(rows)
    if not any(time(row) for row in rows if row.ours):
        raise KgenError("kgen has no time in any cell")
    others = {FASTEST: ()} | projects(rows)
    return "\n".join(
        [
            f"Measured on {circumstances(rows)}, over {_sizes(rows)} of {_kernels(rows)}.",
            "*Gain* is how many times as long the other takes, in the geometric mean of the cells in which its results",
            "are right; the worst cell and the best are beside it.",
            "",
            table.line(["other", "direction", "cells", "gain", "worst", "best"]),
            "|---|---|--:|--:|---|---|",
            *(line for name in others for d in DIRECTIONS for line in _line(found, d, name, others[name])),
            "",
            *(text for direction in DIRECTIONS for text in _floor(rows, direction)),
            *_behind(found),
        ]
    )


def _kernels(rows: Iterable[Row]) -> str:
    return f"{len({(row.case, row.dtype) for row in rows})} kernels and dtypes"


def _sizes(rows: Iterable[Row]) -> str:
    return f"{len({(row.case, row.dtype, row.size) for row in rows})} sizes"


def _line(found: Cells, direction: str, name: str, against: Sequence[str]) -> list[str]:
    """None for a contender that was nowhere right."""
    there = [rows for key, rows in found.items() if key[-1] == direction and _fastest(rows, against)]
    won = gains(found, direction, against)
    if not won:
        return []
    worst, best = min(won, key=lambda g: g.ratio), max(won, key=lambda g: g.ratio)
    counted = f"{len(won)} of {len(there)}" if len(won) < len(there) else str(len(won))
    figures = [counted, _number(mean([gain.ratio for gain in won])), _told(worst), _told(best)]
    return [table.line([name, direction, *figures])]


def _told(gain: Gain) -> str:
    return f"{_number(gain.ratio)}, {_named(gain.ours)}"


def _named(row: Row) -> str:
    return f"`{row.case}`, {row.size.replace(' ', ', ')}, {row.dtype}"


def _number(x: float) -> str:
    return table.number(str(x))


def _floor(rows: Iterable[Row], direction: str) -> list[str]:
    shares = {
        row: row.floor_us / us
        for row in rows
        if row.ours and row.direction == direction and (us := time(row)) and row.floor_us
    }
    if not shares:
        return []
    (far, least), (near, most) = (pick(shares.items(), key=lambda item: item[1]) for pick in (min, max))
    mid = mean(list(shares.values()))
    return [
        f"{direction.capitalize()}, kgen reaches {mid:.0%} of its floor in the geometric mean,",
        f"from {least:.1%} ({_named(far)}) to {most:.0%} ({_named(near)}).",
    ]


def _behind(found: Cells) -> list[str]:
    """In how many cells another is faster, and which contenders those are."""
    slower = [gain for direction in DIRECTIONS for gain in gains(found, direction) if gain.ratio < 1]
    if not slower:
        return ["No other is faster in any cell."]
    rows = [found[g.ours.case, g.ours.size, g.ours.dtype, g.ours.direction] for g in slower]
    names = list(dict.fromkeys(other.contender for part in rows if (other := opponent(part))))
    total = sum(len(gains(found, direction)) for direction in DIRECTIONS)
    return [f"Another is faster in {len(slower)} of {total} cells: {', '.join(names)}."]


def pictures(names: Iterable[str], folder: str = PLOTS.name) -> str:
    """The figures in Markdown, by the names of those for light pages: each with its twin for dark ones."""
    twins = [(name, name.replace("-light.", "-dark.")) for name in sorted(names) if "-light." in name]
    return "\n\n".join(
        f"![{_alt(light)}]({folder}/{light}#only-light)\n![{_alt(dark)}]({folder}/{dark}#only-dark)"
        for light, dark in twins
    )


def _alt(name: str) -> str:
    return name.rpartition("-")[0].replace("-", " ")


@app.command("text")
def write_text(
    sources: Annotated[list[Path], typer.Argument(help="The CSVs of the sweeps, of one device.")],
    page: Annotated[Path, typer.Option(help="The file with the markers.")] = Path("README.md"),
) -> None:
    """Rewrite what a page says of the sweeps."""
    try:
        text = claims([row for source in sources for row in read(source)])
    except KgenError as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from None
    table.rewrite(page, "claims", text)


@app.command("pictures")
def write_pictures(
    folder: Annotated[Path, typer.Option(help="The folder of the figures, beside the page.")] = PLOTS,
    page: Annotated[Path, typer.Option(help="The file with the markers.")] = Path("docs/benchmarks.md"),
) -> None:
    """Rewrite a page's list of figures."""
    table.rewrite(page, "plots", pictures([path.name for path in folder.glob("*.svg")], folder.name))


if __name__ == "__main__":
    app()
