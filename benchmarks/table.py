"""The README's benchmark tables, from a CSV that `kgen bench` wrote.

    python benchmarks/table.py benchmarks/results/NAME.csv --suite SUITE

rewrites what stands in README.md between the markers of the suite: a caption that says on what and by which command was
measured, and a table for each case. No row is left out: a contender without a time is there with its status. A test
compares the README with the CSV.
"""

import csv
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

Row = dict[str, str]

DIRECTIONS = ("forward", "forward+backward")
END = "<!-- /benchmarks -->"


def start(suite: str) -> str:
    """The marker before a suite's tables."""
    return f"<!-- benchmarks:{suite} -->"


def read(source: Path) -> list[Row]:
    with source.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
    versions = f"torch {values(rows, 'torch')}, triton {values(rows, 'triton')}"
    return (
        f"Measured on {values(rows, 'device')} with {versions}, by\n\n    {command}\n\n"
        "Medians. In brackets the multiple of the floor, the least time that memory traffic and matrix products\n"
        "allow. Peak memory is beyond inputs and cotangents, in MiB, forward / forward+backward."
    )


def tables(rows: Sequence[Row], suite: str, name: str) -> str:
    """What stands between the markers: the caption, then the cases in the file's order."""
    cases = [list(part) for _, part in groupby(rows, key=lambda row: (row["case"], row["size"], row["dtype"]))]
    return "\n\n".join([caption(rows, suite, name), *map(table, cases)])


def between(readme: str, suite: str) -> tuple[str, str, str]:
    """The README up to the suite's marker, what is between the markers, and the rest; ValueError without markers."""
    head, opening, rest = readme.partition(start(suite))
    body, closing, tail = rest.partition(END)
    if not opening or not closing:
        raise ValueError(f"no {start(suite)} … {END}")
    return head + opening, body, closing + tail


def main(
    source: Annotated[Path, typer.Argument(help="The CSV.")],
    suite: Annotated[str, typer.Option(help="The suite that was run.")] = "first",
    readme: Annotated[Path, typer.Option(help="The file with the markers.")] = Path("README.md"),
) -> None:
    """Rewrite the benchmark tables of the README from a CSV."""
    rows = read(source)
    try:
        head, _, tail = between(readme.read_text(encoding="utf-8"), suite)
    except ValueError as mistake:
        typer.echo(f"{readme}: {mistake}", err=True)
        raise typer.Exit(2) from None
    if not rows:
        typer.echo(f"{source} has no measurements", err=True)
        raise typer.Exit(2)
    readme.write_text(f"{head}\n\n{tables(rows, suite, source.name)}\n\n{tail}", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
