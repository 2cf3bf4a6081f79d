"""The benchmark tables of the documentation, from CSVs that `kgen bench` wrote.

    python benchmarks/table.py tables benchmarks/results/NAME.csv --suite SUITE
    python benchmarks/table.py summary benchmarks/results/NAME.csv benchmarks/results/OTHER.csv

The first rewrites what stands in docs/benchmarks.md between the markers of the suite: a caption that says on what and
by which command was measured, and a table for each case. No row is left out: a contender without a time is there with
its status. The second rewrites the one table of README.md: a line for each case of all the CSVs, and what is worst. A
test compares both pages with the CSVs.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from kgen.errors import KgenError
from kgen.tools.bench.figures import DIRECTIONS, OURS
from kgen.tools.bench.readings import cells

Row = dict[str, str]

END = "<!-- /benchmarks -->"

app = typer.Typer(no_args_is_help=True, add_completion=False)


def start(suite: str) -> str:
    """The marker before a suite's tables."""
    return f"<!-- benchmarks:{suite} -->"


def number(text: str) -> str:
    """Three digits, or all of them before the point."""
    x = float(text)
    return f"{x:.0f}" if x >= 100 else f"{x:.1f}" if x >= 10 else f"{x:.2f}"


def time(row: Row | None) -> str:
    """Microseconds and their multiple of the floor, or why there are none."""
    if row is None:
        return ""
    if not row["median_us"]:
        return row["status"].replace("|", "\\|")
    return f"{number(row['median_us'])} ({number(row['ratio_to_floor'])})"


def memory(rows: Iterable[Row | None]) -> str:
    return " / ".join(number(row["peak_mb"]) if row and row["peak_mb"] else "–" for row in rows)


def line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def table(rows: Sequence[Row]) -> str:
    """One case: a title with the floors, and a line for each contender in the file's order."""
    first = rows[0]
    floors = {row["direction"]: row["floor_us"] for row in rows if row["floor_us"]}
    floor = " and ".join(f"{number(floors[d])} us {d}" for d in DIRECTIONS if d in floors)
    title = f"`{first['case']}`, {first['size'].replace(' ', ', ')}, {first['dtype']}"
    title += f"; floor {floor}" if floor else ""
    lines = [line(["contender", *(f"{d}, us (x floor)" for d in DIRECTIONS), "peak MB"]), "|---|--:|--:|--:|"]
    for contender in dict.fromkeys(row["contender"] for row in rows):
        found = {row["direction"]: row for row in rows if row["contender"] == contender}
        both = [found.get(d) for d in DIRECTIONS]
        lines.append(line([contender, *(time(row) for row in both), memory(both)]))
    return "\n".join([title, "", *lines])


def values(rows: Iterable[Row], column: str) -> str:
    """What a column says; more than one value where several runs were joined."""
    return ", ".join(dict.fromkeys(row[column] for row in rows if row[column]))


def caption(rows: Sequence[Row], suite: str, name: str) -> str:
    command = f"python -m kgen bench --suite {suite} --peers DIR --out benchmarks/results/{name}"
    return (
        f"Measured on {circumstances(rows)}, by\n\n```sh\n{command}\n```\n\n"
        "Medians. In brackets the multiple of the floor, the least time that memory traffic and matrix products\n"
        "allow. Peak memory is beyond inputs and cotangents, in MiB, forward / forward+backward."
    )


def circumstances(rows: Sequence[Row]) -> str:
    return f"{values(rows, 'device')} with torch {values(rows, 'torch')}, triton {values(rows, 'triton')}"


def cases(rows: Iterable[Row]) -> list[list[Row]]:
    """The rows of each case, in the file's order."""
    return [list(part) for _, part in groupby(rows, key=lambda row: (row["case"], row["size"], row["dtype"]))]


def tables(rows: Sequence[Row], suite: str, name: str) -> str:
    """What stands between a suite's markers: the caption, then the cases."""
    return "\n\n".join([caption(rows, suite, name), *map(table, cases(rows))])


# the summary


def timed(rows: Iterable[Row], direction: str) -> tuple[Row, Row]:
    """Ours, and the fastest of the others that have a time."""
    found = [row for row in rows if row["direction"] == direction and row["median_us"]]
    others = [row for row in found if row["contender"] != OURS]
    return next(row for row in found if row["contender"] == OURS), min(others, key=microseconds)


def microseconds(row: Row) -> float:
    return float(row["median_us"])


def gain(ours: Row, other: Row) -> float:
    """How many times as long the other takes."""
    return microseconds(other) / microseconds(ours)


def skipped(rows: Iterable[Row]) -> bool:
    """Whether a contender was not timed that might have been the fastest."""
    return any(row["status"].startswith("skipped") for row in rows)


def described(row: Row) -> str:
    return f"`{row['case']}`, {row['size'].replace(' ', ', ')}, {row['dtype']}"


def summary(rows: Sequence[Row]) -> str:
    """One line for each case, forward and backward, and the worst cells of both directions."""
    both = DIRECTIONS[1]
    pairs = [timed(case, both) for case in cases(rows)]
    marks = ["*" if skipped(case) else "" for case in cases(rows)]
    worst = min(pairs, key=lambda pair: gain(*pair))
    lines = [line(["case", "size, dtype", "kgen, us (x floor)", "fastest other, us", "gain"]), "|---|---|--:|--:|--:|"]
    lines += [_summed_up(*pair, "**" if pair is worst else "", mark) for pair, mark in zip(pairs, marks)]
    return "\n".join(
        [
            f"Measured on {circumstances(rows)}.",
            "Forward and backward together, in medians. In brackets the multiple of the floor, the least time that",
            "memory traffic and matrix products allow. *Gain* is how many times as long the fastest other contender",
            "takes that computes the same, rightly; with a star, of those that were timed, for some were not.",
            "",
            *lines,
            "",
            *_worst(rows, worst),
        ]
    )


def _summed_up(ours: Row, other: Row, bold: str, mark: str) -> str:
    size = f"{ours['size'].replace(' ', ', ')}, {ours['dtype']}"
    fastest = f"{number(other['median_us'])} {other['contender']}"
    return line([f"`{ours['case']}`", size, time(ours), fastest, f"{bold}{number(str(gain(ours, other)))}{bold}{mark}"])


def _worst(rows: Sequence[Row], least: tuple[Row, Row]) -> list[str]:
    ours, other = least
    far = max((row for row in rows if row["contender"] == OURS), key=lambda row: float(row["ratio_to_floor"]))
    return [
        f"The worst gain is {gain(ours, other):.2f}, of {described(ours)}:",
        f"{other['contender']} takes {number(other['median_us'])} us. Farthest from its floor is",
        f"{described(far)}, {far['direction']}: {number(far['ratio_to_floor'])} times.",
    ]


# pages


def between(page: str, suite: str) -> tuple[str, str, str]:
    """The page up to the suite's marker, what is between the markers, and the rest; ValueError without markers."""
    head, opening, rest = page.partition(start(suite))
    body, closing, tail = rest.partition(END)
    if not opening or not closing:
        raise ValueError(f"no {start(suite)} … {END}")
    return head + opening, body, closing + tail


def rewrite(page: Path, suite: str, text: str) -> None:
    """Put a text between the markers of a suite; exit status 2 where the page has none."""
    try:
        head, _, tail = between(page.read_text(encoding="utf-8"), suite)
    except ValueError as mistake:
        typer.echo(f"{page}: {mistake}", err=True)
        raise typer.Exit(2) from None
    page.write_text(f"{head}\n\n{text}\n\n{tail}", encoding="utf-8")


def measured(sources: Iterable[Path]) -> list[Row]:
    """The rows of the CSVs; exit status 2 where one has none, or is none of `kgen bench`'s."""
    try:
        found = {source: cells(source) for source in sources}
    except KgenError as mistake:
        typer.echo(str(mistake), err=True)
        raise typer.Exit(2) from None
    for source, rows in found.items():
        if not rows:
            typer.echo(f"{source} has no measurements", err=True)
            raise typer.Exit(2)
    return [row for rows in found.values() for row in rows]


@app.command("tables")
def write_tables(
    source: Annotated[Path, typer.Argument(help="The CSV.")],
    suite: Annotated[str, typer.Option(help="The suite that was run.")] = "first",
    page: Annotated[Path, typer.Option(help="The file with the markers.")] = Path("docs/benchmarks.md"),
) -> None:
    """Rewrite the tables of a suite from its CSV."""
    rewrite(page, suite, tables(measured([source]), suite, source.name))


@app.command("summary")
def write_summary(
    sources: Annotated[list[Path], typer.Argument(help="The CSVs of all suites.")],
    page: Annotated[Path, typer.Option(help="The file with the markers.")] = Path("README.md"),
) -> None:
    """Rewrite the one table of the README from the CSVs of all suites."""
    rewrite(page, "summary", summary(measured(sources)))


if __name__ == "__main__":
    app()
