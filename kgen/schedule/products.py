"""From Dots to matrix products: which are one product, and how its factors and its result lie in memory.

In: Dots that do not depend on each other. Out: `Product`s. A matrix product is rows times columns: its left factor has
the fields that vary along the result's outer axes, its right factor those with the inner one. Several Dots are one
product where they share factors:

* terms stack along the contracted axis: sum of a_f b_f over f and n is one product with (f, n) contracted;
* Dots that share their right factors stack along the rows, those that share their left factors along the columns.

So a fully connected geometric product is one matrix product for each grade of the result, its rows (blade, batch), its
contracted axis (path, feature); nothing is computed for one path alone.

Memory orders. A factor is stored with the axis last that is the innermost of its fields, as the inputs of the kernel
that stores it lie; where this is not how the product reads it, it is read transposed. In bf16 that costs nothing. In
tf32 a product is faster where the contracted axis is innermost in both factors; `ways` says when that is worth it.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node, Rational, postorder
from kgen.graph.tensor import Tensor

MATRIX = "matrix"  # Tensor.dtype of what enters and leaves matrix products: bf16 for bf16, else fp32 or fp64
WASTE = 1.5  # products of zeros are computed as long as they are less than this share of what is useful
PAYS_FOR_A_COPY = 3  # fields, each at some hundred positions, that the numbers of a factor are multiplied with

Part = tuple[str | int, ...]  # dims of one side of a matrix
Term = tuple[Rational, Node]  # a coefficient and a field
Pair = tuple[Rational, Node, Node]  # a coefficient, a row's factor and a column's factor


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
    dims: tuple[str | int, ...]
    transposed: bool
    turned: "Factor | None" = None  # the same matrix in the other memory order, which is as good where it is stored so
    several: bool = False  # the first dim counts matrices

    @property
    def split(self) -> int:
        """Where the dims of the second side begin, of a factor with one axis on each; else 0."""
        axes = [i for i, d in enumerate(self.dims) if isinstance(d, str)]
        return axes[0] + 1 if len(axes) == 2 else 0


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
    dims: tuple[str | int, ...]

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
        return self.batch > 1 and self.parted and outermost and self.target.first is None and not self.added

    @property
    def result(self) -> Tensor:
        return self.target.tensor

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


def apart(b: Builder, axes: Sequence[str], dots: Sequence[Node]) -> dict[Node, list[Term]]:
    """Sums over the batch as sums of Dots of one pair each, all of which one batch of products computes.

    That is for Dots that share no factor, such as the gradients of a map by grade: one after the other, products with
    a long contracted axis and a small result leave most of a GPU idle.
    """
    similar: dict[frozenset[str], list[Node]] = {}
    for dot in dots:
        if dot.over == axes[:1]:
            similar.setdefault(dot.axes, []).append(dot)
    found = dict[Node, list[Term]]()
    for members in similar.values():
        pairs = [pair for dot in members for pair in dot.pairs]
        if len(pairs) > len(members) > 1 and len({x for pair in pairs for x in pair}) == 2 * len(pairs):
            found |= {dot: [b.sum(b.mul(*pair), dot.over).single[0] for pair in dot.pairs] for dot in members}
    return {dot: terms for dot, terms in found.items() if all(part.kind == "Dot" for _, part in terms)}


def contractions(
    builder: Builder,
    axes: Sequence[str],
    dots: Sequence[Node],
    outputs: Iterable[Output] = (),
    sums: Mapping[Node, Sequence[Term]] = MappingProxyType({}),
) -> list[Contraction]:
    """The matrix products of Dots none of which depends on another, in the order of their first Dots.

    Those that are results lie as their `outputs` say, where that is possible. Parts of `sums` go together.
    """
    similar: dict[Shape, list[Node]] = {}
    orders = {f: o.tensor.axes for o in outputs if o.tensor.dtype is None for f in o.fields}
    parts = {part: dot for dot, terms in sums.items() for _, part in terms}
    for dot in dots:
        similar.setdefault(_shape(orders.get(parts.get(dot, dot), axes), axes, dot), []).append(dot)
    found = list[Contraction]()
    for shape, members in similar.items():
        grids = [grid for cluster in _clusters(shape, members) for grid in _grids(builder, shape, cluster)]
        grids.sort(key=lambda grid: min(dots.index(dot) for line in grid.dots for dot in line if dot in dots))
        batch = _batch(axes, shape, grids, frozenset(parts))
        each = [_contraction(axes, shape, grid) for grid in batch or grids]
        found += [_beside(each)] if batch else each
    return sorted(found, key=lambda c: min(dots.index(d) for d in c.fields if d in dots))


def _shape(order: Sequence[str], axes: Sequence[str], dot: Node) -> Shape:
    a, b = (x.axes - set(dot.over) for x in dot.pairs[0])
    batch = a & b
    inner = [axis for axis in order if axis in dot.axes - batch][-1]
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

    Factors stack in one order, so that two products with the same factors find them stored once, or as inputs lie.
    """
    pairs = {dot: _pairs(shape, dot) for dot in dots}
    ways = [_stacked_rows(builder, pairs), _stacked_columns(builder, pairs), _crossed(builder, pairs)]
    best = min((grid for grid in ways if grid), key=lambda grid: math.prod(grid.counts), default=None)
    if best and (math.prod(best.counts) <= WASTE * sum(map(len, pairs.values())) or len(dots) == 1):
        return [best]
    same: dict[tuple[Node, ...], list[Node]] = {}
    for dot, found in pairs.items():
        same.setdefault(tuple(b for _, _, b in found), []).append(dot)
    parts = list(same.values()) if len(same) > 1 else [[dot] for dot in dots]
    return [grid for part in parts for grid in _grids(builder, shape, part)]


def _stacked_rows(builder: Builder, pairs: dict[Node, list[Pair]]) -> Grid | None:
    """One row for each Dot; the contracted axis runs over all right factors."""
    partner = {b: a for found in pairs.values() for _, a, b in found}
    alone = len(pairs) == 1  # then either side may say in which order its fields lie in memory
    right = sorted(partner, key=lambda b: min(_place(builder, x) for x in ((partner[b], b) if alone else (b,))))
    left = [{b: builder.scale(c, a) for c, a, b in found} for found in pairs.values()]
    if any(len(row) < len(found) for row, found in zip(left, pairs.values())):
        return None
    rows = tuple(tuple(row.get(b, builder.zero) for b in right) for row in left)
    dots = list(pairs)
    if len(right) == 1:
        dots = sorted(dots, key=lambda dot: _place(builder, pairs[dot][0][1]))
        rows = tuple(rows[list(pairs).index(dot)] for dot in dots)
    return Grid(rows, tuple((b,) for b in right), tuple((dot,) for dot in dots))


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
    rows, columns = (sorted({k[i] for k in at}, key=lambda side: [_place(builder, x) for x in side]) for i in (0, 1))
    dots = tuple(tuple(at.get((a, b), builder.zero) for b in columns) for a in rows)
    return Grid(tuple(rows), tuple(zip(*columns)), dots)


def _place(builder: Builder, node: Node) -> tuple[int, int, str, int]:
    """A key that sorts components as they lie in memory, and others as their names in the spec say."""
    if node.kind == "Input":
        return (0, node.component, "", node.id)
    hint = builder.hints.get(node.single[0][1], "")
    return (1, len(hint), hint, node.id)


# several products at once


def _batch(axes: Sequence[str], shape: Shape, grids: Sequence[Grid], parts: frozenset[Node]) -> list[Grid]:
    """Products that are one batch with a field each: parts of sums, or those that share small right factors.

    These, such as the weights of a map by grade, are repeated for each field. One after the other small products leave
    half of a GPU idle. An empty list if they are not such products.
    """
    if len(grids) < 2 or shape.batch or any(len(side) != 1 for side in (shape.rows, shape.contracted, shape.columns)):
        return []
    lines = [(a, grid.right[0], dot) for grid in grids for a, dot in zip(grid.left, grid.dots)]
    if all(a[0].kind == "Input" for a, _, _ in lines):
        lines.sort(key=lambda line: line[0][0].component)
    left, right, dots = zip(*lines)
    if any(len(a) + len(b) > 2 or dot[0].kind != "Dot" for a, b, dot in lines):
        return []
    shared = len({*right}) < len(right) and axes[0] not in right[0][0].axes
    summed_up = all(dot in parts for (dot,) in dots) and _in_order(right)
    return [Grid((a,), (b,), (dot,)) for a, b, dot in lines] if _in_order(left) and (shared or summed_up) else []


def _in_order(left: Sequence[tuple[Node, ...]]) -> bool:
    """Whether fields lie one after the other in memory, or are to be stored."""
    places = [(a.tensor, a.component) for (a,) in left if a.kind == "Input"]
    return not places or places == [(places[0][0], places[0][1] + i) for i in range(len(left))]


def alike(products: Iterable[Contraction], kind: Callable[[Contraction], object]) -> list[list[Contraction]]:
    """Products by their sizes and kinds; each that is a batch already is alone."""
    found: dict[object, list[Contraction]] = {}
    for c in products:
        found.setdefault(c if c.batch > 1 or c.shape.batch else (c.shape, c.counts, kind(c)), []).append(c)
    return list(found.values())


def joined(builder: Builder, products: Sequence[Contraction], lies: Callable[[Factor], bool]) -> Contraction | None:
    """Products of one size as a batch, if their factors, where one `lies` in memory, lie one after the other.

    They are sorted by the factor with fewer fields, so that another batch with the same factors finds them in order.
    """
    if len(products) == 1:
        return products[0]

    def place(c: Contraction) -> tuple[int, int, str, int]:
        return _place(builder, min(c.left.fields, c.right.fields, key=len)[0])

    whole = _beside(sorted(products, key=place))
    for factor, each in ((whole.left, [c.left for c in products]), (whole.right, [c.right for c in products])):
        if any(map(lies, each)) and not lies(factor):
            return None
    return whole


def _beside(products: Sequence[Contraction]) -> Contraction:
    """Products of one size as a batch, their factors and results one after the other in memory."""
    grids = tuple(grid for c in products for grid in c.grids)
    left, right = _stacked([c.left for c in products]), _stacked([c.right for c in products])
    return Contraction(products[0].shape, grids, left, right, (len(grids), *products[0].dims))


def _stacked(factors: Sequence[Factor]) -> Factor:
    """Factors one after the other, in either memory order of each."""
    fields = tuple(x for factor in factors for x in factor.fields)
    others = [factor.turned for factor in factors if factor.turned]
    turned = _stacked(others) if others else None
    return Factor(fields, (len(factors), *factors[0].dims), factors[0].transposed, turned, several=True)


# memory orders


def _contraction(axes: Sequence[str], shape: Shape, grid: Grid) -> Contraction:
    rows: Part = (len(grid.left), *shape.rows)
    along: Part = (len(grid.right), *shape.contracted)
    columns: Part = (len(grid.right[0]), *shape.columns)
    left = _factor(shape, grid.left, rows, along, _innermost(axes, shape.rows, shape.contracted))
    right = _factor(shape, grid.right, along, columns, not _innermost(axes, shape.columns, shape.contracted))
    return Contraction(shape, (grid,), left, right, _dims(shape, rows, columns))


def _factor(shape: Shape, grid: Sequence[Sequence[Node]], rows: Part, columns: Part, transposed: bool) -> Factor:
    """A matrix of fields, to be stored row by row or `transposed`."""

    def stored_as(turned: bool) -> tuple[tuple[Node, ...], Part, bool]:
        lines = zip(*grid) if turned else grid
        dims = _dims(shape, columns, rows) if turned else _dims(shape, rows, columns)
        return tuple(x for line in lines for x in line), dims, turned

    return Factor(*stored_as(transposed), turned=Factor(*stored_as(not transposed)))


def _innermost(axes: Sequence[str], side: Sequence[str], contracted: Sequence[str]) -> bool:
    """Whether the innermost axis of a factor is one of its side's, not a contracted one."""
    return max(map(axes.index, side)) > max(map(axes.index, contracted))


def _dims(shape: Shape, *parts: Part) -> tuple[str | int, ...]:
    """Memory order without dims of extent one."""
    return (*shape.batch, *(d for part in parts for d in part if d != 1))


def ways(c: Contraction, lies: Sequence["Factor | Operand"], turns: Sequence[bool]) -> tuple[Way, Way]:
    """How the left and the right factor come into the order in which tf32 is fast, as they lie or would be stored.

    With the contracted axis innermost in both an H200 makes 338 TFLOP/s, in the left one alone 282, with the left one
    transposed about 200. So a right factor is not turned where the left one cannot be. Other precisions do not care:
    the launcher leaves the order as it is for them.
    """
    left, right = (_way(c, side, lies[side].transposed != bool(side), turns[side]) for side in (0, 1))
    return left, Way.KEPT if left is Way.KEPT and right is not Way.FITS else right


def _way(c: Contraction, side: int, other: bool, turns: bool) -> Way:
    """A factor that lies in the `other` order. What a kernel stores tile by tile `turns` at no cost.

    A copy reads and writes the factor. The difference between 282 and 338 TFLOP/s pays for that where each number meets
    three fields of 512 features; not so in a linear map of what lies in memory, nor where memory limits the product.
    """
    if not other:
        return Way.FITS
    if turns:
        return Way.TURNED
    meets = c.counts[0] if side else c.counts[2]
    return Way.COPIED if meets >= PAYS_FOR_A_COPY and not c.shape.batch else Way.KEPT


# where results go


def targets(products: Sequence[Contraction], outputs: Iterable[Output]) -> dict[Contraction, Operand]:
    """The products that are results, or adjacent components of results all of which are products."""
    found: dict[Contraction, Operand] = {}
    for output in outputs:
        blocks = _blocks(products, output)
        if len(blocks) == 1 and blocks[0].dims == output.tensor.dims:
            found[blocks[0]] = Operand(output.tensor, False)
        elif blocks and output.tensor.dims[0] == len(output.fields) and not output.tensor.leading:
            at = 0
            for c in blocks:
                found[c] = Operand(output.tensor, False, at, at + len(c.fields))
                at += len(c.fields)
    return found


@dataclass(frozen=True, slots=True)
class Summed:
    """A result as matrix products plus what needs none: one field of each for every component."""

    products: Output
    rest: Output


def summed(b: Builder, products: Sequence[Contraction], outputs: Sequence[Output]) -> list[Summed]:
    """The results each component of which is a Dot of these products plus a rest, where nothing else reads the Dots."""
    dots = {f for c in products for f in c.fields if f.kind == "Dot"}
    found = []
    for output in outputs:
        own = [_product_in(f, dots) for f in output.fields]
        rest = [x for f, dot in zip(output.fields, own) if dot for _, x in f.terms if x is not dot]
        read = postorder([*rest, *(f for o in outputs if o is not output for f in o.fields)])
        if None in own or any(n.kind == "Dot" for n in postorder(rest)):
            continue
        twins = {twin for names in ({}, *b.exchanges) for twin in b.rename([dot for dot in own if dot], names)}
        if twins.isdisjoint(read):
            left = (b.linear((c, x) for c, x in f.terms if x is not dot) for f, dot in zip(output.fields, own))
            alone = tuple(dot for dot in own if dot)
            found.append(Summed(replace(output, fields=alone), replace(output, fields=tuple(left))))
    return found


def _product_in(field: Node, dots: set[Node]) -> Node | None:
    """The only Dot that is added as it is to something else."""
    found = [x for c, x in field.terms if x in dots and c == 1] if field.kind == "Add" else []
    return found[0] if len(found) == 1 else None


def _blocks(products: Sequence[Contraction], output: Output) -> list[Contraction]:
    """The products whose fields, one product after the other, are those of a result, in its memory order."""
    blocks: list[Contraction] = []
    while (at := sum(len(c.fields) for c in blocks)) < len(output.fields):
        rest, dims = output.fields[at:], output.tensor.dims
        fits = [c for c in products if c.fields == rest[: len(c.fields)] and _rows(c) == dims[-len(_rows(c)) :]]
        if not fits:
            return []
        blocks.append(fits[0])
    return blocks


def _rows(c: Contraction) -> Part:
    """The dims of a product's result without the number of its fields, if that comes first."""
    return c.dims[1:] if len(c.fields) > 1 and c.dims[0] == len(c.fields) else c.dims


# factors that are stored already


def stored(factor: Factor, tensors: Sequence[Tensor]) -> Operand | None:
    """A tensor, or adjacent components at its front, that holds a factor as it is, in either order."""
    return _stored(factor, tensors) or (_stored(factor.turned, tensors) if factor.turned else None)


def _stored(factor: Factor, tensors: Sequence[Tensor]) -> Operand | None:
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
