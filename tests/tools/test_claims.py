"""What the pages say about sweeps: it is what the CSVs say, and the figures that are shown are there."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import measured
import pytest
import typer

from benchmarks import claims, table
from kgen.errors import KgenError
from kgen.tools.bench.figures import Row
from kgen.tools.bench.readings import read

ROOT = Path(__file__).parents[2]
README, PAGE = ROOT / "README.md", ROOT / "docs" / "benchmarks.md"
SOURCES = sorted((ROOT / "benchmarks" / "results").glob(claims.SWEEPS))
FIGURES = [path.name for path in (ROOT / claims.PLOTS).glob("*.svg")]
SWEEP = measured.sweep()


def test_the_first_page_says_what_the_sweeps_do() -> None:
    _, body, _ = table.between(README.read_text(encoding="utf-8"), "claims")
    expected = claims.claims([row for source in SOURCES for row in read(source)]) if SOURCES else ""
    assert body.strip() == expected, f"python -m benchmarks.claims text {' '.join(map(str, SOURCES))}"


def test_the_page_of_benchmarks_shows_every_figure() -> None:
    _, body, _ = table.between(PAGE.read_text(encoding="utf-8"), "plots")
    assert body.strip() == claims.pictures(FIGURES), "python -m benchmarks.claims pictures"


def ratios(path: Path, direction: str, against: str) -> dict[str, float]:
    """By size, from the texts alone."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = [r for r in csv.DictReader(file) if r["direction"] == direction and r["status"] == "ok"]
    found: dict[str, dict[str, float]] = {}
    for line in lines:
        found.setdefault(line["size"], {})[line["contender"]] = float(line["median_us"])
    return {
        size: min(us for name, us in by.items() if name != "kgen" and against in ("", name)) / by["kgen"]
        for size, by in found.items()
        if any(name != "kgen" and against in ("", name) for name in by)
    }


@pytest.mark.parametrize("direction", ["forward", "forward+backward"])
@pytest.mark.parametrize("against", ["", "flash-clifford", "plain torch"])
def test_gains_are_those_of_the_csv(against: str, direction: str, tmp_path: Path) -> None:
    path = measured.write(SWEEP, tmp_path / "gpu-heatmaps.csv")
    wanted = ratios(path, direction, against)
    text = claims.claims(read(path))
    name = against or claims.FASTEST
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {name} | {direction} |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    total = 5 if against == "plain torch" and direction == "forward+backward" else 6
    assert cells[2] == (str(total) if len(wanted) == total else f"{len(wanted)} of {total}")
    assert cells[3] == f"{math.prod(wanted.values()) ** (1 / len(wanted)):.2f}"
    for cell, pick in zip(cells[4:], (min, max)):
        size = pick(wanted, key=lambda at: wanted[at])
        assert cell == f"{wanted[size]:.2f}, `{measured.CASE}`, {size.replace(' ', ', ')}, float32"


def test_who_is_compiled_by_torch_too_is_one_other() -> None:
    """Of which the faster counts, in each cell."""
    compiled = [
        replace(measured.slower(row, 2 if row.direction == "forward" else 0.5), contender="torch.compile(plain torch)")
        for row in SWEEP
        if row.contender == "plain torch" and row.median_us
    ]
    before, after = (claims.claims(rows).splitlines() for rows in (SWEEP, [*SWEEP, *compiled]))
    alone, both = "| plain torch |", "| plain torch, compiled or not |"
    for direction, factor in (("forward", 1.0), ("forward+backward", 0.5)):
        (one,) = [line for line in before if line.startswith(f"{alone} {direction} |")]
        (two,) = [line for line in after if line.startswith(f"{both} {direction} |")]
        gain = [float(line.split("|")[4]) for line in (one, two)]
        assert gain[1] == pytest.approx(factor * gain[0], rel=0.01)


def test_shares_of_the_floor_are_those_of_the_csv(tmp_path: Path) -> None:
    path = measured.write(SWEEP, tmp_path / "gpu-heatmaps.csv")
    with path.open(newline="", encoding="utf-8") as file:
        lines = [r for r in csv.DictReader(file) if r["contender"] == "kgen" and r["direction"] == "forward"]
    shares = [1 / float(r["ratio_to_floor"]) for r in lines]
    text = claims.claims(read(path)).replace("\n", " ")
    assert f"Forward, kgen reaches {math.prod(shares) ** (1 / len(shares)):.0%} of its floor" in text
    assert f"from {min(shares):.1%} (`{measured.CASE}`, b=256, n=64, float32) to {max(shares):.0%} (" in text
    assert f"{measured.CASE}`, b=4096, n=512, float32)." in text


def test_cells_in_which_another_is_faster_are_counted(tmp_path: Path) -> None:
    assert claims.claims(SWEEP).endswith("No other is faster in any cell.")
    rows = [measured.slower(row, 10) if row.ours and row.size == "b=256 n=64" else row for row in SWEEP]
    assert claims.claims(rows).endswith("Another is faster in 2 of 12 cells: flash-clifford, plain torch.")


def test_what_was_not_measured_is_no_claim() -> None:
    with pytest.raises(KgenError, match="no time in any cell"):
        claims.claims([row for row in SWEEP if not row.ours])
    absent = [replace(row, contender="ezgatr") for row in map(_absent, SWEEP) if not row.ours]
    assert "ezgatr" not in claims.claims([*SWEEP, *absent])
    other = [replace(row, device="CPU") for row in SWEEP]
    with pytest.raises(KgenError, match="measured on NVIDIA H200, CPU"):
        claims.claims([*SWEEP, *other])


def _absent(row: Row) -> Row:
    return measured.without_time(row, "not installed: no module")


def test_a_page_is_rewritten_between_its_markers(tmp_path: Path) -> None:
    source, page = measured.write(SWEEP, tmp_path / "gpu-heatmaps.csv"), tmp_path / "page.md"
    page.write_text("before\n<!-- benchmarks:claims -->\nold\n<!-- /benchmarks -->\nafter\n", encoding="utf-8")
    claims.write_text([source], page)
    once = page.read_text(encoding="utf-8")
    assert once.startswith("before\n") and once.endswith("\nafter\n") and "old" not in once and "kgen reaches" in once
    claims.write_text([source], page)
    assert page.read_text(encoding="utf-8") == once
    with pytest.raises(typer.Exit):
        claims.write_text([tmp_path / "absent.csv"], page)
    assert page.read_text(encoding="utf-8") == once


def test_figures_are_shown_in_both_inks(tmp_path: Path) -> None:
    page, folder = tmp_path / "page.md", tmp_path / "plots"
    folder.mkdir()
    for name in ("b-lines-dark.svg", "b-lines-light.svg", "a-roofline-light.svg", "a-roofline-dark.svg"):
        (folder / name).write_text("<svg/>", encoding="utf-8")
    page.write_text("<!-- benchmarks:plots -->\n<!-- /benchmarks -->\n", encoding="utf-8")
    claims.write_pictures(folder, page)
    assert [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("!")] == [
        "![a roofline](plots/a-roofline-light.svg#only-light)",
        "![a roofline](plots/a-roofline-dark.svg#only-dark)",
        "![b lines](plots/b-lines-light.svg#only-light)",
        "![b lines](plots/b-lines-dark.svg#only-dark)",
    ]
