"""From Dots to matrix products: which Dots are one product.

In: Dots that do not depend on each other. Out: `Contraction`s. Several Dots are one product where they share factors:

* terms stack along the contracted axis: sum of a_f b_f over f and n is one product with (f, n) contracted;
* Dots that share their right factors stack along the rows, those that share their left factors along the columns.

So a fully connected geometric product is one matrix product for each grade of the result, its rows (blade, batch), its
contracted axis (path, feature); nothing is computed for one path alone.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node
from kgen.schedule.batching import batch, beside
from kgen.schedule.dense import dense
from kgen.schedule.device import DEVICE
from kgen.schedule.memory_order import contraction, place
from kgen.schedule.placement import dot_in
from kgen.schedule.products import Contraction, Grid, Pair, Scaled, Shape


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


def one_name_each(builder: Builder, axes: Sequence[str], dots: Sequence[Node]) -> list[Node]:
    """Dots without those that are others under other names of axes, whose results are read in their place.

    The one stays whose axes most others have, then the earliest ones: under one name they are one product.
    """
    beside = Counter((dot.axes, dot.over) for dot in dots)
    groups = list[list[Node]]()
    for dot in dots:
        twins = {builder.rename([dot], names)[0] for names in builder.exchanges}
        group = next((group for group in groups if not twins.isdisjoint(group)), None)
        if group is None:
            groups.append([dot])
        else:
            group.append(dot)

    def rank(dot: Node) -> tuple[int, list[int]]:
        return -beside[dot.axes, dot.over], sorted(map(axes.index, dot.axes))

    return [min(group, key=rank) for group in groups]


def contractions(
    builder: Builder,
    axes: Sequence[str],
    dots: Sequence[Node],
    outputs: Sequence[Output] = (),
    sums: Mapping[Node, Sequence[Scaled]] = MappingProxyType({}),
    few: bool = False,
) -> list[Contraction]:
    """The matrix products of Dots none of which depends on another, in the order of their first Dots.

    Those that are results lie as their `outputs` say, where that is possible. Parts of `sums` go together.
    With `few` features all components are one matrix, zeros included.
    """
    similar: dict[Shape, list[Node]] = {}
    orders = {f: o.tensor.axes for o in outputs if o.tensor.dtype is None for f in o.fields}
    parts = {part: dot for dot, terms in sums.items() for _, part in terms}
    whole = [o for o in outputs if o.tensor.dtype is None and not o.tensor.slices]
    known = set(dots)
    results = {tuple(dot_in(f, known) or f for f in o.fields): o.tensor.dims for o in whole}
    beside_it = Counter((dot.axes, dot.over) for dot in dots)
    for dot in dots:
        several = few and beside_it[dot.axes, dot.over] > 1  # which are one matrix, whatever reads them
        order = axes if several else orders.get(parts.get(dot, dot), axes)
        similar.setdefault(_shape(order, axes, dot), []).append(dot)
    found = list[Contraction]()
    for shape, members in similar.items():
        of_all = dense(builder, axes, shape, {dot: _pairs(shape, dot) for dot in members}) if few else None
        if of_all:
            found.append(contraction(builder, axes, shape, of_all, results, few))
            continue
        grids = [grid for cluster in _clusters(shape, members) for grid in _grids(builder, shape, cluster)]
        grids.sort(key=lambda grid: min(dots.index(dot) for line in grid.dots for dot in line if dot in dots))
        group = batch(axes, shape, grids, frozenset(parts))
        each = [contraction(builder, axes, shape, grid, {} if group else results) for grid in group or grids]
        found += [beside(each)] if group else each
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
    if best and (math.prod(best.counts) <= DEVICE.waste * sum(map(len, pairs.values())) or len(dots) == 1):
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
    right = sorted(partner, key=lambda b: min(place(builder, x) for x in ((partner[b], b) if alone else (b,))))
    left = [{b: builder.scale(c, a) for c, a, b in found} for found in pairs.values()]
    if any(len(row) < len(found) for row, found in zip(left, pairs.values())):
        return None
    rows = tuple(tuple(row.get(b, builder.zero) for b in right) for row in left)
    dots = list(pairs)
    if len(right) == 1:
        dots = sorted(dots, key=lambda dot: place(builder, pairs[dot][0][1]))
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
    rows, columns = (sorted({k[i] for k in at}, key=lambda side: [place(builder, x) for x in side]) for i in (0, 1))
    dots = tuple(tuple(at.get((a, b), builder.zero) for b in columns) for a in rows)
    return Grid(tuple(rows), tuple(zip(*columns)), dots)
