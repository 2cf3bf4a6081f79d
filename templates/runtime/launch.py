"""How kernels are launched: shapes of tiles, grids, and the launch itself, in all forms that kernels have."""

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton.language as tl

from .device import INTERPRETED, multiprocessors
from .kernels import _jit_parts, _jit_total, _jit_totals
from .operators import PLAIN

TRITON = {torch.float32: tl.float32, torch.float64: tl.float64}
if not INTERPRETED:  # Triton's interpreter would multiply the bits of bf16
    TRITON[torch.bfloat16] = tl.bfloat16

DIVISIBLE = 16  # what Triton asks of numbers and addresses, to load several elements at once
FARTHEST = 1 << 17  # elements between rows: of the 16,384 that a tile has at most, offsets are 32 bits
ALIGNED = 4  # elements that a load may take at once: partial sums of each result start at a multiple
SLOTS, SUMS = 256, 8  # partial sums that a program loads at once, of so many results: 32 bytes are what memory moves
TOGETHER = 8  # results whose partial sums one launch adds
BLOCKS_OF_ROWS = 4  # that a persistent program walks at least: with fewer, adding the partial sums takes longer

Tensors = Sequence[torch.Tensor]
Numbers = tuple[float | None, ...]
Options = dict[str, int]


class Launch(NamedTuple):
    """How a kernel is launched; measured rules, see `kgen show --stage kernels`."""

    elements: int  # elements of a tile for each thread
    warps: int  # at most
    tile: int  # elements of a program's tile at most, where the tile is not a whole row
    pack: int  # elements that several short rows fill together
    programs: int = 0  # fold, contract: programs a multiprocessor that share a sum
    registers: int = 0  # the most that a thread may use, 0 for any number
    resident: int = 0  # the longest row that stays in registers
    depth: int = 0  # contract: elements of a tile along the contracted axis, in 16 bits


def flat(kernel: Any, row: Launch, tensors: Tensors, numbers: Numbers, count: int, real: torch.dtype) -> None:
    """Every element on its own."""
    _, block, options = shape(row, row.tile)
    if some(count):
        launch(kernel, (-(-count // block), 1, 1), tensors, numbers, options, real, 1, block)


def tile(
    kernel: Any,
    row: Launch,
    tensors: Tensors,
    numbers: Numbers,
    rows: int,
    columns: int,
    real: torch.dtype,
    whole: bool = False,
) -> None:
    """Blocks of rows times tiles of columns; with `whole`, a tile holds all columns."""
    per, block, options = shape(row, known(columns), whole)
    if some(rows):
        grid = (-(-rows // per) * tiles_of(columns, block), 1, 1)
        launch(kernel, grid, tensors, numbers, options, real, per, block)


def sweep(
    kernel: Any, row: Launch, tensors: Tensors, numbers: Numbers, rows: int, columns: int, real: torch.dtype
) -> None:
    """Blocks of rows, each swept in tiles."""
    per, block, options = shape(row, known(columns))
    if some(rows):
        launch(kernel, (-(-rows // per), 1, 1), tensors, numbers, options, real, per, block)


def segment(
    kernel: Any, row: Launch, tensors: Tensors, numbers: Numbers, kept: int, columns: int, real: torch.dtype
) -> None:
    """A program for each position that an index may have, and tile."""
    per, block, options = shape(row, known(columns))
    if some(kept):
        launch(kernel, (kept * tiles_of(columns, block), 1, 1), tensors, numbers, options, real, per, block)


def programs_of(row: Launch, rows: int, kept: int, columns: int, device: torch.device) -> tuple[int, int]:
    """How many persistent programs share the rows, and how many tiles the columns have."""
    per, block, _ = shape(row, known(columns))
    tiles = tiles_of(columns, block)
    most = row.programs * multiprocessors(device) // one_or_more(tiles * kept)
    enough = -(-rows // (BLOCKS_OF_ROWS * per))
    return two_or_more(enough, most), tiles


def fold(
    kernel: Any,
    row: Launch,
    tensors: Tensors,
    numbers: Numbers,
    kept: int,
    columns: int,
    programs: int,
    real: torch.dtype,
) -> None:
    """Persistent programs that walk the rows."""
    per, block, options = shape(row, known(columns))
    if some(kept):
        grid = (kept * tiles_of(columns, block), programs, 1)
        # also as a number: of the grid's own the range is known, which makes the loop's counters longer
        launch(kernel, grid, tensors, (*numbers, programs), options, real, per, block)


def total(partial: torch.Tensor, result: torch.Tensor) -> torch.Tensor:
    """Add the programs' partial sums (slots, …) into `result`, always in the same order."""
    count = result.numel()
    if some(count):
        grid, numbers = (-(-count // SUMS), 1, 1), (partial.shape[0], count)
        launch(_jit_total, grid, (partial, result), numbers, {"num_warps": 4}, partial.dtype, SLOTS, SUMS)
    return result


def joined(parts: torch.Tensor) -> torch.Tensor:
    """The sum of few parts of each of a batch of matrices, (batch, parts, rows, columns), always in the same order."""
    batch, slots, rows, columns = parts.shape
    result, count = parts.new_empty((batch, rows, columns)), rows * columns
    if some(result.numel()):
        grid = (batch * -(-count // 1024), 1, 1)
        launch(_jit_parts, grid, (parts, result), (slots, count), {"num_warps": 4}, parts.dtype, 1024)
    return result


def partials(
    like: torch.Tensor, real: torch.dtype, *results: tuple[int, torch.Tensor | None]
) -> tuple[torch.Tensor, ...]:
    """Memory for the partial sums of results, as many as is said of each, in one piece: (slots, elements) of each.

    Where there is no result another tensor stands in, which a kernel leaves alone.
    """
    sizes = [0 if x is None else slots * x.numel() for slots, x in results]
    starts = [0, *itertools.accumulate([-(-size // ALIGNED) * ALIGNED for size in sizes])]
    memory = like.new_empty((starts[-1],), dtype=real)
    return tuple(
        like if x is None else memory.as_strided((slots, x.numel()), (x.numel(), 1), start)
        for start, (slots, x) in zip(starts, results)
    )


def totals(*results: tuple[torch.Tensor, torch.Tensor | None]) -> None:
    """Add the partial sums of each result into it, as `total` does, all in one launch; nothing where there is none."""
    found = [(partial, x) for partial, x in results if x is not None and some(x.numel())]
    for at in range(0, len(found), TOGETHER):
        here = found[at : at + TOGETHER]
        if len(here) == 1:
            total(here[0][0], here[0][1])
            continue
        counts = [x.numel() for _, x in here]
        rest = TOGETHER - len(here)  # which the kernel does not look at
        tensors = (*[p for p, _ in here], *[here[0][0]] * rest, *[x for _, x in here], *[here[0][0]] * rest)
        numbers = (*[p.shape[0] for p, _ in here], *[0] * rest, *counts, *[0] * rest)
        grid = (-(-largest(counts) // SUMS), len(here), 1)
        launch(_jit_totals, grid, tensors, numbers, {"num_warps": 4}, here[0][0].dtype, len(here), SLOTS, SUMS)


@functools.lru_cache(maxsize=1024)
def shape(row: Launch, columns: int, whole: bool = False) -> tuple[int, int, Options]:
    """Rows and elements of a tile, and what Triton is told: a whole row, or at most the table's tile."""
    block = power(columns) if whole else min(power(columns), row.tile)
    rows = max(1, row.pack // block)
    options = {"num_warps": max(1, min(row.warps, rows * block // (32 * row.elements)))}
    if row.registers and not INTERPRETED and torch.version.hip is None:
        options["maxnreg"] = row.registers
    return rows, block, options


# extents, some of which only a compiler's symbols stand for


def some(extent: int) -> bool:
    """Whether there is anything to compute. A compiler does not ask: a launch of no programs does nothing, either."""
    return type(extent) is not int or extent != 0


def known(extent: int) -> int:
    """An extent that chooses how to launch: a compiler compiles anew for another. What none knows is as long as any."""
    if type(extent) is int:
        return extent
    from torch.fx.experimental.symbolic_shapes import has_free_unbacked_symbols  # slow to import

    return 1 << 31 if has_free_unbacked_symbols(extent) else int(extent)


def power(n: int) -> int:
    """The smallest power of two that is at least n, for n up to 2^31."""
    return 1 << max(n - 1, 0).bit_length()


def tiles_of(columns: int, block: int) -> int:
    """How many tiles a row has; an empty row has one, whose sums are zero."""
    return one_or_more(-(-columns // block))


def one_or_more(count: int) -> int:
    """The count, or one."""
    return max(1, count) if type(count) is int else torch.sym_max(1, count)  # type: ignore[no-untyped-call]


def largest(counts: Sequence[int]) -> int:
    """The largest of some counts."""
    if all([type(n) is int for n in counts]):
        return max(counts)
    return functools.reduce(torch.sym_max, counts)


def two_or_more(enough: int, most: int) -> int:
    """As many programs as are enough, or as there may be, but two at least."""
    if isinstance(enough, int) and isinstance(most, int):
        return max(2, min(enough, most))
    # a size that is a symbol is not decided on; a single program would be, by torch for the partial sums' strides
    return torch.sym_max(2, torch.sym_min(enough, most))


# the inputs


def in_place(x: torch.Tensor, dims: int) -> tuple[torch.Tensor, int | None]:
    """A tensor as kernels read it, and how far apart its rows start: None where they follow each other, as in a copy.

    A row is of so many of the last dims, a step as long as an element of the first of them. A compiler has a copy: what
    it traces need not lie in memory like this when it runs.
    """
    if type(x) not in PLAIN:
        return x.contiguous(), None
    if x.is_contiguous():
        return x, None
    step = _step(x.shape, x.stride(), dims)
    return (x.contiguous(), None) if step is None or x.data_ptr() % DIVISIBLE else (x, step)


@functools.lru_cache(maxsize=1024)
def _step(shape: tuple[int, ...], strides: tuple[int, ...], dims: int) -> int | None:
    """The distance between a tensor's rows, if that is one number, and kernels load as much at once as of a copy."""
    row = 1
    for extent, stride in zip(reversed(shape[-dims:]), reversed(strides[-dims:])):
        if extent != 1 and stride != row:
            return None
        row *= extent
    outer = [place for place in zip(shape[:-dims], strides[:-dims]) if place[0] != 1]
    distance = outer[-1][1]
    if any([stride != outer[i + 1][0] * outer[i + 1][1] for i, (_, stride) in enumerate(outer[:-1])]):
        return None
    length = shape[-dims]
    step, rest = divmod(distance, row // length)
    alike = (step % DIVISIBLE == 0) == (length % DIVISIBLE == 0)
    return step if alike and not rest and distance < FARTHEST else None


# the launch


def launch(
    kernel: Any,
    grid: tuple[int, int, int],
    tensors: Tensors,
    numbers: Numbers,
    options: Options,
    real: torch.dtype,
    *extents: object,
) -> None:
    """Launch on the tensors' device, or show the kernel to torch where it traces."""
    device, rest = tensors[0].device, (*numbers, *extents, TRITON[real])
    if type(tensors[0]) not in PLAIN and not INTERPRETED:
        traced = torch.library.wrap_triton(kernel)  # the kernel itself, where torch does not trace
        if traced is not kernel:
            traced[grid](*tensors, *rest, **{k: v for k, v in options.items() if k != "maxnreg"})
            return
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            kernel[grid](*tensors, *rest, **options)
        return
    # Triton takes longer to find what it compiled for such arguments than to launch it
    key = (kernel.__name__, device, numbers, extents, real, *options.values(), *[x.dtype for x in tensors])
    addresses = [x.data_ptr() for x in tensors]
    aligned = not any([address % DIVISIBLE for address in addresses])
    compiled = _COMPILED.get(key) if aligned else None
    if compiled:  # takes addresses as they are, of which it would ask each tensor and the driver
        compiled[grid](*addresses, *rest)
        return
    compiled = kernel[grid](*tensors, *rest, **options)
    if compiled and aligned and torch.version.cuda:
        if len(_COMPILED) >= 4096:
            _COMPILED.clear()
        _COMPILED[key] = compiled


_COMPILED: dict[tuple[object, ...], Any] = {}  # by all that Triton's choice depends on: a number stands for itself
