"""Attention whose scores are never stored, as data: the steps of a program that the runtime's `attention` makes.

In and out: frozen data. Nothing here decides anything: `softmaxes.py` finds attention in a graph, `online.py` plans it.
"""

import math
from dataclasses import dataclass

from kgen.graph.tensor import Tensor


@dataclass(frozen=True, slots=True)
class Mask:
    """Which scores count as they are; others are `fill`."""

    causal: bool = False  # those of no later position
    labels: Tensor | None = None  # those of positions with the same one
    fill: float = 0.0


@dataclass(frozen=True, slots=True)
class Multiplied:
    """Products of fields at each point of some axes, which are computed on the way."""

    axes: tuple[str, ...]
    multiplications: int


@dataclass(frozen=True, slots=True)
class Attend:
    """One launch: a function of groups of tensors, each as matrices of positions and what lies at each of them."""

    name: str  # of the runtime's function
    batch: tuple[str, ...]
    groups: tuple[tuple[Tensor, ...], ...]  # queries, keys, values, results or cotangents: in one part or two
    rows: tuple[Tensor, ...]  # a number or two for each query
    mask: Mask | None  # none where nothing depends on it
    written: tuple[Tensor, ...]
    products: tuple[Multiplied, ...]
    notes: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        labels = [self.mask.labels] if self.mask and self.mask.labels else []
        return (*(t for group in self.groups for t in group), *self.rows, *labels)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(t.memory for t in self.inputs)

    def width(self, tensor: Tensor) -> tuple[int, tuple[str, ...]]:
        """What lies at each position of a group's tensor: so many numbers, times the sizes of axes."""
        dims = tensor.dims[len(self.batch) + 1 :]
        return math.prod(d for d in dims if isinstance(d, int)), tuple(d for d in dims if isinstance(d, str))

    @property
    def axes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(axis for t in (*self.inputs, *self.written) for axis in t.axes))
