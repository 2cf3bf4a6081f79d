"""Kernels of attention whose scores are never stored; `attention.py` launches them, and says what they compute."""

import triton
import triton.language as tl

LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)  # powers of two are faster than those of e


@triton.jit
def _part(x_ptr, row, mask, WIDTH: tl.constexpr, PADDED: tl.constexpr, MATRIX: tl.constexpr):
    # Rows of a part, as wide as tiles are.
    column = tl.arange(0, PADDED)[None, :]
    return tl.load(x_ptr + row[:, None] * WIDTH + column, mask=mask[:, None] & (column < WIDTH), other=0.0).to(MATRIX)


@triton.jit
def _store_part(x_ptr, row, mask, x, WIDTH: tl.constexpr, PADDED: tl.constexpr):
    column = tl.arange(0, PADDED)[None, :]
    tl.store(x_ptr + row[:, None] * WIDTH + column, x, mask=mask[:, None] & (column < WIDTH))


@triton.jit
def _all(tiles, positions):
    # The rows of all matrices: behind so many lies the second statistic.
    return (tl.num_programs(0) // tiles).to(tl.int64) * positions


@triton.jit
def _products(a0, a1, b0, b1, WIDTH1: tl.constexpr, PRECISION: tl.constexpr):
    # Rows times rows, of one part or two.
    total = tl.dot(a0, tl.trans(b0), input_precision=PRECISION)
    return tl.dot(a1, tl.trans(b1), total, input_precision=PRECISION) if WIDTH1 else total


@triton.jit
def _seen(scores, query, key, own, others, fill, CAUSAL: tl.constexpr, LABELLED: tl.constexpr):
    # Scores of what a mask lets a query see.
    if CAUSAL:
        scores = tl.where(query >= key, scores, fill)
    if LABELLED:
        scores = tl.where(own == others, scores, fill)
    return scores


@triton.jit
def _unseen(grads, query, key, own, others, CAUSAL: tl.constexpr, LABELLED: tl.constexpr):
    # Nothing flows back to scores that a mask has replaced.
    return _seen(grads, query, key, own, others, 0.0, CAUSAL, LABELLED)


@triton.jit(do_not_specialize=["S", "T", "alike", "fill"])
def _jit_attend(
    q0_ptr,
    q1_ptr,
    k0_ptr,
    k1_ptr,
    v0_ptr,
    v1_ptr,
    out0_ptr,
    out1_ptr,
    statistics_ptr,
    labels_ptr,
    S,
    T,
    alike,
    fill,
    W0: tl.constexpr,
    W1: tl.constexpr,
    WIDE0: tl.constexpr,
    WIDE1: tl.constexpr,
    N0: tl.constexpr,
    N1: tl.constexpr,
    LONG0: tl.constexpr,
    LONG1: tl.constexpr,
    CAUSAL: tl.constexpr,
    LABELLED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
    MATRIX: tl.constexpr,
    REAL: tl.constexpr,
):
    # A tile of queries walks over all keys.
    tiles = tl.cdiv(S, ROWS)
    n = (tl.program_id(0) // tiles).to(tl.int64)
    s = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    row, row_mask = n * S + s, s < S
    q0 = _part(q0_ptr, row, row_mask, W0, WIDE0, MATRIX)
    q1 = _part(q1_ptr, row, row_mask, W1, WIDE1, MATRIX) if W1 else q0
    own = tl.load(labels_ptr + n // alike * S + s, mask=row_mask, other=0)[:, None] if LABELLED else 0
    largest = tl.full([ROWS], -float("inf"), REAL)
    total = tl.zeros([ROWS], REAL)
    out0 = tl.zeros([ROWS, LONG0], REAL)
    out1 = tl.zeros([ROWS, LONG1 if N1 else 16], REAL)
    end = tl.minimum(T, (tl.program_id(0) % tiles + 1) * ROWS) if CAUSAL else T
    for start in range(0, end, COLUMNS):
        t = start + tl.arange(0, COLUMNS)
        column, column_mask = n * T + t, t < T
        k0 = _part(k0_ptr, column, column_mask, W0, WIDE0, MATRIX)
        k1 = _part(k1_ptr, column, column_mask, W1, WIDE1, MATRIX) if W1 else k0
        others = tl.load(labels_ptr + n // alike * S + t, mask=column_mask, other=0)[None, :] if LABELLED else 0
        scores = _products(q0, q1, k0, k1, W1, PRECISION)
        scores = _seen(scores, s[:, None], t[None, :], own, others, fill, CAUSAL, LABELLED)
        scores = tl.where(column_mask[None, :], scores, -float("inf"))
        higher = tl.maximum(largest, tl.max(scores, 1))
        weights = tl.exp2(scores * LOG2E - (higher * LOG2E)[:, None])
        scale = tl.exp2((largest - higher) * LOG2E)
        largest = higher
        total = total * scale + tl.sum(weights, 1)
        v0 = _part(v0_ptr, column, column_mask, N0, LONG0, MATRIX)
        out0 = tl.dot(weights.to(MATRIX), v0, out0 * scale[:, None], input_precision=PRECISION)
        if N1:
            v1 = _part(v1_ptr, column, column_mask, N1, LONG1, MATRIX)
            out1 = tl.dot(weights.to(MATRIX), v1, out1 * scale[:, None], input_precision=PRECISION)
    scale = 1.0 / tl.where(total == 0.0, 1.0, total)  # of no keys nothing comes
    _store_part(out0_ptr, row, row_mask, out0 * scale[:, None], N0, LONG0)
    if N1:
        _store_part(out1_ptr, row, row_mask, out1 * scale[:, None], N1, LONG1)
    tl.store(statistics_ptr + row, largest * LOG2E, mask=row_mask)
    tl.store(statistics_ptr + _all(tiles, S) + row, scale, mask=row_mask)


@triton.jit(do_not_specialize=["rows"])
def _jit_shares(
    out0_ptr,
    out1_ptr,
    grad0_ptr,
    grad1_ptr,
    share_ptr,
    rows,
    N0: tl.constexpr,
    N1: tl.constexpr,
    LONG0: tl.constexpr,
    LONG1: tl.constexpr,
    ROWS: tl.constexpr,
    REAL: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = row < rows
    products = _part(out0_ptr, row, mask, N0, LONG0, REAL) * _part(grad0_ptr, row, mask, N0, LONG0, REAL)
    share = tl.sum(products, 1)
    if N1:
        products = _part(out1_ptr, row, mask, N1, LONG1, REAL) * _part(grad1_ptr, row, mask, N1, LONG1, REAL)
        share += tl.sum(products, 1)
    tl.store(share_ptr + row, share, mask=mask)


@triton.jit(do_not_specialize=["S", "T", "alike", "fill"])
def _jit_to_queries(
    q0_ptr,
    q1_ptr,
    k0_ptr,
    k1_ptr,
    v0_ptr,
    v1_ptr,
    grad0_ptr,
    grad1_ptr,
    statistics_ptr,
    share_ptr,
    grad_q0_ptr,
    grad_q1_ptr,
    labels_ptr,
    S,
    T,
    alike,
    fill,
    W0: tl.constexpr,
    W1: tl.constexpr,
    WIDE0: tl.constexpr,
    WIDE1: tl.constexpr,
    N0: tl.constexpr,
    N1: tl.constexpr,
    LONG0: tl.constexpr,
    LONG1: tl.constexpr,
    CAUSAL: tl.constexpr,
    LABELLED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
    MATRIX: tl.constexpr,
    REAL: tl.constexpr,
):
    # A tile of queries walks over all keys: grad_q = sum over t of w_t (grad . v_t - share) k_t.
    tiles = tl.cdiv(S, ROWS)
    n = (tl.program_id(0) // tiles).to(tl.int64)
    s = (tl.program_id(0) % tiles) * ROWS + tl.arange(0, ROWS)
    row, row_mask = n * S + s, s < S
    q0 = _part(q0_ptr, row, row_mask, W0, WIDE0, MATRIX)
    q1 = _part(q1_ptr, row, row_mask, W1, WIDE1, MATRIX) if W1 else q0
    grad0 = _part(grad0_ptr, row, row_mask, N0, LONG0, MATRIX)
    grad1 = _part(grad1_ptr, row, row_mask, N1, LONG1, MATRIX) if N1 else grad0
    own = tl.load(labels_ptr + n // alike * S + s, mask=row_mask, other=0)[:, None] if LABELLED else 0
    largest = tl.load(statistics_ptr + row, mask=row_mask, other=0.0)[:, None]
    scale = tl.load(statistics_ptr + _all(tiles, S) + row, mask=row_mask, other=0.0)[:, None]
    share = tl.load(share_ptr + row, mask=row_mask, other=0.0)[:, None]
    grad_q0 = tl.zeros([ROWS, WIDE0], REAL)
    grad_q1 = tl.zeros([ROWS, WIDE1 if W1 else 16], REAL)
    end = tl.minimum(T, (tl.program_id(0) % tiles + 1) * ROWS) if CAUSAL else T
    for start in range(0, end, COLUMNS):
        t = start + tl.arange(0, COLUMNS)
        column, column_mask = n * T + t, t < T
        k0 = _part(k0_ptr, column, column_mask, W0, WIDE0, MATRIX)
        k1 = _part(k1_ptr, column, column_mask, W1, WIDE1, MATRIX) if W1 else k0
        v0 = _part(v0_ptr, column, column_mask, N0, LONG0, MATRIX)
        v1 = _part(v1_ptr, column, column_mask, N1, LONG1, MATRIX) if N1 else v0
        others = tl.load(labels_ptr + n // alike * S + t, mask=column_mask, other=0)[None, :] if LABELLED else 0
        scores = _products(q0, q1, k0, k1, W1, PRECISION)
        scores = _seen(scores, s[:, None], t[None, :], own, others, fill, CAUSAL, LABELLED)
        weights = tl.where(column_mask[None, :], tl.exp2(scores * LOG2E - largest), 0.0)
        grad_weights = _products(grad0, grad1, v0, v1, N1, PRECISION) - share
        grad_scores = _unseen(weights * grad_weights, s[:, None], t[None, :], own, others, CAUSAL, LABELLED).to(MATRIX)
        grad_q0 = tl.dot(grad_scores, k0, grad_q0, input_precision=PRECISION)
        if W1:
            grad_q1 = tl.dot(grad_scores, k1, grad_q1, input_precision=PRECISION)
    _store_part(grad_q0_ptr, row, row_mask, grad_q0 * scale, W0, WIDE0)
    if W1:
        _store_part(grad_q1_ptr, row, row_mask, grad_q1 * scale, W1, WIDE1)


@triton.jit(do_not_specialize=["S", "T", "alike", "fill"])
def _jit_to_keys(
    q0_ptr,
    q1_ptr,
    k0_ptr,
    k1_ptr,
    v0_ptr,
    v1_ptr,
    grad0_ptr,
    grad1_ptr,
    statistics_ptr,
    share_ptr,
    grad_k0_ptr,
    grad_k1_ptr,
    grad_v0_ptr,
    grad_v1_ptr,
    labels_ptr,
    S,
    T,
    alike,
    fill,
    W0: tl.constexpr,
    W1: tl.constexpr,
    WIDE0: tl.constexpr,
    WIDE1: tl.constexpr,
    N0: tl.constexpr,
    N1: tl.constexpr,
    LONG0: tl.constexpr,
    LONG1: tl.constexpr,
    CAUSAL: tl.constexpr,
    LABELLED: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    PRECISION: tl.constexpr,
    MATRIX: tl.constexpr,
    REAL: tl.constexpr,
):
    # A tile of keys walks over all queries: grad_k = sum over s of w_s (grad_s . v - share_s) q_s, grad_v = sum over s
    # of w_s grad_s. Tiles of scores are turned, so that what is added up is multiplied as it lies.
    tiles = tl.cdiv(T, COLUMNS)
    n = (tl.program_id(0) // tiles).to(tl.int64)
    first = (tl.program_id(0) % tiles) * COLUMNS
    t = first + tl.arange(0, COLUMNS)
    column, column_mask = n * T + t, t < T
    k0 = _part(k0_ptr, column, column_mask, W0, WIDE0, MATRIX)
    k1 = _part(k1_ptr, column, column_mask, W1, WIDE1, MATRIX) if W1 else k0
    v0 = _part(v0_ptr, column, column_mask, N0, LONG0, MATRIX)
    v1 = _part(v1_ptr, column, column_mask, N1, LONG1, MATRIX) if N1 else v0
    others = tl.load(labels_ptr + n // alike * S + t, mask=column_mask, other=0)[:, None] if LABELLED else 0
    grad_k0 = tl.zeros([COLUMNS, WIDE0], REAL)
    grad_k1 = tl.zeros([COLUMNS, WIDE1 if W1 else 16], REAL)
    grad_v0 = tl.zeros([COLUMNS, LONG0], REAL)
    grad_v1 = tl.zeros([COLUMNS, LONG1 if N1 else 16], REAL)
    for start in range(first // ROWS * ROWS if CAUSAL else 0, S, ROWS):
        s = start + tl.arange(0, ROWS)
        row, row_mask = n * S + s, s < S
        q0 = _part(q0_ptr, row, row_mask, W0, WIDE0, MATRIX)
        q1 = _part(q1_ptr, row, row_mask, W1, WIDE1, MATRIX) if W1 else q0
        grad0 = _part(grad0_ptr, row, row_mask, N0, LONG0, MATRIX)
        grad1 = _part(grad1_ptr, row, row_mask, N1, LONG1, MATRIX) if N1 else grad0
        own = tl.load(labels_ptr + n // alike * S + s, mask=row_mask, other=0)[None, :] if LABELLED else 0
        largest = tl.load(statistics_ptr + row, mask=row_mask, other=0.0)[None, :]
        # behind the last row a weight is nothing
        scale = tl.load(statistics_ptr + _all(tiles, S) + row, mask=row_mask, other=0.0)[None, :]
        share = tl.load(share_ptr + row, mask=row_mask, other=0.0)[None, :]
        scores = _products(k0, k1, q0, q1, W1, PRECISION)
        scores = _seen(scores, s[None, :], t[:, None], others, own, fill, CAUSAL, LABELLED)
        weights = tl.exp2(scores * LOG2E - largest) * scale
        grad_weights = _products(v0, v1, grad0, grad1, N1, PRECISION) - share
        grad_v0 = tl.dot(weights.to(MATRIX), grad0, grad_v0, input_precision=PRECISION)
        if N1:
            grad_v1 = tl.dot(weights.to(MATRIX), grad1, grad_v1, input_precision=PRECISION)
        grad_scores = _unseen(weights * grad_weights, s[None, :], t[:, None], others, own, CAUSAL, LABELLED).to(MATRIX)
        grad_k0 = tl.dot(grad_scores, q0, grad_k0, input_precision=PRECISION)
        if W1:
            grad_k1 = tl.dot(grad_scores, q1, grad_k1, input_precision=PRECISION)
    _store_part(grad_k0_ptr, column, column_mask, grad_k0, W0, WIDE0)
    if W1:
        _store_part(grad_k1_ptr, column, column_mask, grad_k1, W1, WIDE1)
    _store_part(grad_v0_ptr, column, column_mask, grad_v0, N0, LONG0)
    if N1:
        _store_part(grad_v1_ptr, column, column_mask, grad_v1, N1, LONG1)
