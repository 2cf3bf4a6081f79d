"""Trainings that are kept: the page says what the CSVs say, and what is drawn is computed anew from their texts."""

import csv
import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

from benchmarks import nbody, table
from kgen.errors import KgenError

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "nbody"))

import curves  # type: ignore[import-not-found]

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
STEPS = ROOT / "benchmarks" / "results" / "cpu-steps.csv"
KEPT = sorted((ROOT / "benchmarks" / "results").glob("*nbody*.csv"))
SOURCES = [path for path in KEPT if path.name.startswith("cpu-")]  # which `make plots` draws: all of one device
TASKS = ("forces", "motion")
drawn = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="pip install '.[plots]'")


def texts(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(rows: Sequence[dict[str, str]], name: str) -> dict[int, float]:
    return {int(row["step"]): float(row[name]) for row in rows if row[name]}


def of(task: str) -> list[Path]:
    return [path for path in SOURCES if texts(path)[0]["task"] == task]


def trained(**fixed: str) -> Any:
    """A short training of both kinds."""
    ours = curves.Curve([2.0, 1.0, 0.5], {0: 3.0, 2: 1.5, 3: 0.6})
    theirs = curves.Curve([2.0, 1.0 + 1e-7, 0.5], {0: 3.0, 2: 1.5, 3: 0.6})
    said = {**dict.fromkeys(curves.FIXED, "some"), "task": "motion", "without": "2.4"}
    return curves.Curves({**said, **fixed}, {"kgen": ours, "plain torch": theirs})


# the page


def test_the_page_says_what_the_trainings_did() -> None:
    _, body, _ = table.between((ROOT / nbody.PAGE).read_text(encoding="utf-8"), "nbody")
    expected = nbody.text([curves.read(source) for source in SOURCES], nbody.kept(STEPS))
    assert body.strip() == expected, "make plots"


def test_steps_of_the_page_are_those_of_the_csv() -> None:
    said = (ROOT / nbody.PAGE).read_text(encoding="utf-8").splitlines()
    rows = texts(STEPS)
    assert [(row["task"], row["contender"]) for row in rows] == [(t, kind) for t in TASKS for kind in curves.KINDS]
    for row in rows:
        assert f"| {row['task']} | float32 | {row['contender']} | {row['processor_ms']} |" in said


@pytest.mark.slow
def test_steps_are_measured_of_both_kinds() -> None:
    torch = pytest.importorskip("torch")
    threads, options = torch.get_num_threads(), ["--systems", "4", "--batch", "2", "--unseen", "2", "--channels", "2"]
    rows = nbody.costs("motion", 1, [*options, "--particles", "3", "--depth", "1"])
    torch.set_num_threads(threads)
    assert [row["contender"] for row in rows] == list(curves.KINDS) and tuple(rows[0]) == nbody.COLUMNS
    assert all(float(row["processor_ms"]) > 0 and "systems=4 particles=3" in row["size"] for row in rows)


@pytest.mark.parametrize("source", KEPT, ids=lambda path: path.stem)
def test_figures_of_the_page_are_those_of_the_csv(source: Path) -> None:
    rows = texts(source)
    first, losses = rows[0], [column(rows, kind) for kind in curves.KINDS]
    apart = max(abs(losses[0][step] - losses[1][step]) / losses[1][step] for step in losses[1])
    for kind, own in zip(curves.KINDS, losses):
        error = float(rows[-1][f"{kind} unseen"])
        head = [first["task"], first["dtype"], str(len(own)), kind, f"{error:.4g}"]
        cells = [*head, f"{error / float(first['without']):.3f}", f"{apart:.1e}" if kind == "kgen" else ""]
        assert table.line(cells) in (ROOT / nbody.PAGE).read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("source", KEPT, ids=lambda path: path.stem)
def test_what_is_kept_learned_and_both_kinds_are_one(source: Path) -> None:
    """Within what rounding may make of them: the bounds that the page states."""
    found = curves.read(source)
    bound = {"float32": 1e-5, "float64": 1e-14}[found.fixed["dtype"]]
    assert max(curves.differences(found)) < bound
    assert all(curve.error < 0.25 * found.without for curve in found.kinds.values())


def test_both_tasks_are_kept_in_both_dtypes() -> None:
    found = [(texts(path)[0]["task"], texts(path)[0]["dtype"]) for path in SOURCES]
    assert found == [(task, dtype) for task in TASKS for dtype in ("float32", "float64")]
    figures = sorted(path.name for path in (ROOT / nbody.PLOTS).glob("*.svg"))
    assert figures == [f"{task}-{ink}.svg" for task in TASKS for ink in ("dark", "light")]


# figures


def lines(figure: "Figure", panel: int) -> dict[str, dict[int, float]]:
    found: dict[str, Any] = {str(line.get_label()): line.get_data() for line in figure.axes[panel].lines}
    return {label: dict(zip(*data)) for label, data in found.items()}


@drawn
@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("task", TASKS)
def test_what_is_drawn_is_what_the_csv_has(task: str, theme: int) -> None:
    from kgen.tools.bench.drawing import THEMES

    figure = curves.draw([curves.read(path) for path in of(task)], THEMES[theme])
    rows, part = texts(of(task)[0]), curves.PART
    found = lines(figure, 0)
    for kind in curves.KINDS:
        losses = column(rows, kind)
        wanted = {k: sum(losses[i] for i in range(k, k + part)) / part for k in range(0, len(losses), part)}
        assert found[f"{kind}, loss"] == pytest.approx(wanted)
        assert found[f"{kind}, unseen systems"] == column(rows, f"{kind} unseen")
    assert set(found["without a network"].values()) == {float(rows[0]["without"])}
    apart = lines(figure, 1)
    assert set(apart) == {"float32", "float64"}
    for path in of(task):
        rows = texts(path)
        ours, theirs = (column(rows, kind) for kind in curves.KINDS)
        all_of = {k: max(abs(ours[i] - theirs[i]) / theirs[i] for i in range(k, k + part)) for k in apart["float32"]}
        assert apart[rows[0]["dtype"]] == pytest.approx(all_of, rel=1e-9, abs=2 * curves.SMALLEST)
    assert all(rows[0][name] in figure.get_suptitle() for name in ("task", "size", "device", "torch", "ran"))


@drawn
def test_the_command_draws_both_inks_and_rewrites_the_page(tmp_path: Path) -> None:
    source, page = tmp_path / "some.csv", tmp_path / "page.md"
    curves.write(trained(), source)
    page.write_text("before\n<!-- benchmarks:nbody -->\n<!-- /benchmarks -->\nafter\n", encoding="utf-8")
    nbody.draw([source], tmp_path / "plots", None, page)
    made = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert sorted(made) == ["motion-dark.svg", "motion-light.svg"] and len({*made.values()}) == 2
    said = page.read_text(encoding="utf-8")
    assert "| motion | some | 3 | kgen | 0.6 | 0.250 | 1.0e-07 |" in said and said.endswith("\nafter\n")
    command = [sys.executable, str(ROOT / "examples/nbody/curves.py"), str(source), "--out", str(tmp_path / "again")]
    subprocess.run(command, check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == made


# files


def test_what_is_written_is_read(tmp_path: Path) -> None:
    curves.write(trained(), tmp_path / "some.csv")
    assert curves.read(tmp_path / "some.csv") == trained()


def test_a_goal_is_reached_where_the_error_was_found_below_it() -> None:
    curve = trained().kinds["kgen"]
    assert [curve.reached(goal) for goal in (3.0, 1.5, 0.7, 0.5)] == [0, 2, 3, None]


def test_one_kind_is_a_curve_without_differences(tmp_path: Path) -> None:
    alone = trained()
    del alone.kinds["kgen"]
    curves.write(alone, tmp_path / "one.csv")
    assert curves.read(tmp_path / "one.csv") == alone and curves.differences(alone) == []


def test_other_files_and_several_devices_are_mistakes(tmp_path: Path) -> None:
    with pytest.raises(KgenError, match="cannot read"):
        curves.read(tmp_path / "absent.csv")
    with pytest.raises(KgenError, match="has no curves"):
        curves.read(ROOT / "benchmarks" / "results" / "h200.csv")
    with pytest.raises(KgenError, match="trained on one, .* and other, "):
        nbody.text([trained(device="one"), trained(device="other")], [])
    with pytest.raises(typer.Exit):
        nbody.draw([tmp_path / "absent.csv"], tmp_path, None, tmp_path / "page.md")
