"""Products of few features: all components of a tensor as one matrix, zeros included.

In: Dots of one shape. Out: the grid of one product. A map that keeps grades, or turns one into another, multiplies each
component by a few weights, in a product for every kind of grade; their factors are stored in as many orders, and small
products leave most of a GPU idle. With few features it is faster to read the tensor as it lies, as a matrix of features
and components, and to multiply it by one matrix of weights most of which are zero: bytes bind, not arithmetic. A
weight's gradient is the product of all components with all cotangents, of which it takes what it needs.
"""

from collections.abc import Iterable, Mapping, Sequence

from kgen.graph.builder import Builder
from kgen.graph.node import Node
from kgen.schedule.memory_order import place
from kgen.schedule.products import Grid, Pair, Scaled, Shape


def terms_apart(b: Builder, axes: Sequence[str], dots: Sequence[Node]) -> dict[Node, list[Scaled]]:
    """Sums along the outermost axis as sums of Dots of one pair each: of the product of all with all they are some.

    Numbers that scale a factor scale the Dot.
    """
    summed = [dot for dot in dots if axes[0] in dot.over]
    found = {dot: [_unscaled(b, pair, dot.over) for pair in dot.pairs] for dot in summed}
    return {
        dot: terms
        for dot, terms in found.items()
        if terms != [(b.one, dot)] and all(part.kind == "Dot" for _, part in terms)
    }


def _unscaled(b: Builder, pair: Sequence[Node], over: tuple[str, ...]) -> Scaled:
    """A sum of products of two fields, and the number that it is multiplied by."""
    (c, x), (d, y) = (_number(b, field) for field in pair)
    ((rational, dot),) = b.sum(b.mul(x, y), over).single
    return b.scale(rational, b.mul(c, d)), dot


def _number(b: Builder, field: Node) -> tuple[Node, Node]:
    """A field as a number times what is left of it."""
    ((c, x),) = field.single
    factors = x.args if x.kind == "Mul" else (x,)
    numbers = [f for f in factors if f.kind == "Const"]
    return b.scale(c, b.mul(*numbers)), b.mul(*(f for f in factors if f not in numbers))


def dense(b: Builder, axes: Sequence[str], shape: Shape, pairs: Mapping[Node, Sequence[Pair]]) -> Grid | None:
    """All Dots of a shape as one product, by which of its axes the outermost one is; None where it is of a batch."""
    if axes[0] in shape.contracted:
        return _all_with_all(b, pairs)
    if axes[0] in shape.rows:
        long, short = _against(b, pairs)
        return Grid((long,), short, (tuple(pairs),))
    if axes[0] in shape.columns:
        long, short = _against(b, {dot: [(c, y, x) for c, x, y in found] for dot, found in pairs.items()})
        return Grid(tuple(zip(*short)), tuple((x,) for x in long), tuple((dot,) for dot in pairs))
    return None


def _against(b: Builder, pairs: Mapping[Node, Sequence[Pair]]) -> tuple[tuple[Node, ...], tuple[tuple[Node, ...], ...]]:
    """The long factors, and for each of them what it is multiplied with in each Dot; numbers scale the latter."""
    scaled = [[(c, *_number(b, x), y) for c, x, y in found] for found in pairs.values()]
    long = _whole(b, (x for found in scaled for _, _, x, _ in found))
    short = [
        tuple(b.linear((c, b.mul(number, y)) for c, number, x, y in found if x is factor) for found in scaled)
        for factor in long
    ]
    return long, tuple(short)


def _all_with_all(b: Builder, pairs: Mapping[Node, Sequence[Pair]]) -> Grid | None:
    """Each left factor with each right one; None for sums that are not apart, or scaled."""
    if any(len(found) > 1 or found[0][0] != 1 for found in pairs.values()):
        return None
    at = {(x, y): dot for dot, ((_, x, y),) in pairs.items()}
    left, right = (_whole(b, (pair[i] for pair in at)) for i in (0, 1))
    dots = tuple(tuple(at.get((x, y), b.zero) for y in right) for x in left)
    return Grid(tuple((x,) for x in left), (right,), dots)


def _whole(b: Builder, factors: Iterable[Node]) -> tuple[Node, ...]:
    """The distinct factors, as they lie in memory; all components of adjacent ones, which are read so."""
    found = sorted(dict.fromkeys(factors), key=lambda x: place(b, x))
    first, *others = {x.tensor if x.kind == "Input" else "" for x in found}
    tensor = None if others else b.tensors.get(first)
    if tensor is None or not tensor.interleaved or tensor.lookups or tensor.slices:
        return tuple(found)
    return tuple(b.input(tensor.name, i, tensor.axes) for i in range(len(tensor.labels)))
