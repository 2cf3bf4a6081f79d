"""Matrix products as data: which fields they multiply, in which memory orders, and where their factors lie.

In and out: frozen data. A `Contraction` is a product of fields, before its factors have names; a `Product` is a step of
a program, which multiplies tensors. A matrix product is rows times columns: its left factor has the fields that vary
along the result's outer axes, its right factor those with the inner one. Nothing here decides anything: `grouping.py`
says which Dots are one product, `batching.py` which products are done at once, `memory_order.py` and `placement.py` how
factors and results lie, `fusion.py` what a kernel computes.
"""

import math
from dataclasses import dataclass
from enum import Enum

from kgen.graph.node import Node, Rational
from kgen.graph.tensor import Tensor

MATRIX = "matrix"  # Tensor.dtype of what enters and leaves matrix products: bf16 for bf16, else fp32 or fp64

Pair = tuple[Rational, Node, Node]  # a coefficient, a row's factor and a column's factor
Scaled = tuple[Node, Node]  # a number and a Dot
Dims = tuple[str | int, ...]  # memory order, or one side of a matrix: axes, and numbers of components


class Way(Enum):
    """What is done so that a product in tf32 finds a factor's contracted axis innermost."""

    FITS = "the contracted axis is innermost"
    TURNED = "stored with the contracted axis innermost for tf32: a kernel stores it anyway, and turns each tile"
    COPIED = "copied with the contracted axis innermost for tf32: each number enters many products"
    KEPT = "the contracted axis is not innermost, and tf32 would gain less than a copy costs"


@dataclass(frozen=True, slots=True)
class Factor:
    """Fields as a matrix: `dims` in memory order, components as numbers, `transposed` as `Operand` says."""

    fields: tuple[Node, ...]
    dims: Dims
    transposed: bool
    turned: "Factor | None" = None  # the same matrix in the other memory order, which is as good where it is stored so
    several: bool = False  # the first dim counts matrices
    inner: bool = False  # the components of a side are adjacent in memory

    @property
    def split(self) -> int:
        """Where the dims of the second side begin, of a factor with one axis on each, and components apart; else 0."""
        axes = [i for i, d in enumerate(self.dims) if isinstance(d, str)]
        return axes[0] + 1 if len(axes) == 2 and not self.inner else 0


@dataclass(frozen=True, slots=True)
class Grid:
    """Dots that are one product: `dots[row][column]` is the sum over f of left[row][f] * right[f][column]."""

    left: tuple[tuple[Node, ...], ...]
    right: tuple[tuple[Node, ...], ...]
    dots: tuple[tuple[Node, ...], ...]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Fields along rows, contracted axes and columns."""
        return len(self.left), len(self.right), len(self.right[0])


@dataclass(frozen=True, slots=True)
class Shape:
    """The axes of a matrix product, each part outermost first."""

    batch: tuple[str, ...]
    rows: tuple[str, ...]
    contracted: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def axes(self) -> tuple[str, ...]:
        return (*self.batch, *self.rows, *self.contracted, *self.columns)


@dataclass(frozen=True, slots=True)
class Contraction:
    """A matrix product, or a batch of products of one size, before the factors have names.

    `fields` are the Dots in the order of `dims`.
    """

    shape: Shape
    grids: tuple[Grid, ...]
    left: Factor
    right: Factor
    dims: Dims
    dense: bool = False  # all components are one matrix, zeros included

    @property
    def grid(self) -> Grid:
        """That of a single product."""
        (grid,) = self.grids
        return grid

    @property
    def batch(self) -> int:
        return len(self.grids)

    @property
    def fields(self) -> tuple[Node, ...]:
        return tuple(dot for grid in self.grids for row in grid.dots for dot in row)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Fields of one product along rows, contracted axes and columns."""
        return self.grids[0].counts

    @property
    def factors(self) -> tuple[Node, ...]:
        """The fields of both factors."""
        sides = (side for grid in self.grids for side in (grid.left, grid.right))
        return tuple(dict.fromkeys(x for side in sides for line in side for x in line))

    @property
    def axes(self) -> tuple[str, ...]:
        return self.shape.axes

    @property
    def multiplications(self) -> int:
        """Products of fields at each point of all axes, without those with zeros."""
        return sum(len(dot.pairs) for dot in self.fields if dot.kind == "Dot")


@dataclass(frozen=True, slots=True)
class Operand:
    """A factor of a product: a tensor, or the components `first` to `last` of its leading dim.

    A left factor is transposed if its contracted axes are first in memory, a right one if they are last.
    """

    tensor: Tensor
    transposed: bool
    first: int | None = None
    last: int | None = None
    way: Way = Way.FITS


Pairing = tuple[Operand | None, Operand | None]  # a left and a right factor; None where it is computed on the way


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix product of factors in memory: `target` = left times right, or that is `added`, all as matrices."""

    name: str
    shape: Shape
    counts: tuple[int, int, int]  # fields along rows, contracted and columns
    left: Operand
    right: Operand
    target: Operand
    notes: tuple[str, ...]
    batch: int = 1  # products that are done at once
    added: bool = False  # to what the target holds
    precision: str | None = None  # in which fp32 is multiplied, by a kernel; else as torch's own setting says
    parted: bool = False  # whether that kernel's programs share the contracted axis

    @property
    def in_parts(self) -> bool:
        """Whether a batch of products may be computed as a larger one of parts of the contracted axis.

        That is outermost in both factors, so that its parts are matrices in memory.
        """
        outermost = self.left.transposed and not self.right.transposed and {o.way for o in self.operands} == {Way.KEPT}
        return self.batch > 1 and self.parted and outermost and self.whole

    @property
    def result(self) -> Tensor:
        return self.target.tensor

    @property
    def whole(self) -> bool:
        """Whether it is all that its result's memory holds, which comes with it."""
        return self.target.first is None and not self.added and not self.result.slices

    @property
    def operands(self) -> tuple[Operand, Operand]:
        return (self.left, self.right)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.left.tensor, self.right.tensor)

    @property
    def reads(self) -> frozenset[str]:
        return frozenset(t.memory for t in (*self.inputs, *([self.result] if self.added else [])))

    @property
    def written(self) -> tuple[Tensor, ...]:
        return (self.result,)

    @property
    def axes(self) -> tuple[str, ...]:
        return self.shape.axes

    @property
    def multiplications(self) -> int:
        """Products of fields at each point of all axes, those with zeros included."""
        return math.prod((self.batch, *self.counts))
