"""From Dots to matrix products: which are one product, and how its factors and its result lie in memory.

In: Dots that do not depend on each other. Out: `Product`s. A matrix product is rows times columns: its left factor has
the fields that vary along the result's outer axes, its right factor those with the inner one. Several Dots are one
product where they share factors:

* terms stack along the contracted axis: sum of a_f b_f over f and n is one product with (f, n) contracted;
* Dots that share their right factors stack along the rows, those that share their left factors along the columns.

So a fully connected geometric product is one matrix product for each grade of the result, its rows (blade, batch), its
contracted axis (path, feature); nothing is computed for one path alone. A factor is stored with the axis last that is
the innermost of its fields, so that storing it is coalesced; the other factor of the product reads it transposed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kgen.ir import Builder, Node, Rational, Tensor

MATRIX = "matrix"  # Tensor.dtype of what enters and leaves matrix products: bf16 for bf16, else fp32 or fp64
WASTE = 1.5  # products of zeros are computed as long as they are less than this share of what is useful

Pair = tuple[Rational, Node, Node]  # a coefficient, a row's factor and a column's factor


@dataclass(frozen=True, slots=True)
class Factor:
    """Fields as a matrix: `dims` in memory order, components as numbers, `transposed` as `Operand` says."""

    fields: tuple[Node, ...]
    dims: tuple[str | int, ...]
    transposed: bool


@dataclass(frozen=True, slots=True)
class Grid:
    """Dots that are one product: `dots[row][column]` is the sum over f of left[row][f] * right[f][column]."""

    left: tuple[tuple[Node, ...], ...]
    right: tuple[tuple[Node, ...], ...]
    dots: tuple[tuple[Node, ...], ...]

    @property
    def volume(self) -> int:
        return len(self.left) * len(self.right) * len(self.right[0])


@dataclass(frozen=True, slots=True)
class Shape:
    """The axes of a matrix product, each part outermost first."""

    batch: tuple[str, ...]
    rows: tuple[str, ...]
    contracted: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Contraction:
    """One matrix product before its factors have names; `fields` are the Dots in the order of `dims`."""

    shape: Shape
    grid: Grid
    left: Factor
    right: Factor
    dims: tuple[str | int, ...]

    @property
    def fields(self) -> tuple[Node, ...]:
        return tuple(dot for row in self.grid.dots for dot in row)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Fields along rows, contracted axes and columns."""
        return len(self.grid.left), len(self.grid.right), len(self.grid.right[0])


@dataclass(frozen=True, slots=True)
class Operand:
    """A factor of a product: a tensor, or the components `first` to `last` of its leading dim.

    A left factor is transposed if its contracted axes are first in memory, a right one if they are last.
    """

    tensor: Tensor
    transposed: bool
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """One matrix product, torch's own: `result` = left times right, both seen as matrices."""

    name: str
    shape: Shape
    counts: tuple[int, int, int]  # fields along rows, contracted and columns
    left: Operand
    right: Operand
    result: Tensor
    notes: tuple[str, ...]

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return (self.left.tensor, self.right.tensor)

    @property
    def written(self) -> tuple[Tensor, ...]:
        return (self.result,)

    @property
    def axes(self) -> tuple[str, ...]:
        s = self.shape
        return (*s.batch, *s.rows, *s.contracted, *s.columns)

    @property
    def multiplications(self) -> int:
        """Products of fields at each point of all axes, those with zeros included."""
        rows, contracted, columns = self.counts
        return rows * contracted * columns


def levels(nodes: Iterable[Node]) -> list[list[Node]]:
    """The Dots of a postorder listing by how many Dots are nested at and below them, innermost first."""
    depth: dict[Node, int] = {}
    found: list[list[Node]] = []
    for node in nodes:
        depth[node] = max((depth.get(a, 0) for a in node.args), default=0)
        if node.kind == "Dot":
            found += [[]] * (depth[node] == len(found))
            found[depth[node]] = [*found[depth[node]], node]
            depth[node] += 1
    return found


def contractions(builder: Builder, axes: Sequence[str], dots: Sequence[Node]) -> list[Contraction]:
    """The matrix products of Dots none of which depends on another, in the order of their first Dots."""
    alike: dict[Shape, list[Node]] = {}
    for dot in dots:
        alike.setdefault(_shape(axes, dot), []).append(dot)
    found = [
        _contraction(axes, shape, grid)
        for shape, members in alike.items()
        for cluster in _clusters(shape, members)
        for grid in _grids(builder, shape, cluster)
    ]
    return sorted(found, key=lambda c: min(dots.index(d) for d in c.fields if d in dots))


def _shape(axes: Sequence[str], dot: Node) -> Shape:
    a, b = (x.axes - set(dot.over) for x in dot.pairs[0])
    batch = a & b
    inner = [axis for axis in axes if axis in dot.axes - batch][-1]
    columns = (a if inner in a else b) - batch

    def ordered(wanted: Iterable[str]) -> tuple[str, ...]:
        return tuple(axis for axis in axes if axis in wanted)

    return Shape(ordered(batch), ordered(dot.axes - batch - columns), ordered(dot.over), ordered(columns))


def _pairs(shape: Shape, dot: Node) -> list[Pair]:
    """The pairs with the row's factor first; factors that differ in sign are the same, so that they can be shared."""
    found = []
    for pair in dot.pairs:
        ((c, a),), ((d, b),) = pair[0].single, pair[1].single
        found.append((c * d, a, b) if set(shape.rows) <= a.axes else (c * d, b, a))
    return found


def _clusters(shape: Shape, dots: Sequence[Node]) -> list[list[Node]]:
    """Dots connected by shared factors."""
    clusters: list[tuple[set[Node], list[Node]]] = []
    for dot in dots:
        factors, members = {x for _, a, b in _pairs(shape, dot) for x in (a, b)}, [dot]
        for other in [c for c in clusters if c[0] & factors]:
            clusters.remove(other)
            factors, members = factors | other[0], [*other[1], *members]
        clusters.append((factors, members))
    return [members for _, members in clusters]


def _grids(builder: Builder, shape: Shape, dots: Sequence[Node]) -> list[Grid]:
    """The way to stack a cluster that multiplies least; each Dot alone, or with its likes, where all ways are wasteful.

    Factors stack in the order of their creation, so that two products with the same factors find them stored once.
    """
    pairs = {dot: _pairs(shape, dot) for dot in dots}
    ways = [_stacked_rows(builder, pairs), _stacked_columns(builder, pairs), _crossed(builder, pairs)]
    best = min((grid for grid in ways if grid), key=lambda grid: grid.volume, default=None)
    if best and (best.volume <= WASTE * sum(map(len, pairs.values())) or len(dots) == 1):
        return [best]
    same: dict[tuple[Node, ...], list[Node]] = {}
    for dot, found in pairs.items():
        same.setdefault(tuple(b for _, _, b in found), []).append(dot)
    parts = list(same.values()) if len(same) > 1 else [[dot] for dot in dots]
    return [grid for part in parts for grid in _grids(builder, shape, part)]


def _stacked_rows(builder: Builder, pairs: dict[Node, list[Pair]]) -> Grid | None:
    """One row for each Dot; the contracted axis runs over all right factors."""
    right = sorted({b for found in pairs.values() for *_, b in found}, key=lambda node: node.id)
    left = [{b: builder.scale(c, a) for c, a, b in found} for found in pairs.values()]
    if any(len(row) < len(found) for row, found in zip(left, pairs.values())):
        return None
    rows = tuple(tuple(row.get(b, builder.zero) for b in right) for row in left)
    return Grid(rows, tuple((b,) for b in right), tuple((dot,) for dot in pairs))


def _stacked_columns(builder: Builder, pairs: dict[Node, list[Pair]]) -> Grid | None:
    """One column for each Dot; the contracted axis runs over all left factors."""
    flipped = _stacked_rows(builder, {dot: [(c, b, a) for c, a, b in found] for dot, found in pairs.items()})
    if flipped is None:
        return None
    left = tuple(a for (a,) in flipped.right)
    columns = tuple(zip(*flipped.left))
    return Grid((left,), columns, (tuple(dot for (dot,) in flipped.dots),))


def _crossed(builder: Builder, pairs: dict[Node, list[Pair]]) -> Grid | None:
    """Each list of left factors with each list of right ones; what no Dot asks for is computed and left."""
    at = {
        (tuple(builder.scale(c, a) for c, a, _ in found), tuple(b for *_, b in found)): d for d, found in pairs.items()
    }
    if len({len(found) for found in pairs.values()}) > 1:
        return None
    rows, columns = (sorted({key[i] for key in at}, key=lambda side: [x.id for x in side]) for i in (0, 1))
    dots = tuple(tuple(at.get((a, b), builder.zero) for b in columns) for a in rows)
    return Grid(tuple(rows), tuple(zip(*columns)), dots)


# memory orders


def _contraction(axes: Sequence[str], shape: Shape, grid: Grid) -> Contraction:
    rows, depth, columns = len(grid.left), len(grid.right), len(grid.right[0])

    def fields(row_major: bool, side: Sequence[Sequence[Node]]) -> tuple[Node, ...]:
        return tuple(x for line in (side if row_major else zip(*side)) for x in line)

    outer_side: Part = (rows, *shape.rows)
    inner_side: Part = (columns, *shape.columns)
    along: Part = (depth, *shape.contracted)
    left_first = _innermost(axes, shape.rows, shape.contracted)
    left = Factor(
        fields(not left_first, grid.left), _dims(shape, *_in_order(left_first, along, outer_side)), left_first
    )
    right_last = not _innermost(axes, shape.columns, shape.contracted)
    right_dims = _dims(shape, *_in_order(right_last, inner_side, along))
    right = Factor(fields(not right_last, grid.right), right_dims, right_last)
    return Contraction(shape, grid, left, right, _dims(shape, outer_side, inner_side))


def _innermost(axes: Sequence[str], side: Sequence[str], contracted: Sequence[str]) -> bool:
    """Whether the innermost axis of a factor is one of its side's, not a contracted one."""
    return max(map(axes.index, side)) > max(map(axes.index, contracted))


Part = tuple[str | int, ...]


def _in_order(first: bool, a: Part, b: Part) -> tuple[Part, Part]:
    """`a` before `b` if `first`, else after it."""
    return (a, b) if first else (b, a)


def _dims(shape: Shape, *parts: Part) -> tuple[str | int, ...]:
    """Memory order without dims of extent one."""
    return (*shape.batch, *(d for part in parts for d in part if d != 1))


# factors that are stored already


def stored(factor: Factor, tensors: Iterable[Tensor]) -> Operand | None:
    """A tensor, or adjacent components at its front, that holds a factor as it is."""
    first = factor.fields[0]
    if any(x.kind != "Input" for x in factor.fields):
        return None
    tensor = next((t for t in tensors if t.name == first.tensor), None)
    if tensor is None or any(x.tensor != tensor.name for x in factor.fields):
        return None
    numbers = [x.component for x in factor.fields]
    if numbers != list(range(numbers[0], numbers[0] + len(numbers))):
        return None
    count = len(numbers)
    if tensor.dims == factor.dims and count == len(tensor.labels):
        return Operand(tensor, factor.transposed)
    own = factor.dims if count > 1 else (1, *factor.dims)
    if isinstance(tensor.dims[0], int) and (count, *tensor.dims[1:]) == own and len(tensor.labels) == tensor.dims[0]:
        return Operand(tensor, factor.transposed, numbers[0], numbers[-1] + 1)
    return None
