"""Kernels that hold whole rows of few features, and multiply matrices where their products are needed."""

import functools
from typing import Any

import torch

from . import launch
from .device import INTERPRETED, allows_tf32, has_tensor_cores, input_precision, multiprocessors
from .launch import TRITON, Launch, Numbers, Options, Tensors, known, power, some, two_or_more

MOST = 64  # features; with more, tiles of weights do not fit the registers
LEAST = 16  # of what tensor cores multiply
BLOCKS = 2  # of rows that a persistent program walks at least


def fits(matrix: torch.dtype, device: torch.device, *extents: int, precision: str = "") -> bool:
    """Whether rows are short enough, and tensor cores multiply what they hold: bf16, and fp32 in passes of tf32."""
    if not all([known(n) <= MOST for n in extents]):
        return False
    exact = precision == "ieee" or input_precision("tf32", device) == "ieee"
    multiplied = matrix is torch.bfloat16 or matrix is torch.float32 and not exact
    return INTERPRETED or multiplied and has_tensor_cores(device)


def whole(
    kernel: Any,
    row: Launch,
    tensors: Tensors,
    numbers: Numbers,
    rows: int,
    columns: tuple[int, ...],
    programs: int | None,
    matrix: torch.dtype,
    real: torch.dtype,
    precision: str,
) -> None:
    """Blocks of whole rows, with all features along each axis; or persistent programs that walk the blocks."""
    per, blocks, options = shape(row, *map(known, columns))
    if programs is not None or some(rows):  # sums of no rows are zero
        grid = (-(-rows // per) if programs is None else programs, 1, 1)
        told = TRITON.get(matrix, TRITON[torch.float32])
        launch.launch(kernel, grid, tensors, numbers, options, real, per, *blocks, told, precision)


def programs_of(row: Launch, rows: int, columns: tuple[int, ...], device: torch.device) -> int:
    """How many persistent programs share the rows: the fewer warps each has, the more of them."""
    per, _, options = shape(row, *map(known, columns))
    most = row.programs * row.warps // options["num_warps"] * multiprocessors(device)
    return two_or_more(-(-rows // (BLOCKS * per)), most)


@functools.lru_cache(maxsize=1024)
def shape(row: Launch, *columns: int) -> tuple[int, tuple[int, ...], Options]:
    """Rows of a block, features of its tiles along each axis, and what Triton is told."""
    blocks = tuple(max(LEAST, power(n)) for n in columns)
    per = max(LEAST, row.pack // max(blocks))
    warps = max(1, min(row.warps, per * max(blocks) // (32 * row.elements)))
    return per, blocks, {"num_warps": warps, "num_stages": 2}


def precision(device: torch.device, precision: str = "") -> str:
    """How tiles of fp32 are multiplied: as the spec says, or else torch's own setting.

    Three passes of tf32 are as exact as full fp32, for which a thread would need all tiles in its registers.
    """
    return input_precision(precision or ("tf32" if allows_tf32() else "tf32x3"), device)
