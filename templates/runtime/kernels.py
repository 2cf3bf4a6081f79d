"""Device functions that several kernels use, and the kernels that all packages have."""

import triton
import triton.language as tl


@triton.jit()
def _down(ROWS: tl.constexpr):
    # The rows of a block, as a column; addresses add this 32-bit offset to a scalar 64-bit base.
    if ROWS == 1:
        return 0
    else:
        return tl.arange(0, ROWS)[:, None]


@triton.jit()
def _tile(start, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    if ROWS == 1:
        return start + tl.arange(0, BLOCK)
    else:
        return (start + tl.arange(0, BLOCK))[None, :]


@triton.jit()
def _place(rows, ROWS: tl.constexpr):
    # A program's block of rows, and its tile of columns. All are on one axis of the grid: others end at 65,535.
    blocks = tl.cast(tl.cdiv(rows, ROWS), tl.int32)
    return tl.program_id(0) % blocks, tl.program_id(0) // blocks


@triton.jit()
def _apart(start, tile, N, step):
    # Elements of a flat tile from `start` on, where rows of N lie a step apart; without one they follow each other.
    if step is None:
        return tile
    else:
        row = start // N + ((start % N).to(tl.int32) + tile) // N
        return tile + row * (step - N)


@triton.jit()
def _start(ROWS: tl.constexpr, BLOCK: tl.constexpr, value: tl.constexpr, REAL: tl.constexpr):
    # An accumulator for each element of the tile.
    if ROWS == 1:
        return tl.full([BLOCK], value, REAL)
    else:
        return tl.full([ROWS, BLOCK], value, REAL)


@triton.jit()
def _row_start(ROWS: tl.constexpr, BLOCK: tl.constexpr, value: tl.constexpr, REAL: tl.constexpr):
    # An accumulator for each row, for values that are constant along the tile.
    if ROWS == 1:
        return tl.full([1], value, REAL)
    else:
        return tl.full([ROWS, 1], value, REAL)


@triton.jit()
def _sum(total, value, mask, MASKED: tl.constexpr):
    # Lanes beyond the tensor hold arbitrary numbers: they count only where nobody reads them.
    if MASKED:
        return total + tl.where(mask, value, 0.0)
    else:
        return total + value


@triton.jit()
def _max(largest, value, mask, MASKED: tl.constexpr):
    if MASKED:
        value = tl.where(mask, value, -float("inf"))
    return tl.maximum(largest, value, propagate_nan=tl.PropagateNan.ALL)


@triton.jit()
def _row_sum(value, mask):
    value = tl.where(mask, value, 0.0)
    if len(value.shape) == 1:
        return tl.sum(value, 0)
    else:
        return tl.sum(value, 1, keep_dims=True)


@triton.jit()
def _row_max(value, mask):
    value = tl.where(mask, value, -float("inf"))
    if len(value.shape) == 1:
        return _or_nan(tl.max(value, 0), tl.max((value != value).to(tl.int32), 0))
    else:
        return _or_nan(tl.max(value, 1, keep_dims=True), tl.max((value != value).to(tl.int32), 1, keep_dims=True))


@triton.jit()
def _column_sum(value, ROWS: tl.constexpr):
    if ROWS == 1:
        return value
    else:
        return tl.sum(value, 0, keep_dims=True)


@triton.jit()
def _column_max(value, ROWS: tl.constexpr):
    if ROWS == 1:
        return value
    else:
        return _or_nan(tl.max(value, 0, keep_dims=True), tl.max((value != value).to(tl.int32), 0, keep_dims=True))


@triton.jit()
def _kept(seed, element, p, number: tl.constexpr, part: tl.constexpr, REAL: tl.constexpr):
    # 1 with probability 1 - p, else 0: the same for an element whichever kernel asks. Four parts share the work.
    low, high = element.to(tl.uint32), (element >> 32).to(tl.uint32)
    drawn = tl.philox(seed, low, high, low * 0 + number, low * 0 + part // 4)
    uniform = tl.uint_to_uniform_float(drawn[part % 4])
    return tl.where(uniform >= tl.cast(p, tl.float32), 1.0, 0.0).to(REAL)


@triton.jit()
def _or_nan(largest, lost):
    # tl.max passes over NaN, torch.amax does not.
    return tl.where(lost > 0, float("nan"), largest)


@triton.jit()
def _total(partial_ptr, total_ptr, tile, slots, count, SLOTS: tl.constexpr, BLOCK: tl.constexpr, REAL: tl.constexpr):
    # Adds the programs' partial sums of a tile of results, always in the same order.
    column = tile * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros([SLOTS, BLOCK], REAL)
    for first in range(0, slots, SLOTS):
        slot = (first + tl.arange(0, SLOTS))[:, None]
        mask = (slot < slots) & (column < count)
        total += tl.load(partial_ptr + slot.to(tl.int64) * count + column, mask=mask, other=0.0)
    tl.store(total_ptr + column, tl.sum(total, 0, keep_dims=True), mask=column < count)


@triton.jit(do_not_specialize=["slots"])
def _jit_total(partial_ptr, total_ptr, slots, count, SLOTS: tl.constexpr, BLOCK: tl.constexpr, REAL: tl.constexpr):
    _total(partial_ptr, total_ptr, tl.program_id(0), slots, count, SLOTS, BLOCK, REAL)


@triton.jit(do_not_specialize=["parts"])
def _jit_parts(part_ptr, total_ptr, parts, count, BLOCK: tl.constexpr, REAL: tl.constexpr):
    # Adds the parts of each of a batch, (batch, parts, count), one after the other: there are few of them.
    tiles = tl.cdiv(count, BLOCK)
    of, element = (tl.program_id(0) // tiles).to(tl.int64), tl.program_id(0) % tiles * BLOCK + tl.arange(0, BLOCK)
    part_row, mask = part_ptr + of * parts * count, element < count
    total = tl.load(part_row + element, mask=mask, other=0.0).to(REAL)
    for part in range(1, parts):
        total += tl.load(part_row + tl.cast(part, tl.int64) * count + element, mask=mask, other=0.0)
    tl.store(total_ptr + of * count + element, total, mask=mask)


@triton.jit(do_not_specialize=[f"slots_{i}" for i in range(8)])
def _jit_totals(
    partial_ptr_0,
    partial_ptr_1,
    partial_ptr_2,
    partial_ptr_3,
    partial_ptr_4,
    partial_ptr_5,
    partial_ptr_6,
    partial_ptr_7,
    total_ptr_0,
    total_ptr_1,
    total_ptr_2,
    total_ptr_3,
    total_ptr_4,
    total_ptr_5,
    total_ptr_6,
    total_ptr_7,
    slots_0,
    slots_1,
    slots_2,
    slots_3,
    slots_4,
    slots_5,
    slots_6,
    slots_7,
    count_0,
    count_1,
    count_2,
    count_3,
    count_4,
    count_5,
    count_6,
    count_7,
    RESULTS: tl.constexpr,
    SLOTS: tl.constexpr,
    BLOCK: tl.constexpr,
    REAL: tl.constexpr,
):
    # The same of up to eight results; those behind the first `RESULTS` stand in, and nothing looks at them.
    partials = (
        partial_ptr_0,
        partial_ptr_1,
        partial_ptr_2,
        partial_ptr_3,
        partial_ptr_4,
        partial_ptr_5,
        partial_ptr_6,
        partial_ptr_7,
    )
    totals = (
        total_ptr_0,
        total_ptr_1,
        total_ptr_2,
        total_ptr_3,
        total_ptr_4,
        total_ptr_5,
        total_ptr_6,
        total_ptr_7,
    )
    slots = (slots_0, slots_1, slots_2, slots_3, slots_4, slots_5, slots_6, slots_7)
    counts = (count_0, count_1, count_2, count_3, count_4, count_5, count_6, count_7)
    tile = tl.program_id(0)
    for i in tl.static_range(RESULTS):
        if (tl.program_id(1) == i) & (tile * BLOCK < counts[i]):
            _total(partials[i], totals[i], tile, slots[i], counts[i], SLOTS, BLOCK, REAL)


@triton.jit()
def _jit_matmul(
    a_ptr,
    b_ptr,
    out_ptr,
    rows,
    along,
    columns,
    a_batch,
    a_row,
    a_along,
    b_batch,
    b_along,
    b_column,
    out_program,
    out_batch,
    out_row,
    out_column,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
    PRECISION: tl.constexpr,
    REAL: tl.constexpr,
):
    # A product of matrices, or of batches of them, in tiles; the programs of a tile share the contracted axis.
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, BLOCK)[None, :]
    across, down = tl.arange(0, DEPTH)[None, :], tl.arange(0, DEPTH)[:, None]
    blocks, tiles = tl.cdiv(rows, ROWS), tl.cdiv(columns, BLOCK)
    batch = (tl.program_id(0) // (tiles * blocks)).to(tl.int64)
    top = (tl.program_id(0) // tiles % blocks).to(tl.int64) * ROWS
    left = (tl.program_id(0) % tiles).to(tl.int64) * BLOCK
    row_mask, column_mask = top + row < rows, left + column < columns
    program, programs = tl.program_id(1), tl.num_programs(1)
    total = tl.zeros([ROWS, BLOCK], REAL)
    for block in range(program, tl.cdiv(along, DEPTH), programs):
        start = tl.cast(block, tl.int64) * DEPTH
        across_mask, down_mask = start + across < along, start + down < along
        a_tile = a_ptr + batch * a_batch + top * a_row + start * a_along
        b_tile = b_ptr + batch * b_batch + start * b_along + left * b_column
        a = tl.load(a_tile + row * a_row + across * a_along, mask=row_mask & across_mask, other=0.0)
        b = tl.load(b_tile + down * b_along + column * b_column, mask=down_mask & column_mask, other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=REAL)
    out_tile = out_ptr + program.to(tl.int64) * out_program + batch * out_batch + top * out_row + left * out_column
    tl.store(out_tile + row * out_row + column * out_column, total, mask=row_mask & column_mask)


@triton.jit(do_not_specialize=["rows"])
def _jit_turn(x_ptr, turned_ptr, rows, columns, ROWS: tl.constexpr, BLOCK: tl.constexpr, REAL: tl.constexpr):
    # Copies matrices so that their rows are innermost in memory.
    tiles, blocks = tl.cdiv(columns, BLOCK), tl.cdiv(rows, ROWS)
    first = (tl.program_id(0) // (tiles * blocks)).to(tl.int64) * rows * columns
    row = (tl.program_id(0) % blocks).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = (tl.program_id(0) // blocks % tiles).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)[None, :]
    mask = (row < rows) & (column < columns)
    x = tl.load(x_ptr + first + row * columns + column, mask=mask, other=0.0)
    tl.store(turned_ptr + first + column * rows + row, x, mask=mask)


@triton.jit()
def _maximum(a, b):
    # NaN where either is.
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit()
def _minimum(a, b):
    # NaN where either is.
    return tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit()
def _holds(condition):
    # A comparison of real numbers, for `&`, `|` and `~`: of one number alone Triton's interpreter would give these a
    # block of real numbers.
    return tl.where(condition, 1, 0) != 0


@triton.jit()
def _exp(x):
    # 2^n e^r for the integer n nearest to x / log 2. tl.exp of a large x is off by as many units in the last place as x
    # is large, because x / log 2 is rounded to fp32. n log 2 is exact here: its first part has 9 bits, and n has 8.
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        n = tl.floor(tl.clamp(x * 1.4426950408889634, -160.0, 160.0) + 0.5)
        r = (x - n * 0.693359375) + n * 2.12194440e-4
        half = tl.floor(n * 0.5)
        return tl.exp2(r * 1.4426950408889634) * tl.exp2(half) * tl.exp2(n - half)  # 2^n may be out of range


@triton.jit()
def _erf(x):
    # tl.erf takes a denormal for zero.
    return tl.where(tl.abs(x) < 1e-30, 1.1283791670955126 * x, tl.erf(x))


@triton.jit()
def _phi(x):
    # The normal distribution function.
    return 0.5 + 0.5 * tl.erf(0.7071067811865476 * x)


@triton.jit()
def _sigmoid(x):
    # 1 / (1 + exp(-x)), of an exponential that does not overflow.
    tail = _exp(-tl.abs(x))
    return tl.where(x < 0, tail, 1.0) / (1.0 + tail)


@triton.jit()
def _sqrt(x):
    # Correctly rounded; tl.sqrt takes a denormal in fp32 for zero.
    if x.dtype == tl.float64:
        return tl.sqrt(x)
    else:
        return tl.sqrt_rn(x)


@triton.jit()
def _rsqrt(x):
    # tl.rsqrt takes a denormal for zero.
    small = x < 1e-30
    root = tl.rsqrt(tl.where(small, x * 2.0**100, x))
    return tl.where(small, root * 2.0**50, root)


@triton.jit()
def _sin(x):
    # tl.sin takes a denormal for zero.
    return tl.where(tl.abs(x) < 1e-20, x, tl.sin(x))


@triton.jit()
def _tanh(x):
    # Near zero a Padé approximant (error below 1e-16 for |x| < 0.5), elsewhere by the exponential, which saturates.
    s = x * x
    small = x * (135135.0 + s * (17325.0 + s * (378.0 + s))) / (135135.0 + s * (62370.0 + s * (3150.0 + s * 28.0)))
    large = 1.0 - 2.0 / (tl.exp(2.0 * tl.abs(x)) + 1.0)
    return tl.where(s < 0.25, small, tl.where(x < 0, -large, large))


@triton.jit()
def _fill(value, mask, REAL: tl.constexpr):
    # A value that is constant along the tile, spread over it.
    return tl.where(mask, value, tl.full([], 0.0, REAL))


@triton.jit()
def _row_sum2(x0, x1, mask):
    # 2 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    x = tl.join(x0, x1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    x0, x1 = tl.split(tile)
    if COLUMN:
        return x0[:, None], x1[:, None]
    else:
        return x0, x1


@triton.jit()
def _row_sum3(x0, x1, x2, mask):
    # 3 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    x2 = tl.where(mask, x2, 0.0)
    zero = tl.zeros_like(x0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    low0 = tl.join(x0, x2)
    low1 = tl.join(x1, zero)
    x = tl.join(low0, low1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    low0, low1 = tl.split(tile)
    x0, x2 = tl.split(low0)
    x1, _ = tl.split(low1)
    if COLUMN:
        return x0[:, None], x1[:, None], x2[:, None]
    else:
        return x0, x1, x2


@triton.jit()
def _row_sum4(x0, x1, x2, x3, mask):
    # 4 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    x2 = tl.where(mask, x2, 0.0)
    x3 = tl.where(mask, x3, 0.0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    low0 = tl.join(x0, x2)
    low1 = tl.join(x1, x3)
    x = tl.join(low0, low1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    low0, low1 = tl.split(tile)
    x0, x2 = tl.split(low0)
    x1, x3 = tl.split(low1)
    if COLUMN:
        return x0[:, None], x1[:, None], x2[:, None], x3[:, None]
    else:
        return x0, x1, x2, x3


@triton.jit()
def _row_sum5(x0, x1, x2, x3, x4, mask):
    # 5 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    x2 = tl.where(mask, x2, 0.0)
    x3 = tl.where(mask, x3, 0.0)
    x4 = tl.where(mask, x4, 0.0)
    zero = tl.zeros_like(x0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    low00 = tl.join(x0, x4)
    low01 = tl.join(x1, zero)
    low10 = tl.join(x2, zero)
    low11 = tl.join(x3, zero)
    low0 = tl.join(low00, low10)
    low1 = tl.join(low01, low11)
    x = tl.join(low0, low1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    low0, low1 = tl.split(tile)
    low00, low10 = tl.split(low0)
    low01, low11 = tl.split(low1)
    x0, x4 = tl.split(low00)
    x1, _ = tl.split(low01)
    x2, _ = tl.split(low10)
    x3, _ = tl.split(low11)
    if COLUMN:
        return x0[:, None], x1[:, None], x2[:, None], x3[:, None], x4[:, None]
    else:
        return x0, x1, x2, x3, x4


@triton.jit()
def _row_sum6(x0, x1, x2, x3, x4, x5, mask):
    # 6 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    x2 = tl.where(mask, x2, 0.0)
    x3 = tl.where(mask, x3, 0.0)
    x4 = tl.where(mask, x4, 0.0)
    x5 = tl.where(mask, x5, 0.0)
    zero = tl.zeros_like(x0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    low00 = tl.join(x0, x4)
    low01 = tl.join(x1, x5)
    low10 = tl.join(x2, zero)
    low11 = tl.join(x3, zero)
    low0 = tl.join(low00, low10)
    low1 = tl.join(low01, low11)
    x = tl.join(low0, low1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    low0, low1 = tl.split(tile)
    low00, low10 = tl.split(low0)
    low01, low11 = tl.split(low1)
    x0, x4 = tl.split(low00)
    x1, x5 = tl.split(low01)
    x2, _ = tl.split(low10)
    x3, _ = tl.split(low11)
    if COLUMN:
        return x0[:, None], x1[:, None], x2[:, None], x3[:, None], x4[:, None], x5[:, None]
    else:
        return x0, x1, x2, x3, x4, x5


@triton.jit()
def _row_sum7(x0, x1, x2, x3, x4, x5, x6, mask):
    # 7 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    x2 = tl.where(mask, x2, 0.0)
    x3 = tl.where(mask, x3, 0.0)
    x4 = tl.where(mask, x4, 0.0)
    x5 = tl.where(mask, x5, 0.0)
    x6 = tl.where(mask, x6, 0.0)
    zero = tl.zeros_like(x0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    low00 = tl.join(x0, x4)
    low01 = tl.join(x1, x5)
    low10 = tl.join(x2, x6)
    low11 = tl.join(x3, zero)
    low0 = tl.join(low00, low10)
    low1 = tl.join(low01, low11)
    x = tl.join(low0, low1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    low0, low1 = tl.split(tile)
    low00, low10 = tl.split(low0)
    low01, low11 = tl.split(low1)
    x0, x4 = tl.split(low00)
    x1, x5 = tl.split(low01)
    x2, x6 = tl.split(low10)
    x3, _ = tl.split(low11)
    if COLUMN:
        return x0[:, None], x1[:, None], x2[:, None], x3[:, None], x4[:, None], x5[:, None], x6[:, None]
    else:
        return x0, x1, x2, x3, x4, x5, x6


@triton.jit()
def _row_sum8(x0, x1, x2, x3, x4, x5, x6, x7, mask):
    # 8 sums at once: joined, they pass through shared memory together.
    x0 = tl.where(mask, x0, 0.0)
    x1 = tl.where(mask, x1, 0.0)
    x2 = tl.where(mask, x2, 0.0)
    x3 = tl.where(mask, x3, 0.0)
    x4 = tl.where(mask, x4, 0.0)
    x5 = tl.where(mask, x5, 0.0)
    x6 = tl.where(mask, x6, 0.0)
    x7 = tl.where(mask, x7, 0.0)
    COLUMN: tl.constexpr = len(x0.shape) > 1
    low00 = tl.join(x0, x4)
    low01 = tl.join(x1, x5)
    low10 = tl.join(x2, x6)
    low11 = tl.join(x3, x7)
    low0 = tl.join(low00, low10)
    low1 = tl.join(low01, low11)
    x = tl.join(low0, low1)
    tile = tl.sum(x, 1 if COLUMN else 0)
    low0, low1 = tl.split(tile)
    low00, low10 = tl.split(low0)
    low01, low11 = tl.split(low1)
    x0, x4 = tl.split(low00)
    x1, x5 = tl.split(low01)
    x2, x6 = tl.split(low10)
    x3, x7 = tl.split(low11)
    if COLUMN:
        return x0[:, None], x1[:, None], x2[:, None], x3[:, None], x4[:, None], x5[:, None], x6[:, None], x7[:, None]
    else:
        return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit()
def _load2(pointer, mask, REAL: tl.constexpr):
    # The 2 adjacent components of each element: one contiguous access, split in registers.
    index = tl.arange(0, 2)
    tile = tl.load(tl.expand_dims(pointer, -1) + index, mask=tl.expand_dims(mask, -1), other=0.0).to(REAL)
    if len(mask.shape) == 1:
        tile = tl.reshape(tile, [mask.shape[0], 2])
    else:
        tile = tl.reshape(tile, [mask.shape[0], mask.shape[1], 2])
    x0, x1 = tl.split(tile)
    return x0, x1


@triton.jit()
def _store2(pointer, x0, x1, mask):
    # The 2 adjacent components of each element: joined in registers, one contiguous access.
    index = tl.arange(0, 2)
    x = tl.join(x0, x1)
    if len(mask.shape) == 1:
        tile = tl.reshape(x, [mask.shape[0], 2])
    else:
        tile = tl.reshape(x, [mask.shape[0], mask.shape[1], 2])
    tl.store(tl.expand_dims(pointer, -1) + index, tile, mask=tl.expand_dims(mask, -1))


@triton.jit()
def _load4(pointer, mask, REAL: tl.constexpr):
    # The 4 adjacent components of each element: one contiguous access, split in registers.
    index = tl.arange(0, 4)
    tile = tl.load(tl.expand_dims(pointer, -1) + index, mask=tl.expand_dims(mask, -1), other=0.0).to(REAL)
    if len(mask.shape) == 1:
        tile = tl.reshape(tile, [mask.shape[0], 2, 2])
    else:
        tile = tl.reshape(tile, [mask.shape[0], mask.shape[1], 2, 2])
    low0, low1 = tl.split(tile)
    x0, x2 = tl.split(low0)
    x1, x3 = tl.split(low1)
    return x0, x1, x2, x3


@triton.jit()
def _store4(pointer, x0, x1, x2, x3, mask):
    # The 4 adjacent components of each element: joined in registers, one contiguous access.
    index = tl.arange(0, 4)
    low0 = tl.join(x0, x2)
    low1 = tl.join(x1, x3)
    x = tl.join(low0, low1)
    if len(mask.shape) == 1:
        tile = tl.reshape(x, [mask.shape[0], 4])
    else:
        tile = tl.reshape(x, [mask.shape[0], mask.shape[1], 4])
    tl.store(tl.expand_dims(pointer, -1) + index, tile, mask=tl.expand_dims(mask, -1))


@triton.jit()
def _load8(pointer, mask, REAL: tl.constexpr):
    # The 8 adjacent components of each element: one contiguous access, split in registers.
    index = tl.arange(0, 8)
    tile = tl.load(tl.expand_dims(pointer, -1) + index, mask=tl.expand_dims(mask, -1), other=0.0).to(REAL)
    if len(mask.shape) == 1:
        tile = tl.reshape(tile, [mask.shape[0], 2, 2, 2])
    else:
        tile = tl.reshape(tile, [mask.shape[0], mask.shape[1], 2, 2, 2])
    low0, low1 = tl.split(tile)
    low00, low10 = tl.split(low0)
    low01, low11 = tl.split(low1)
    x0, x4 = tl.split(low00)
    x1, x5 = tl.split(low01)
    x2, x6 = tl.split(low10)
    x3, x7 = tl.split(low11)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit()
def _store8(pointer, x0, x1, x2, x3, x4, x5, x6, x7, mask):
    # The 8 adjacent components of each element: joined in registers, one contiguous access.
    index = tl.arange(0, 8)
    low00 = tl.join(x0, x4)
    low01 = tl.join(x1, x5)
    low10 = tl.join(x2, x6)
    low11 = tl.join(x3, x7)
    low0 = tl.join(low00, low10)
    low1 = tl.join(low01, low11)
    x = tl.join(low0, low1)
    if len(mask.shape) == 1:
        tile = tl.reshape(x, [mask.shape[0], 8])
    else:
        tile = tl.reshape(x, [mask.shape[0], mask.shape[1], 8])
    tl.store(tl.expand_dims(pointer, -1) + index, tile, mask=tl.expand_dims(mask, -1))
