"""Which matrix products of one size are done at once, as a batch: one after the other they leave a part of a GPU idle.

In: products, or Dots that are to be some. Out: batches, of factors that lie one after the other in memory.
"""

from collections.abc import Callable, Iterable, Sequence

from kgen.graph.builder import Builder
from kgen.graph.node import Node
from kgen.schedule.memory_order import place
from kgen.schedule.products import Contraction, Factor, Grid, Scaled, Shape


def apart(b: Builder, axes: Sequence[str], dots: Sequence[Node]) -> dict[Node, list[Scaled]]:
    """Sums over the batch as sums of Dots of one pair each, all of which one batch of products computes.

    That is for Dots that share no factor, such as the gradients of a map by grade: one after the other, products with
    a long contracted axis and a small result leave most of a GPU idle.
    """
    similar: dict[frozenset[str], list[Node]] = {}
    for dot in dots:
        if dot.over == axes[:1]:
            similar.setdefault(dot.axes, []).append(dot)
    found = dict[Node, list[Scaled]]()
    for members in similar.values():
        pairs = [pair for dot in members for pair in dot.pairs]
        if len(pairs) > len(members) > 1 and len({x for pair in pairs for x in pair}) == 2 * len(pairs):
            sums = {dot: [b.sum(b.mul(*pair), dot.over).single[0] for pair in dot.pairs] for dot in members}
            found |= {dot: [(b.scale(c, b.one), part) for c, part in terms] for dot, terms in sums.items()}
    return {dot: terms for dot, terms in found.items() if all(part.kind == "Dot" for _, part in terms)}


def batch(axes: Sequence[str], shape: Shape, grids: Sequence[Grid], parts: frozenset[Node]) -> list[Grid]:
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

    by_place = sorted(products, key=lambda c: place(builder, min(c.left.fields, c.right.fields, key=len)[0]))
    whole = beside(by_place)
    for factor, each in ((whole.left, [c.left for c in products]), (whole.right, [c.right for c in products])):
        if any(map(lies, each)) and not lies(factor):
            return None
    return whole


def beside(products: Sequence[Contraction]) -> Contraction:
    """Products of one size as a batch, their factors and results one after the other in memory."""
    grids = tuple(grid for c in products for grid in c.grids)
    left, right = _stacked([c.left for c in products]), _stacked([c.right for c in products])
    return Contraction(products[0].shape, grids, left, right, (len(grids), *products[0].dims))


def _stacked(factors: Sequence[Factor]) -> Factor:
    """Factors one after the other, in either memory order of each."""
    fields = tuple(x for factor in factors for x in factor.fields)
    others = [factor.turned for factor in factors if factor.turned]
    turned = _stacked(others) if others else None
    inner = any(factor.inner for factor in factors)
    return Factor(fields, (len(factors), *factors[0].dims), factors[0].transposed, turned, True, inner)
