"""CSVs of the benchmark, read again: typed rows, or a mistake that says what is another."""

import csv
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path

import measured
import pytest

from kgen.errors import KgenError
from kgen.tools.bench import readings
from kgen.tools.bench.figures import COLUMNS
from kgen.tools.bench.readings import ALWAYS, LATER, read

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
AGREED = (  # what `kgen bench` writes
    "case,size,dtype,contender,direction,median_us,spread,floor_us,bytes_us,instructions_us,products_us,binds,"
    "ratio_to_floor,gflops,peak_mb,error,max_abs,status,device,torch,triton,kgen_digest"
)


def rounded(value: str | float | None) -> str | float | None:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def test_the_columns_are_those_of_the_benchmark() -> None:
    assert ",".join(COLUMNS) == AGREED
    assert set(ALWAYS) | set(LATER) == set(COLUMNS) and not set(ALWAYS) & set(LATER)


def test_rows_come_back(tmp_path: Path) -> None:
    rows = measured.sweep()
    found = read(measured.write(rows, tmp_path / "a.csv"))
    assert [astuple(row) for row in found] == [tuple(map(rounded, astuple(row))) for row in rows]


@pytest.mark.parametrize("name", ["h200.csv", "h200-contractions.csv"])
def test_files_of_all_versions_are_read(name: str) -> None:
    with (RESULTS / name).open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    rows = read(RESULTS / name)
    assert [row.median_us for row in rows] == [float(x["median_us"]) if x["median_us"] else None for x in lines]
    assert [(row.case, row.status, row.kgen_digest) for row in rows] == [
        (x["case"], x["status"], x["kgen_digest"]) for x in lines
    ]


def test_a_column_that_is_needed_must_be_there(tmp_path: Path) -> None:
    path = measured.write(measured.sweep(), tmp_path / "a.csv")
    edited(path, "median_us,spread", "median_us,sprawl")
    with pytest.raises(KgenError, match="it misses spread and has unknown sprawl"):
        read(path, needed=["spread"])
    edited(path, "sprawl", "median_us")
    with pytest.raises(KgenError, match="has twice median_us"):
        read(path)


@pytest.mark.parametrize("edit", [lambda text: b"\xef\xbb\xbf" + text, lambda text: text.replace(b"\n", b"\r\n")])
def test_what_a_spreadsheet_saved_is_read(edit: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = measured.write(measured.sweep(), tmp_path / "a.csv")
    before = read(path)
    path.write_bytes(edit(path.read_bytes()))
    assert read(path) == before


@pytest.mark.parametrize("name", ["h200-overhead.csv", "h200-versions.csv"])
def test_other_files_are_refused(name: str) -> None:
    with pytest.raises(KgenError, match="it misses .*dtype|it misses case, size.* and has unknown package"):
        read(RESULTS / name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",0.02,", ",low,", "a.csv:2:1: spread 'low' is no number"),
        (",wrong,", ",", "a.csv:4:1: the line has another number"),
        (",wrong,", ",wrong,again,", "a.csv:4:1: the line has another number"),
    ],
)
def test_a_mistake_has_its_line(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = edited(measured.write(measured.sweep(), tmp_path / "a.csv"), old, new)
    with pytest.raises(KgenError) as mistake:
        read(path)
    assert message in str(mistake.value)


def test_no_file_and_no_rows(tmp_path: Path) -> None:
    with pytest.raises(KgenError, match="cannot read"):
        read(tmp_path / "absent.csv")
    with pytest.raises(KgenError, match="no measurements"):
        read(measured.write([], tmp_path / "a.csv"))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(KgenError, match="is no CSV"):
        read(tmp_path / "b.csv")


def test_only_who_is_right_has_a_time() -> None:
    row = measured.reading(us=12.5)
    assert readings.time(row) == 12.5 and readings.time(None) is None
    assert readings.time(replace(row, status="wrong")) is None


def test_circumstances_tell_what_ran_and_on_what() -> None:
    row = measured.reading()
    assert readings.circumstances([row, row]) == "NVIDIA H200, torch 2.11.0, triton 3.6.0"
    other = replace(row, contender="kgen (torch reference, no kernel ran)", device="CPU", triton="", torch="2.12")
    assert readings.circumstances([other]) == "CPU, torch 2.12, kgen (torch reference, no kernel ran)"
    with pytest.raises(KgenError, match="measured on NVIDIA H200, CPU"):
        readings.circumstances([row, other])
