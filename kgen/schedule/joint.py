"""Matrix products that are always added to each other, such as scores of vectors and of scalars: one is added to what
the other made, so that their sum lies in memory and not they.

In: products of one level, and what is computed of them. Out: which product is added to which earlier one.
"""

from collections.abc import Mapping, Sequence

from kgen.graph.builder import Builder
from kgen.graph.node import Node, Rational, postorder
from kgen.schedule.products import Contraction

Readers = Mapping[Node, Mapping[Node, Rational | None]]  # of a Dot: what reads it, by which coefficient if it is a sum


def always_added(
    b: Builder, products: Sequence[Contraction], fields: Sequence[Node], whole: Sequence[Node]
) -> dict[Contraction, Contraction]:
    """Products, and the earlier ones whose Dots are read together with theirs, and never alone.

    `fields` read them. Under other names of axes nothing of the `whole` program reads any of them, for what is saved
    is read under all names.
    """
    readers, there = _readers(fields, {dot for c in products for dot in c.fields}), set(postorder(whole))
    found = dict[Contraction, Contraction]()
    for i, first in enumerate(products):
        for other in products[i + 1 :]:
            if {first, other}.isdisjoint(found) and _is_sum(first, other, readers):
                found |= {other: first} if there.isdisjoint(_twins(b, [*first.fields, *other.fields])) else {}
    return found


def _readers(fields: Sequence[Node], dots: set[Node]) -> Readers:
    found: dict[Node, dict[Node, Rational | None]] = {dot: {} for dot in dots}
    for node in postorder(fields):
        for c, x in node.terms if node.kind == "Add" else ((None, a) for a in node.args):
            if x in found:
                found[x][node] = c
    for field in fields:
        if field in found:
            found[field][field] = None  # a result
    return found


def _is_sum(first: Contraction, other: Contraction, readers: Readers) -> bool:
    """Whether each two Dots are read by the same sums, as often."""
    pairs = list(zip(first.fields, other.fields))
    if (first.dims, len(first.fields)) != (other.dims, len(other.fields)):
        return False
    if any(x.kind != "Dot" for pair in pairs for x in pair):
        return False
    return all(readers[x] == readers[y] != {} and None not in readers[x].values() for x, y in pairs)


def _twins(b: Builder, dots: Sequence[Node]) -> list[Node]:
    """The Dots under other names of axes, which what is read alone may have."""
    return [twin for names in b.exchanges for dot, twin in zip(dots, b.rename(dots, names)) if twin is not dot]
