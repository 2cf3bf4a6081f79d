"""Attention whose scores are never stored: softmax(q k^T) v and its gradients, a tile of scores at a time.

Rows and columns of the matrix of scores are queries and keys. Queries with their keys, and values, come in one part or
two, such as multivectors and the scalars beside them: a part is a tensor (matrices, positions, width), and scores are
the sum of what their parts give. A softmax is known before its row is: with the largest score so far, and the sum so
far, what is added up is scaled whenever a larger score comes (Milakov and Gimelshein 2018, Dao et al. 2022). Gradients
compute the scores again, of the same numbers in the same way. All sums have a fixed order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import triton.language as tl

from . import launch
from .attention_kernels import _jit_attend, _jit_shares, _jit_to_keys, _jit_to_queries
from .device import holds_tiles, input_precision
from .launch import TRITON, Options, known, power, some

LEAST = 16  # of what tensor cores multiply

# Positions that a program keeps, those that it walks in one step, warps and stages, measured on an H200. By the bytes
# of a number, then by those of a query and a value at most, as wide as tiles are.
SHAPES = {
    2: (
        (192, {"queries": (128, 64, 8, 3), "keys": (128, 32, 4, 3)}),
        (320, {"queries": (128, 64, 4, 3), "keys": (64, 64, 4, 3)}),
    ),
    4: (
        (384, {"queries": (128, 64, 4, 3), "keys": (128, 32, 4, 2)}),
        (640, {"queries": (128, 64, 8, 3), "keys": (128, 64, 8, 2)}),
    ),
}
ELSEWHERE = (64, 32, 4, 2)  # with wider parts, and on chips that hold less

Parts = Sequence[torch.Tensor]


class Mask(NamedTuple):
    """Which scores count as they are; others are `fill`."""

    causal: bool = False  # those of no later position
    labels: torch.Tensor | None = None  # (matrices that share them, positions): those of positions with the same one
    fill: float = 0.0


ALL = Mask()


def attend(queries: Parts, keys: Parts, values: Parts, mask: Mask = ALL) -> tuple[torch.Tensor, ...]:
    """What each query gets of the values, as many parts; and statistics of rows of scores, which gradients read: the
    largest, as a power of two, and one over the sum of e^(score - largest).
    """
    n, s, _ = queries[0].shape
    results = [values[0].new_empty((n, s, v.shape[-1])) for v in values]
    statistics = queries[0].new_empty((2, n, s), dtype=torch.float32)
    _launch(_jit_attend, s, queries, keys, values, (*_two(results), statistics), mask)
    return *results, statistics


def shares(results: Parts, cotangents: Parts) -> tuple[torch.Tensor]:
    """For each query the sum of results times cotangents: what the gradients of all its scores have in common."""
    n, s, _ = results[0].shape
    share = results[0].new_empty((n, s), dtype=torch.float32)
    sizes = _sizes(results)
    rows = max(LEAST, 4096 // power(sum(sizes[2:])))
    if some(n * s):
        tensors, grid = (*_two(results), *_two(cotangents), share), (-(-n * s // rows), 1, 1)
        launch.launch(_jit_shares, grid, tensors, (n * s,), {"num_warps": 4}, torch.float32, *sizes, rows)
    return (share,)


def to_queries(
    queries: Parts,
    keys: Parts,
    values: Parts,
    cotangents: Parts,
    statistics: torch.Tensor,
    share: torch.Tensor,
    mask: Mask = ALL,
) -> tuple[torch.Tensor, ...]:
    """The gradients of the queries."""
    grads = tuple(map(torch.empty_like, queries))
    others = (*_two(cotangents), statistics, share, *_two(grads))
    _launch(_jit_to_queries, queries[0].shape[1], queries, keys, values, others, mask)
    return grads


def to_keys(
    queries: Parts,
    keys: Parts,
    values: Parts,
    cotangents: Parts,
    statistics: torch.Tensor,
    share: torch.Tensor,
    mask: Mask = ALL,
) -> tuple[torch.Tensor, ...]:
    """The gradients of the keys, then of the values."""
    grads, more = tuple(map(torch.empty_like, keys)), tuple(map(torch.empty_like, values))
    others = (*_two(cotangents), statistics, share, *_two(grads), *_two(more))
    _launch(_jit_to_keys, keys[0].shape[1], queries, keys, values, others, mask)
    return *grads, *more


def _launch(
    kernel: object,
    positions: int,
    queries: Parts,
    keys: Parts,
    values: Parts,
    others: Sequence[torch.Tensor],
    mask: Mask,
) -> None:
    """One program for each tile of positions, of queries or of keys."""
    n, s, _ = queries[0].shape
    matrix, device = queries[0].dtype, queries[0].device
    sizes = (*_sizes(queries), *_sizes(values))
    width = sum((*sizes[2:4], *sizes[6:8]))
    of = "keys" if kernel is _jit_to_keys else "queries"
    own, other, options = shape(width * matrix.itemsize, matrix.itemsize, of, device)
    labels = others[0] if mask.labels is None else mask.labels
    alike = 1 if mask.labels is None else n // max(1, labels.shape[0])
    if some(n * positions):
        launch.launch(
            kernel,
            (n * -(-positions // own), 1, 1),
            (*_two(queries), *_two(keys), *_two(values), *others, labels),
            (s, keys[0].shape[1], alike, mask.fill),
            options,
            torch.float32,
            *sizes,
            mask.causal,
            mask.labels is not None,
            own,
            other,
            input_precision("tf32", device),
            TRITON.get(matrix, tl.float32),
        )


def _two(parts: Parts) -> tuple[torch.Tensor, torch.Tensor]:
    """The parts; one stands for the second, which has no width, too."""
    return parts[0], parts[-1]


def _sizes(parts: Parts) -> tuple[int, int, int, int]:
    """The widths of two parts, and those of the tiles that hold them."""
    first, second = (*(known(x.shape[-1]) for x in parts), 0)[:2]
    return first, second, max(LEAST, power(first)), max(LEAST, power(second)) if second else 0


def shape(width: int, itemsize: int, of: str, device: torch.device) -> tuple[int, int, Options]:
    """The tiles of a program of `queries`, or of `keys`, and what Triton is told."""
    fitting = [rows[of] for most, rows in SHAPES[itemsize] if width <= most] if holds_tiles(device) else []
    own, other, warps, stages = (*fitting, ELSEWHERE)[0]
    return own, other, {"num_warps": warps, "num_stages": stages}
