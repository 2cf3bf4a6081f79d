"""Products of matrices: by torch's library, by kernels that compute factors, and in a spec's own precision."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch

from . import launch
from .device import INTERPRETED, allows_tf32, input_precision, multiprocessors
from .kernels import _jit_matmul, _jit_turn
from .launch import TRITON, Launch, Numbers, Options, Tensors, known, one_or_more, power, some, two_or_more
from .operators import PLAIN

LONG = 256  # an axis that makes up for launching a copy

# of the kernel for stored factors: in one pass of tf32 two programs share a multiprocessor, else one fills it
ROWS = {
    "tf32": Launch(elements=64, warps=8, tile=128, pack=16384, programs=2, depth=64),
    "tf32x3": Launch(elements=64, warps=8, tile=128, pack=16384, programs=1, depth=64),
    "ieee": Launch(elements=64, warps=8, tile=128, pack=16384, programs=1, depth=32),
}


# factors


def is_innermost(matrix: torch.dtype, extent: int) -> bool:
    """Whether an axis is to be innermost where it is contracted: tf32 is faster then, if rows start at 16 bytes."""
    return matrix is torch.float32 and isinstance(extent, int) and extent >= LONG and extent % 4 == 0


def factor(
    like: torch.Tensor,
    matrix: torch.dtype,
    innermost: bool,
    rows: Sequence[int],
    columns: Sequence[int],
    several: int | None = None,
) -> torch.Tensor:
    """Memory for a factor of a product, or of `several` products, seen as (*rows, *columns), with either innermost."""
    first = (several,) if several else ()
    if not innermost:
        return like.new_empty((*first, *rows, *columns), dtype=matrix)
    turned = like.new_empty((*first, *columns, *rows), dtype=matrix)
    middle = len(first) + len(columns)
    return turned.permute(*range(len(first)), *range(middle, turned.dim()), *range(len(first), middle))


def turned(x: torch.Tensor, innermost: bool) -> torch.Tensor:
    """A matrix, or each of a batch, with its rows innermost in memory, if that is asked for: a copy."""
    if not innermost:
        return x
    copy = x.new_empty(x.mT.shape)
    *batch, rows, columns = x.shape
    grid = (-(-rows // 64) * -(-columns // 64) * math.prod(batch), 1, 1)
    if some(x.numel()):
        launch.launch(_jit_turn, grid, (x, copy), (rows, columns), {"num_warps": 8}, x.dtype, 64, 64)
    return copy.mT


# by torch's library


def product(a: torch.Tensor, b: torch.Tensor, out: torch.Tensor | None = None, add: bool = False) -> torch.Tensor:
    """The product of two matrices, or of two batches of them, in their own dtype: autocast is not asked.

    With `add` it is added to what `out` holds, in the same dtype.
    """
    if torch.is_autocast_enabled(a.device.type):
        with torch.autocast(a.device.type, enabled=False):
            return product(a, b, out, add)
    if add and out is not None:
        return out.addmm_(a, b) if a.dim() == 2 else out.baddbmm_(a, b)
    multiply = torch.mm if a.dim() == 2 else torch.bmm
    if out is None or out.dtype == a.dtype:
        return multiply(a, b, out=out)
    return out.copy_(multiply(a, b))


def in_parts(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A batch of products of which each is small, but long along the contracted axis: of parts, added in a fixed order.

    There are as many as a GPU computes at once, of at least 512 rows. In 16 bits, where each would be rounded, none.
    """
    (batch, rows, along), columns, parts = a.shape, b.shape[-1], 1
    if a.dtype.itemsize > 2 and all(isinstance(n, int) for n in a.shape + b.shape):
        tiles = batch * -(-rows // 128) * -(-columns // 128)
        while along % (2 * parts) == 0 and along >= 1024 * parts and 2 * parts * tiles <= multiprocessors(a.device):
            parts *= 2
    if parts == 1:
        return product(a, b)
    left, right = (x.view(batch * parts, along // parts, x.shape[-1]) for x in (a.mT, b))
    return launch.joined(product(left.mT, right).view(batch, parts, rows, columns))


# in a spec's own precision


def in_precision(
    precision: str,
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor | None = None,
    add: bool = False,
    parted: bool = False,
) -> torch.Tensor:
    """As `product`, but fp32 in this precision: by a kernel where torch's setting is another, or may become another.

    Programs share a contracted axis that is long beside the others (`parted`); their sums are added in a fixed order.
    """
    if a.dtype is not torch.float32 or _is_set(precision, a):
        return product(a, b, out, add)
    if add and out is not None:
        return out.add_(in_precision(precision, a, b, parted=parted))
    *batch, rows, along = a.shape
    columns, row = b.shape[-1], ROWS[precision]
    out = a.new_empty((*batch, rows, columns)) if out is None else out
    sizes = math.prod(batch), rows, along, columns
    if not parted:
        _launch_product(row, a, b, out, sizes, 1, precision)
        return out
    programs = parts(row, sizes[0], rows, columns, along, a.dtype, a.device)
    partial = a.new_empty((programs, sizes[0], rows, columns))
    _launch_product(row, a, b, partial, sizes, programs, precision)
    return launch.total(partial, out)


def _is_set(precision: str, x: torch.Tensor) -> bool:
    """Whether torch's setting is this precision: its library multiplies then. What is traced may run under another."""
    set_now = "tf32" if allows_tf32() else "ieee"
    return not INTERPRETED and type(x) in PLAIN and input_precision(precision, x.device) == set_now


def _launch_product(
    row: Launch,
    a: torch.Tensor,
    b: torch.Tensor,
    out: torch.Tensor,
    sizes: tuple[int, int, int, int],
    programs: int,
    precision: str,
) -> None:
    """Tiles of a product of matrices with any strides; `programs` share the contracted axis."""
    batch, rows, along, columns = sizes
    per, block, depth, options = shape(row, known(columns), a.dtype)
    tiles = batch * -(-rows // per) * -(-columns // block)
    if some(tiles):
        strides = (*(0, *a.stride())[-3:], *(0, *b.stride())[-3:], *(0, 0, *out.stride())[-4:])
        extents = (per, block, depth, input_precision(precision, a.device))
        numbers = (rows, along, columns, *strides)
        launch.launch(_jit_matmul, (tiles, programs, 1), (a, b, out), numbers, options, torch.float32, *extents)


# with factors that are computed


def contract(
    kernel: Any,
    row: Launch,
    tensors: Tensors,
    numbers: Numbers,
    batch: int,
    rows: int,
    columns: int,
    programs: int,
    matrix: torch.dtype,
    real: torch.dtype,
    precision: str = "",
) -> None:
    """Tiles of a product of matrices; `programs` share the contracted axis."""
    per, block, depth, options = shape(row, known(columns), matrix)
    tiles = batch * -(-rows // per) * -(-columns // block)
    if some(tiles):
        extents = (per, block, depth, TRITON.get(matrix, TRITON[torch.float32]))
        told = (input_precision(precision, tensors[0].device),) if precision else ()
        launch.launch(kernel, (tiles, programs, 1), tensors, numbers, options, real, *extents, *told)


@functools.lru_cache(maxsize=1024)
def shape(row: Launch, columns: int, matrix: torch.dtype) -> tuple[int, int, int, Options]:
    """Rows, columns and depth of the tiles of a product of matrices, and what Triton is told."""
    block = max(16, min(power(columns), row.tile))
    rows = max(16, min(row.pack // block, 2 * row.tile))  # taller tiles of the left factor do not fit on the chip
    depth = max(16, row.depth * 2 // matrix.itemsize)
    return rows, block, depth, {"num_warps": max(1, min(row.warps, rows * block // (32 * row.elements)))}


def parts(
    row: Launch, batch: int, rows: int, columns: int, along: int, matrix: torch.dtype, device: torch.device
) -> int:
    """How many programs share a contracted axis."""
    per, block, depth, _ = shape(row, known(columns), matrix)
    tiles = batch * -(-rows // per) * -(-columns // block)
    most = row.programs * multiprocessors(device) // one_or_more(tiles)
    return two_or_more(-(-along // (launch.BLOCKS_OF_ROWS * depth)), most)
