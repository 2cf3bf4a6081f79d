"""Two runs side by side: what moved by more than its spread is found, what did not is not, and nothing is dropped."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import measured
import pytest
from rich.console import Console
from typer.testing import CliRunner

from kgen.errors import KgenError
from kgen.tools.bench import compare, figures
from kgen.tools.bench.command import app
from kgen.tools.bench.figures import Row
from kgen.tools.bench.readings import time

SWEEP = measured.sweep()
KERNEL = "vga3d.fused_gelu_sgp_norm"


def spread(rows: Sequence[Row], share: float) -> list[Row]:
    return [replace(row, spread=share if time(row) else None) for row in rows]


def slowed(rows: Sequence[Row], factor: float, **columns: str) -> list[Row]:
    """The rows, those that have all the columns slowed down."""
    chosen = [all(getattr(row, name) == value for name, value in columns.items()) and time(row) for row in rows]
    return [measured.slower(row, factor) if found else row for row, found in zip(rows, chosen)]


def bench(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    return result.exit_code, result.output


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return measured.write(SWEEP, tmp_path / "before.csv")


def test_a_run_is_as_fast_as_itself() -> None:
    found = compare.runs(SWEEP, SWEEP)
    assert found.pairs and found.slower == found.faster == [] and not found.worse(0.0)
    assert len(found.pairs) == sum(time(row) is not None for row in SWEEP)
    assert found.left_out == ("2 cells without a time in one or both",)
    assert compare.mean(found.pairs) == 1


@pytest.mark.parametrize(
    ("share", "found"), [(0.02, 6), (0.067, 6), (0.068, 0), (0.15, 0)]
)  # ln 1.1 = 0.0953 = √2 0.0674
def test_ten_percent_are_found_where_spreads_are_small(share: float, found: int) -> None:
    before = spread(SWEEP, share)
    after = slowed(before, 1.1, contender="kgen", direction="forward")
    forth, back = compare.runs(before, after), compare.runs(after, before)
    assert (len(forth.slower), len(forth.faster)) == (len(back.faster), len(back.slower)) == (found, 0)
    assert {pair.after.direction for pair in forth.slower} <= {"forward"}
    ours = [pair for pair in forth.pairs if pair.after.contender == "kgen"]
    assert compare.mean(ours) == pytest.approx(math.sqrt(1.1)), "half of the cells, whatever the spread"


@pytest.mark.parametrize("large", [0, 1])
def test_the_spread_of_either_run_counts(large: int) -> None:
    runs = [spread(SWEEP, 0.02), spread(slowed(SWEEP, 1.1), 0.02)]
    assert compare.runs(*runs).slower
    runs[large] = spread(runs[large], 0.12)
    assert not compare.runs(*runs).slower


def test_the_worst_comes_first() -> None:
    after = slowed(slowed(slowed(SWEEP, 1.2, size="b=256 n=64"), 1.5, size="b=4096 n=64"), 0.5, size="b=1024 n=64")
    found = compare.runs(SWEEP, after)
    assert [round(pair.ratio, 3) for pair in found.slower] == [1.5] * 6 + [1.2] * 5
    assert {pair.ratio for pair in found.faster} == {0.5}


@pytest.mark.parametrize(("limit", "worse"), [(0.05, True), (0.099, True), (0.101, False)])
def test_to_fail_a_cell_must_exceed_both(limit: float, worse: bool) -> None:
    after = slowed(SWEEP, 1.1, size="b=256 n=64", contender="kgen")
    assert compare.runs(SWEEP, after).worse(limit) == worse
    assert not compare.runs(spread(SWEEP, 0.15), spread(after, 0.15)).worse(limit), "within its spread"
    assert not compare.runs(after, SWEEP).worse(limit), "faster is no failure"


@pytest.mark.parametrize(
    ("status", "worse"), [("wrong", True), ("failed: RuntimeError: x", True), ("skipped: x", False)]
)
def test_what_is_not_right_any_more_is_worse_than_slow(status: str, worse: bool) -> None:
    after = [measured.without_time(row, status) if row.ours and row.size == "b=256 n=64" else row for row in SWEEP]
    found = compare.runs(SWEEP, after)
    assert found.worse(1e9) == worse and [row.status for row in found.lost] == [status] * 2 * worse
    assert "4 cells without a time in one or both" in found.left_out
    assert not compare.runs(after, SWEEP).lost


def test_what_is_in_one_run_alone_is_told() -> None:
    found = compare.runs(SWEEP[:-2], [row for row in SWEEP if row.contender != "plain torch"])
    assert found.left_out[:2] == ("11 cells in the first alone", "2 cells in the second alone")


def test_cells_without_a_spread_are_not_judged() -> None:
    after = [replace(row, spread=None) if row.ours else row for row in slowed(SWEEP, 2)]
    found = compare.runs(SWEEP, after)
    assert not any(pair.after.ours for pair in found.pairs) and "12 cells without a spread" in found.left_out


def test_two_contenders_of_one_run() -> None:
    found = compare.contenders(spread(SWEEP, 0.1), "kgen", "plain torch")
    times = {(row.contender, row.size, row.direction): time(row) for row in SWEEP}
    wanted = {}
    for (name, *at), us in times.items():
        mine = times["kgen", at[0], at[1]]
        if name == "plain torch" and us and mine:
            wanted[at[0], at[1]] = us / mine
    found_ratios = {(pair.after.size, pair.after.direction): pair.ratio for pair in found.pairs}
    assert found_ratios == pytest.approx(wanted) and len(wanted) == 9
    near = [pair for pair in found.pairs if not pair.moved]
    assert near and {pair.after.size.split()[0] for pair in near} == {"b=256"}, "0.8 + 256/1024 = 1.05 is within 14%"


def test_other_devices_are_left_out_and_none_in_common_is_a_mistake() -> None:
    other = [replace(row, device="AMD Instinct MI300X") for row in slowed(SWEEP, 3)]
    found = compare.runs(SWEEP, [*SWEEP, *other])
    assert not found.slower and found.left_out[0] == f"{len(SWEEP)} rows of AMD Instinct MI300X, in one run alone"
    with pytest.raises(KgenError, match="measured on NVIDIA H200 before, on AMD Instinct MI300X after"):
        compare.runs(SWEEP, other)


def test_other_versions_are_noted_and_other_kernels_are_the_purpose() -> None:
    after = [replace(row, torch="2.12.0", kgen_digest="0123456789ab") for row in SWEEP]
    assert compare.runs(SWEEP, after).notes == (
        "other versions: torch 2.11.0, triton 3.6.0 before, torch 2.12.0, triton 3.6.0 after",
    )
    assert compare.runs(SWEEP, [replace(row, kgen_digest="0123456789ab") for row in SWEEP]).notes == ()


def test_a_cell_that_is_there_twice_is_a_mistake() -> None:
    with pytest.raises(KgenError, match="two rows of NVIDIA H200, vga3d.fused_gelu_sgp_norm, b=256 n=64, float32"):
        compare.runs(SWEEP, [*SWEEP, SWEEP[0]])


# the command


def test_the_command_tells_what_moved(source: Path, tmp_path: Path) -> None:
    after = measured.write(slowed(SWEEP, 1.1, contender="kgen", size="b=4096 n=512"), tmp_path / "after.csv")
    status, printed = bench("--compare", source, after)
    assert status == 0, printed
    assert "33 cells: 2 slower and 0 faster by more than their spread, 31 within" in printed
    assert f"kgen: {1.1 ** (1 / 6):.3f} times as long, the geometric mean of 12 cells" in printed
    lines = [line.split() for line in printed.splitlines() if line.split()[:1] == [KERNEL]]
    assert sorted(line[1:6] + line[-2:] for line in lines) == [
        ["b=4096", "n=512", "float32", direction, "kgen", "1.100", "2.8%"]
        for direction in ("forward", "forward+backward")
    ]
    assert bench("--compare", source, after, "--fail-over", "5%")[0] == 1
    assert bench("--compare", source, after, "--fail-over", "20%")[0] == 0
    assert bench("--compare", source, source, "--fail-over", "0%")[0] == 0
    assert bench("--compare", source, after, "--fail-over", "5%", "--contenders", "flash-clifford")[0] == 0


def test_to_compare_nothing_is_no_success_where_one_may_fail(source: Path, tmp_path: Path) -> None:
    other = measured.write([replace(row, size="b=1 n=1") for row in SWEEP[:1]], tmp_path / "other.csv")
    status, printed = bench("--compare", source, other)
    assert status == 0 and "no cell was timed in both" in printed
    assert bench("--compare", source, other, "--fail-over", "5%")[0] == 1


def test_one_cell_is_one_cell() -> None:
    lines = compare.summary(compare.runs([*SWEEP[:1], replace(SWEEP[1], device="CPU")], SWEEP[:1]))
    assert lines[0].startswith("1 cell: ") and lines[1].endswith(" mean of 1 cell")
    assert lines[2:] == ["left out: 1 row of CPU, in one run alone"]


def test_nothing_is_cut_on_a_terminal_of_80_columns() -> None:
    moved = [row for row in SWEEP if row.size == "b=4096 n=512"]
    found = compare.runs(moved, slowed(moved, 1.5))
    for table in (compare.table(found), figures.table(moved)):
        with (console := Console(width=80)).capture() as captured:
            console.print(table)
        assert "…" not in captured.get() and "flash-clifford" in captured.get()


def test_the_command_compares_two_contenders(source: Path) -> None:
    status, printed = bench("--compare", source, "--contenders", "kgen,flash-clifford")
    assert status == 0 and "12 cells: 12 slower" in printed
    wanted = math.sqrt((1.5 + 64 / 512) * (1.5 + 512 / 512))  # what the sweep is made of, half of each
    assert f"flash-clifford over kgen: {wanted:.3f} times as long" in printed
    assert bench("--compare", source, "--contenders", "kgen,flash-clifford", "--fail-over", "0")[0] == 1
    assert bench("--compare", source, "--contenders", "flash-clifford,kgen", "--fail-over", "0")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fail-over", "5%"], "--fail-over is for --compare"),
        (["--contenders", "kgen,other"], "--contenders is for --compare"),
        (["--compare", "SOURCE"], "--compare takes two CSVs"),
        (["--compare", "SOURCE", "SOURCE", "SOURCE"], "--compare takes two CSVs"),
        (["--compare", "SOURCE", "--contenders", "kgen,flash-cliford"], "did you mean flash-clifford?"),
        (["--compare", "SOURCE", "SOURCE", "--fail-over", "much"], "'much' is no percentage"),
        (["--compare", "SOURCE", "SOURCE", "--fail-over", "-5%"], "'-5%' is no percentage"),
        (["--compare", "SOURCE", "SOURCE", "--fail-over", "nan"], "'nan' is no percentage"),
        (["--compare", "SOURCE", "SOURCE", "--only", "layer"], "no case has 'layer' in its name"),
        (["--compare", "SOURCE", "absent.csv"], "cannot read absent.csv"),
        (["--compare", "SOURCE", "benchmarks/results/h200.csv"], "it misses spread"),
    ],
)
def test_mistakes(arguments: list[str], message: str, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    status, printed = bench(*(str(source) if word == "SOURCE" else word for word in arguments))
    assert status == 2 and message in printed, printed


def test_another_device_is_a_mistake_of_the_command(source: Path, tmp_path: Path) -> None:
    other = measured.write([replace(row, device="CPU") for row in SWEEP], tmp_path / "other.csv")
    status, printed = bench("--compare", source, other)
    assert status == 2 and "only one device can be compared" in printed
