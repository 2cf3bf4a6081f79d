"""The reader of hardware counters, on a report as ncu writes it."""

import csv
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from benchmarks.counters import METRICS, Work, main, parsed, read, row
from kgen.errors import KgenError

ROOT = Path(__file__).parents[2]
HEAD = '"ID","Process ID","Kernel Name","Section Name","Metric Name","Metric Unit","Metric Value"'
VALUES = {
    "gpu__time_duration.sum": "54,321",
    "smsp__inst_executed.sum": "33,000,000",
    "smsp__issue_active.avg.pct_of_peak_sustained_active": "72.5",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "38",
    "dram__bytes.sum": "104,857,600",
    "launch__registers_per_thread": "64",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "18",
}


def report(*kernels: str) -> str:
    lines = [
        f'"{number}","7","{kernel}","Command line profiler metrics","{metric}","","{value}"'
        for number, kernel in enumerate(kernels)
        for metric, value in VALUES.items()
    ]
    return "\n".join(["==PROF== Connected to process 7", "a line of the program", HEAD, *lines])


def test_launches_are_read_in_order() -> None:
    launches = read(report("_a_kernel", "_b_kernel", "_a_kernel"))
    assert [launch["kernel"] for launch in launches] == ["_a_kernel", "_b_kernel", "_a_kernel"]
    assert all(set(launch) == {"kernel", *(name for name, _ in METRICS.values())} for launch in launches)


def test_a_row_has_the_units_that_its_columns_name() -> None:
    common = dict.fromkeys(("case", "size", "dtype", "device", "torch", "triton"), "")
    found = row(read(report("_a_kernel"))[0], common)
    assert (found.us, found.instructions, found.issue, found.dram) == ("54.3", "33", "0.725", "0.38")
    assert (found.mb, found.registers, found.warps) == ("100", "64", "0.18")


def test_a_report_without_launches() -> None:
    assert read("==ERROR== no permission") == []


def test_works() -> None:
    assert parsed("vga3d.sgp") == Work("vga3d", "sgp", "float32")
    assert str(parsed("vga3d.sgp:bfloat16")) == "vga3d.sgp:bfloat16"
    with pytest.raises(KgenError, match="not a work"):
        parsed("vga3d")


def test_a_machine_without_a_profiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    app = Typer()
    app.command()(main)
    result = CliRunner().invoke(app, ["--work", "vga3d.sgp"])
    assert result.exit_code == 2
    assert "no ncu" in result.output + (result.stderr or "")


def test_the_page_has_the_figures_of_the_report() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    with (ROOT / "benchmarks" / "results" / "h200-counters.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    assert found
    for line in found:
        columns = ("us", "instructions", "issue", "dram", "registers", "warps")
        assert f"| {' | '.join(line[column] for column in columns)} |" in page
