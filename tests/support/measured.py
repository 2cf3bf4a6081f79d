"""Measurements that tests make up: rows of a benchmark's CSV, with every column, and files of them."""

import csv
import os
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

from kgen.tools.bench.figures import COLUMNS, DIRECTIONS, INTERPRETED, NO_KERNEL, Row

OURS_HERE = INTERPRETED if os.environ.get("TRITON_INTERPRET", "0") not in ("", "0") else NO_KERNEL  # on a CPU
DEVICE = "NVIDIA H200"
BANDWIDTH, RATE = 4e6, 3e7  # bytes and operations a microsecond
CASE = "vga3d.fused_gelu_sgp_norm"


def reading(contender: str = "kgen", direction: str = "forward", us: float = 50.0, size: str = "b=4096 n=512") -> Row:
    """A row that is right; floors and memory follow from the size, as those of a kernel of few operations do."""
    elements = 1.0
    for word in size.split():
        elements *= int(word.partition("=")[2])
    share = 2.5 if direction == "forward+backward" else 1.0
    bytes_us, instructions_us = 96 * elements * share / BANDWIDTH, 300 * elements * share / RATE
    floor = max(bytes_us, instructions_us)
    return Row(
        case=CASE,
        size=size,
        dtype="float32",
        contender=contender,
        direction=direction,
        median_us=us,
        spread=0.02,
        floor_us=floor,
        bytes_us=bytes_us,
        instructions_us=instructions_us,
        products_us=None,
        binds="bytes" if floor == bytes_us else "instructions",
        ratio_to_floor=us / floor,
        gflops=300 * elements * share / us / 1e3,
        peak_mb=32 * elements * share / 2**20,
        error=1e-7,
        max_abs=1e-6,
        status="ok",
        device=DEVICE,
        torch="2.11.0",
        triton="3.6.0",
        kgen_digest="214cb6dfc2f6",
    )


def without_time(row: Row, status: str) -> Row:
    """The row of a contender that was not timed; the floor is there all the same."""
    return replace(row, median_us=None, spread=None, ratio_to_floor=None, gflops=None, peak_mb=None, status=status)


def slower(row: Row, factor: float) -> Row:
    """The row with its time, and what follows from it, as if it took so many times as long."""
    assert row.median_us and row.ratio_to_floor and row.gflops
    us, ratio = row.median_us * factor, row.ratio_to_floor * factor
    return replace(row, median_us=us, ratio_to_floor=ratio, gflops=row.gflops / factor)


def sweep(batches: Iterable[int] = (256, 1024, 4096), features: Iterable[int] = (64, 512)) -> list[Row]:
    """A sweep over two axes with three contenders: the last is wrong, was skipped, or is absent in a size each."""
    found = []
    for b in batches:
        for n in features:
            for share, direction in enumerate(DIRECTIONS, 1):
                ours = 4 + 96 * b * n * share / BANDWIDTH * 1.2
                size = f"b={b} n={n}"
                found.append(reading("kgen", direction, ours, size))
                found.append(reading("flash-clifford", direction, ours * (1.5 + n / 512), size))
                found.append(reading("plain torch", direction, ours * (0.8 + b / 1024), size))
    wrong, skipped, absent = found[2], found[5 + 3], found[-1]
    marks = {id(wrong): "wrong", id(skipped): "skipped: the time budget is spent"}
    kept = [row for row in found if row is not absent]
    return [without_time(row, marks[id(row)]) if id(row) in marks else row for row in kept]


def write(rows: Iterable[Row], path: Path) -> Path:
    """The rows as `kgen bench` writes them: four digits, empty where there is none."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _spelled(value) for name, value in asdict(row).items()})
    return path


def _spelled(value: str | float | None) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value or "")
