"""How the factors and results of matrix products lie in memory.

In: grids of fields. Out: `Contraction`s, whose factors say their dims, and the `Way` in which each comes into the order
that tf32 wants. A factor is stored with the axis last that is the innermost of its fields, as the inputs of the kernel
that stores it lie; where this is not how the product reads it, it is read transposed. In bf16 that costs nothing. In
tf32 a product is faster where the contracted axis is innermost in both factors; `ways` says when that is worth it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from kgen.graph.builder import Builder
from kgen.graph.node import Node
from kgen.schedule.device import DEVICE
from kgen.schedule.products import Contraction, Dims, Factor, Grid, Operand, Shape, Way

Side = tuple[str, ...]  # the axes of one side of a matrix


def place(builder: Builder, node: Node) -> tuple[int, int, str, int]:
    """A key that sorts components as they lie in memory, and others as their names in the spec say."""
    if node.kind == "Input":
        return (0, node.component, "", node.id)
    hint = builder.hints.get(node.single[0][1], "")
    return (1, len(hint), hint, node.id)


def contraction(
    builder: Builder,
    axes: Sequence[str],
    shape: Shape,
    grid: Grid,
    results: Mapping[tuple[Node, ...], Dims],
    dense: bool = False,
) -> Contraction:
    """A product; where it is one of `results`, it lies as that does, if components are adjacent there.

    Factors of a `dense` one that have zeros, and so lie nowhere, are stored with the contracted axis innermost, which
    all precisions are fast with.
    """
    inner = _adjacent(builder, shape, grid, results)

    def side(count: int, of: Side) -> Dims:
        return (*of, count) if of in inner else (count, *of)

    sides = (shape.rows, shape.contracted, shape.columns)
    rows, along, columns = map(side, grid.counts, sides)
    turned = [_innermost(axes, own, shape.contracted) for own in (shape.rows, shape.columns)]
    left = _factor(shape, grid.left, rows, along, turned[0], not inner.isdisjoint(sides[:2]))
    right = _factor(shape, grid.right, along, columns, not turned[1], not inner.isdisjoint(sides[1:]))
    if dense:
        sides_of = enumerate((left, right))
        left, right = (_stored_so(f, i == 1) if builder.zero in f.fields else f for i, f in sides_of)
    return Contraction(shape, (grid,), left, right, _dims(shape, rows, columns), dense)


def _stored_so(factor: Factor, transposed: bool) -> Factor:
    """A factor in one memory order alone."""
    other = factor.turned if factor.turned and factor.transposed != transposed else factor
    return replace(other, turned=None)


def _adjacent(builder: Builder, shape: Shape, grid: Grid, results: Mapping[tuple[Node, ...], Dims]) -> set[Side]:
    """The sides whose components are adjacent in memory, so that a tensor is a factor, or a result, as it lies.

    None that a factor of inputs has otherwise: it would be copied for that.
    """
    rows, along, columns = shape.rows, shape.contracted, shape.columns
    found, refused = set[Side](), set[Side]()
    count = dict(zip((rows, along, columns), grid.counts))
    for matrix, outer in ((grid.left, rows), (grid.right, columns)):
        fields = [x for line in matrix for x in line]
        lies, n = _lies(builder, fields), len(fields)
        ways = [(a, other) for a, other in ((along, outer), (outer, along)) if count[a] == n]
        wanted = {a for a, b in ways if lies in ((*shape.batch, *b, *a, n), (*shape.batch, *a, n, *b))}
        found |= wanted
        refused |= {along, outer} - wanted if all(x.kind == "Input" for x in fields) else set()
    dots = tuple(dot for line in grid.dots for dot in line)
    made, n = results.get(dots), len(dots)
    if made == (*shape.batch, *rows, *columns, n) and len(grid.dots) == 1 < n:
        found.add(columns)
    if made == (*shape.batch, *rows, n, *columns) and len(grid.dots[0]) == 1 < n:
        found.add(rows)
    return found - refused


def _lies(builder: Builder, fields: Sequence[Node]) -> Dims | None:
    """The dims of the tensor that some fields are, all of it and in order, if its components are one dim."""
    tensor = builder.tensors.get(fields[0].tensor) if fields[0].kind == "Input" else None
    if tensor is None or sum(isinstance(d, int) for d in tensor.dims) != 1 or tensor.lookups or tensor.slices:
        return None
    places = [(x.tensor, x.component) if x.kind == "Input" else None for x in fields]
    return tensor.dims if places == [(tensor.name, i) for i in range(len(tensor.labels))] else None


def _factor(
    shape: Shape, grid: Sequence[Sequence[Node]], rows: Dims, columns: Dims, transposed: bool, inner: bool
) -> Factor:
    """A matrix of fields, to be stored row by row or `transposed`; with `inner`, components of a side are adjacent."""

    def stored_as(turned: bool) -> tuple[tuple[Node, ...], Dims, bool]:
        lines = zip(*grid) if turned else grid
        dims = _dims(shape, columns, rows) if turned else _dims(shape, rows, columns)
        return tuple(x for line in lines for x in line), dims, turned

    return Factor(*stored_as(transposed), Factor(*stored_as(not transposed), inner=inner), inner=inner)


def _innermost(axes: Sequence[str], side: Sequence[str], contracted: Sequence[str]) -> bool:
    """Whether the innermost axis of a factor is one of its side's, not a contracted one."""
    return max(map(axes.index, side)) > max(map(axes.index, contracted))


def _dims(shape: Shape, *parts: Dims) -> tuple[str | int, ...]:
    """Memory order without dims of extent one."""
    return (*shape.batch, *(d for part in parts for d in part if d != 1))


def ways(c: Contraction, lies: Sequence["Factor | Operand"], turns: Sequence[bool]) -> tuple[Way, Way]:
    """How the left and the right factor come into the order in which tf32 is fast, as they lie or would be stored.

    With the contracted axis innermost in both an H200 makes 338 TFLOP/s, in the left one alone 282, with the left one
    transposed about 200. So a right factor is not turned where the left one cannot be. Other precisions do not care:
    the launcher leaves the order as it is for them.
    """
    left, right = (_way(c, side, lies[side], turns[side]) for side in (0, 1))
    return left, Way.KEPT if left is Way.KEPT and right is not Way.FITS else right


def _way(c: Contraction, side: int, factor: "Factor | Operand", turns: bool) -> Way:
    """A factor, which may lie in the other order. What a kernel stores tile by tile `turns` at no cost.

    A copy reads and writes the factor, which is a whole tensor. The difference between 282 and 338 TFLOP/s pays for
    that where each number meets three fields of 512 features; not so in a linear map of what lies in memory, nor where
    memory limits the product.
    """
    if factor.transposed == bool(side):
        return Way.FITS
    if c.dense:
        return Way.KEPT
    if turns:
        return Way.TURNED
    meets = c.counts[0] if side else c.counts[2]
    part = isinstance(factor, Operand) and factor.tensor.slices
    return Way.COPIED if not part and meets >= DEVICE.pays_for_a_copy and not c.shape.batch else Way.KEPT
