"""Plots of measurements: what is drawn is what the CSV says, computed anew from its texts, and it is drawn at all."""

import csv
import importlib.util
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import measured
import pytest
from typer.testing import CliRunner

from kgen.tools.bench.axes import swept
from kgen.tools.bench.charts import ARITHMETIC, SHARE, bars, lines, rooflines
from kgen.tools.bench.figures import DIRECTIONS, Row
from kgen.tools.bench.heatmaps import FASTEST, Heatmap, Panel, heatmaps
from kgen.tools.bench.plots import KINDS, app, chosen
from kgen.tools.bench.readings import read

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
SWEEP = measured.sweep()
drawn = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="pip install '.[plots]'")

Texts = dict[str, str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return measured.write(SWEEP, tmp_path / "gpu-heatmaps.csv")


def texts(path: Path) -> list[Texts]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def draw(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.output


# heatmaps


def expected(path: Path, column: str, direction: str, against: str) -> dict[tuple[int, int], float]:
    """The contender's figure over kgen's, by (b, n): of the one with the least time where it has no name."""
    found: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in texts(path):
        if row["direction"] == direction and row["status"] == "ok":
            found[row["size"]][row["contender"]] = float(row["median_us"]), float(row[column])
    ratios = {}
    for size, by in found.items():
        others = {name: pair for name, pair in by.items() if name != "kgen" and against in ("", name)}
        if others and "kgen" in by:
            b, n = (int(word.split("=")[1]) for word in size.split())
            ratios[b, n] = min(others.values())[1] / by["kgen"][1]
    return ratios


def ratios(chart: Heatmap, panel: Panel) -> dict[tuple[int, int], float]:
    places = [(b, n) for b in chart.y.extents for n in chart.x.extents]
    cells = [cell for line in panel.cells for cell in line]
    return {at: cell.ratio for at, cell in zip(places, cells, strict=True) if cell.ratio is not None}


@pytest.mark.parametrize("against", ["", "flash-clifford", "plain torch"])
def test_heatmaps_have_the_ratios_of_the_csv(against: str, source: Path) -> None:
    (chart,) = heatmaps(read(source), against)
    assert (chart.y.name, chart.x.name, chart.against) == ("b", "n", against or FASTEST)
    assert [(p.quantity, p.direction) for p in chart.panels] == [
        (quantity, direction) for quantity in ("time", "peak memory") for direction in DIRECTIONS
    ]
    for panel in chart.panels:
        column = "median_us" if panel.quantity == "time" else "peak_mb"
        assert ratios(chart, panel) == pytest.approx(expected(source, column, panel.direction, against))


def test_cells_without_a_figure_say_why(source: Path) -> None:
    (chart,) = heatmaps(read(source), "plain torch")
    whys = {
        (panel.direction, b, n): cell.why
        for panel in chart.panels
        for b, line in zip(chart.y.extents, panel.cells)
        for n, cell in zip(chart.x.extents, line)
        if cell.why
    }
    assert whys == {
        ("forward", 256, 64): "wrong",
        ("forward", 256, 512): "skipped",
        ("forward+backward", 4096, 512): "–",
    }
    found = [cell.ours for line in chart.panels[0].cells for cell in line]
    assert None not in found, "kgen's own are there all the same"


def test_a_cell_where_ours_is_wrong_has_no_ratio() -> None:
    broken = [replace(row, status="wrong", median_us=None) if row.ours else row for row in SWEEP]
    (chart,) = heatmaps(broken)
    assert {(cell.ratio, cell.why) for panel in chart.panels for line in panel.cells for cell in line} == {
        (None, "wrong")
    }


@pytest.mark.parametrize(
    ("sizes", "axes"),
    [
        (["b=1 n=2", "b=1 n=3"], ("n",)),
        (["b=1 n=2", "b=2 n=4", "b=4 n=8"], ("b",)),
        (["b=1 n=2 m=2", "b=1 n=4 m=4", "b=3 n=2 m=2", "b=3 n=4 m=4"], ("b", "n")),
        (["b=1 n=2"], ()),
    ],
)
def test_axes_that_move_together_count_once(sizes: list[str], axes: tuple[str, ...]) -> None:
    assert swept(measured.reading(size=size) for size in sizes) == axes


def test_a_third_axis_is_a_chart_for_each_of_its_extents() -> None:
    rows = [replace(row, size=f"{row.size} m={m} k=7") for m in (8, 4) for row in SWEEP]
    found = heatmaps(rows)
    assert [chart.held for chart in found] == ["m=4, k=7", "m=8, k=7"]
    assert all(len(chart.panels[0].cells) == 3 for chart in found)


def test_two_grids_are_one_chart_and_sizes_between_them_are_empty() -> None:
    small, large = measured.sweep((1, 2), (3, 4)), measured.sweep((8, 16), (32, 64))
    (chart,) = heatmaps([*small, *large], "flash-clifford")
    assert (chart.y.extents, chart.x.extents) == ((1, 2, 8, 16), (3, 4, 32, 64))
    filled = [[cell.ratio is not None for cell in line] for line in chart.panels[0].cells]
    assert filled == [[True, True, False, False]] * 2 + [[False, False, True, True]] * 2
    empty = {(cell.ours, cell.why) for line in chart.panels[0].cells for cell in line if cell.ratio is None}
    assert empty == {(None, "")}


def test_a_line_and_a_cell_apart_are_no_grid() -> None:
    rows = [replace(row, size=f"{row.size} c=256") for row in measured.sweep((1000, 2000, 4000), (7,))]
    rows += [replace(row, size="b=4096 n=7 c=4096") for row in rows if "b=1000 " in row.size]
    assert heatmaps(rows) == [] and len(bars(rows)[0].panels) == 8
    (chart,) = lines(rows)
    assert [(panel.axis, panel.held, panel.direction) for panel in chart.panels] == [
        ("b", "n=7, c=256", direction) for direction in DIRECTIONS
    ]
    assert {at for line in chart.panels[0].lines for at, _ in line.points} == {1000, 2000, 4000}


def test_each_kernel_has_its_chart() -> None:
    rows = [*SWEEP, *(replace(row, dtype="bfloat16") for row in SWEEP)]
    rows += [replace(row, case="single", size="b=1") for row in SWEEP[:3]]
    assert [(chart.case, chart.dtype) for chart in heatmaps(rows)] == [
        (measured.CASE, "float32"),
        (measured.CASE, "bfloat16"),
    ]


# rates


def test_lines_are_the_share_of_bandwidth_where_bytes_bind(source: Path) -> None:
    (chart,) = lines(read(source))
    assert [(p.axis, p.held, p.direction) for p in chart.panels] == [
        (axis, held, direction) for axis, held in (("b", "n=512"), ("n", "b=4096")) for direction in DIRECTIONS
    ]
    for panel in chart.panels:
        rows = [r for r in texts(source) if r["direction"] == panel.direction and panel.held in r["size"]]
        wanted = defaultdict(list)
        for row in rows:
            if row["status"] == "ok":
                share = 100 * float(row["bytes_us"]) / float(row["median_us"])
                wanted[row["contender"]].append((int(row["size"].split(f"{panel.axis}=")[1].split()[0]), share))
        assert panel.unit == SHARE and {extent for extent, _ in panel.floor} >= {at for at, _ in wanted["kgen"]}
        assert [floor for _, floor in panel.floor] == pytest.approx([100.0] * len(panel.floor))
        assert {line.contender for line in panel.lines} == set(wanted)
        for line in panel.lines:
            assert dict(line.points) == pytest.approx(dict(wanted[line.contender]))


def bound_by_instructions(rows: Iterable[Row]) -> list[Row]:
    return [
        replace(row, bytes_us=row.floor_us / 3, instructions_us=row.floor_us, binds="instructions")
        for row in rows
        if row.floor_us
    ]


def test_lines_are_operations_where_arithmetic_binds() -> None:
    rows = bound_by_instructions(SWEEP)
    (chart,) = lines(rows)
    panel = chart.panels[0]
    assert panel.unit == ARITHMETIC
    wanted = {(r.contender, r.size): r.gflops / 1e3 for r in rows if r.gflops and r.direction == panel.direction}
    found = {(line.contender, f"b={b} n=512"): y for line in panel.lines for b, y in line.points}
    assert found == pytest.approx({key: y for key, y in wanted.items() if "n=512" in key[1]})
    ours = {line.contender: dict(line.points) for line in panel.lines}["kgen"]
    ratio = {r.size: r.ratio_to_floor for r in rows if r.ours and r.direction == panel.direction}
    assert dict(panel.floor) == pytest.approx({b: y * (ratio[f"b={b} n=512"] or 0) for b, y in ours.items()})


def test_kernels_stand_below_the_roof_by_their_share_of_the_floor(source: Path) -> None:
    (chart,) = rooflines(read(source))
    rows = [r for r in texts(source) if r["contender"] == "kgen" and r["size"] == "b=4096 n=512"]
    for point, row in zip(chart.points, rows, strict=True):
        bytes_us, us, arithmetic = (float(row[name]) for name in ("bytes_us", "median_us", "instructions_us"))
        assert (point.direction, point.size, point.binds) == (row["direction"], row["size"], row["binds"])
        assert (point.balance, point.rate) == pytest.approx((arithmetic / bytes_us, arithmetic / us))
        assert point.rate / min(1, point.balance) == pytest.approx(point.share, rel=1e-3)
        assert point.share == pytest.approx(1 / float(row["ratio_to_floor"]), rel=1e-3)


def test_the_roofline_of_products_is_theirs() -> None:
    row = replace(measured.reading(us=40.0), instructions_us=2.0, products_us=20.0, bytes_us=10.0, floor_us=20.0)
    (chart,) = rooflines([row])
    (point,) = chart.points
    assert (point.balance, point.rate, point.share) == (2.0, 0.5, 0.5)
    assert rooflines([replace(row, instructions_us=None, products_us=None)]) == [], "it has no place"


@pytest.mark.parametrize("name", ["h200.csv", "h200-contractions.csv"])
def test_bars_are_every_row_of_a_suite(name: str) -> None:
    (chart,) = bars(read(RESULTS / name))
    wanted = [
        (
            f"{r['case']}  {r['size']}  {r['dtype']}",
            r["direction"],
            r["contender"],
            float(r["median_us"]) if r["median_us"] else None,
            float(r["ratio_to_floor"]) if r["ratio_to_floor"] else None,
            r["status"] if r["status"] != "ok" else "",
        )
        for r in texts(RESULTS / name)
    ]
    found = [(p.title, p.direction, bar.contender, bar.us, bar.ratio, bar.why) for p in chart.panels for bar in p.bars]
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert bars(SWEEP) == [], "a sweep has heatmaps"


# drawing


def words(figure: "Figure") -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text)]


@drawn
@pytest.mark.parametrize("theme", [0, 1])
def test_numbers_and_reasons_are_written_into_the_cells(theme: int) -> None:
    from kgen.tools.bench.drawing import THEMES, draw

    (chart,) = heatmaps(SWEEP, "plain torch")
    found = words(draw(chart, THEMES[theme]))
    for panel in chart.panels:
        for cell in (cell for line in panel.cells for cell in line):
            first = cell.why if cell.ratio is None else f"{cell.ratio:#.3g}"
            assert [text for text in found if text.split("\n")[0] == first], first
    assert {"256", "1024", "4096", "64", "512", "b", "n", *(f"time, {d}" for d in DIRECTIONS)} <= set(found)
    (title,) = [text for text in found if measured.CASE in text]
    assert all(part in title for part in ("plain torch over kgen", "float32", "NVIDIA H200", "torch 2.11.0"))


@drawn
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_drawn_in_both_formats_and_inks(kind: str, source: Path, tmp_path: Path) -> None:
    single = measured.write([row for row in SWEEP if row.size == "b=256 n=64"], tmp_path / "single.csv")
    of = single if kind == "bars" else source
    status, printed = draw(of, "--kind", kind, "--out", tmp_path / "plots")
    assert status == 0, printed
    files = sorted((tmp_path / "plots").iterdir())
    assert [path.name.rpartition("-")[2] for path in files] == ["dark.png", "dark.svg", "light.png", "light.svg"]
    assert all(f"wrote {path}" in printed for path in files)
    for path in files:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 2000
        else:
            assert sum("path" in element.tag for element in ElementTree.parse(path).iter()) > 30
    assert len({path.read_bytes() for path in files}) == 4


@drawn
def test_every_kind_that_fits_is_drawn_without_one(source: Path) -> None:
    kinds = [name.partition("-")[0] for name in chosen(read(source), "", "")]
    assert kinds == ["heatmap", "lines", "roofline"]
    assert draw(source, "--format", "svg")[0] == 0
    assert len(list(source.parent.glob("*.svg"))) == 6 and not list(source.parent.glob("*.png"))


@drawn
def test_the_same_rows_give_the_same_bytes_in_another_process(source: Path, tmp_path: Path) -> None:
    assert draw(source, "--format", "svg", "--out", tmp_path / "here")[0] == 0
    command = [sys.executable, "-m", "kgen", "plot", str(source), "--format", "svg", "--out", str(tmp_path / "there")]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here, there = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("here", "there"))
    assert here == there and len(here) == 6
    assert not any(b"<dc:date>" in text for text in here.values())


# mistakes


@pytest.fixture
def no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "kgen.tools.bench.drawing", raising=False)
    import kgen.tools.bench as folder

    monkeypatch.delattr(folder, "drawing", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    yield
    sys.modules.pop("kgen.tools.bench.drawing", None)


@pytest.mark.usefixtures("no_matplotlib")
def test_without_matplotlib_the_extra_is_named(source: Path) -> None:
    status, printed = draw(source)
    assert status == 2 and "plots need matplotlib" in printed and "pip install '.[plots]'" in printed
    assert [path for path in source.parent.iterdir() if path != source] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "heat"], "no kind 'heat'"),
        (["--format", "jpg"], "no format 'jpg'"),
        (["--against", "plain torsh"], "did you mean plain torch?"),
        (["--kind", "bars"], "nothing to draw as bars"),
    ],
)
def test_what_there_is_none_of_is_a_mistake(arguments: list[str], message: str, source: Path) -> None:
    status, printed = draw(source, *arguments)
    assert status == 2 and message in printed, printed


def test_rows_of_several_devices_are_a_mistake(tmp_path: Path) -> None:
    rows = [*SWEEP, *(replace(row, device="AMD Instinct MI300X") for row in SWEEP)]
    status, printed = draw(measured.write(rows, tmp_path / "two.csv"))
    assert status == 2 and "measured on NVIDIA H200, AMD Instinct MI300X" in printed


def test_an_older_file_has_no_roofline() -> None:
    status, printed = draw(RESULTS / "h200.csv", "--kind", "roofline")
    assert status == 2 and "it misses bytes_us, instructions_us" in printed


@drawn
def test_a_folder_that_cannot_be_made_is_a_mistake(source: Path) -> None:
    status, printed = draw(source, "--out", source)
    assert status == 2 and f"cannot write {source}" in printed


def test_the_command_needs_no_torch() -> None:
    code = "import sys, kgen.tools.bench.plots; print([n for n in ('torch', 'triton', 'kingdon') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
