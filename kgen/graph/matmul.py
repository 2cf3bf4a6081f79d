"""Which sums of products are products of matrices: the two sides that their factors fall into.

In: a product of fields, the axes that it is summed along. Out: its factors on either side, each with an axis of its
own, or that there are no such sides. Guaranteed: every factor is on one side, and both vary along all summed axes.
"""

from collections.abc import Iterable, Sequence

from kgen.graph.node import Node


def sides(product: Node, over: tuple[str, ...], long: str = "") -> tuple[list[Node], list[Node]] | None:
    """The factors of a product on both sides of a matrix product that contracts `over`; None where it is none.

    Numbers go with the side that lacks the axis `long`, where one has it.
    Free axes that all factors have are those of a batch, but for factors with no free axis that another has not, too.
    The others fall into two sets that no factor connects, and the factors with them.
    """
    factors = _factors(product)
    while True:
        found = _two_sides(factors, set(over), long)
        whole = _whole(factors, "Mul", product.axes)
        if found or whole is None:
            return found
        factors = _opened(factors, whole)


def inside(product: Node) -> tuple[list[Node], Node] | None:
    """The factors outside a sum in a product, and that sum; None where there is none.

    The sum alone varies along all axes of the product: multiplied into its terms, the others may stay on a side.
    """
    factors = _factors(product)
    while whole := _whole(factors, "Mul", product.axes):
        factors = _opened(factors, whole)
    found = _whole(factors, "Add", product.axes)
    outside = [f for f in factors if f is not found]
    return (outside, found) if found and outside and all(f.axes < product.axes for f in outside) else None


def _factors(product: Node) -> list[Node]:
    return list(product.args) if product.kind == "Mul" else [product]


def _whole(factors: Iterable[Node], kind: str, axes: frozenset[str]) -> Node | None:
    """A factor of a kind that varies along all axes."""
    return next((f for f in factors if f.kind == kind and f.axes == axes), None)


def _opened(factors: Iterable[Node], one: Node) -> list[Node]:
    """The factors, with those of one of them in its place."""
    return [x for f in factors for x in (f.args if f is one else (f,))]


def _two_sides(factors: Sequence[Node], over: set[str], long: str) -> tuple[list[Node], list[Node]] | None:
    free = [f.axes - over for f in factors]
    batch = frozenset[str].intersection(*(axes for axes in free if not any(axes < other for other in free)))
    rows = _connected([axes - batch for axes in free])
    left = [f for f, axes in zip(factors, free) if axes & rows]
    right = [f for f, axes in zip(factors, free) if axes - batch - rows]
    loose = [f for f in factors if f not in left and f not in right]
    if not left or not right:
        return None
    shared = [frozenset[str]().union(*(f.axes for f in side)) for side in (left, right)]
    if not over <= shared[0] & shared[1]:
        return None
    is_left = long not in shared[0] if long in shared[0] ^ shared[1] else len(left) > 1 or left[0].kind != "Input"
    (left if is_left else right).extend(loose)
    left, right = _unscaled(left, right)
    right, left = _unscaled(right, left)
    return left, right


def _unscaled(side: list[Node], other: list[Node]) -> tuple[list[Node], list[Node]]:
    """Both sides; an option times an input is that input, which lies in memory, where the other side is computed."""
    first, *more = side
    free = [a for a in first.args if a.kind == "Input" and not a.axes] if first.kind == "Mul" and not more else []
    rest = [a for a in first.args if a not in free]
    if not free or [a.kind for a in rest] != ["Input"] or [f.kind for f in other] == ["Input"]:
        return side, other
    return rest, [*other, *free]


def _connected(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    """The axes connected with the first one."""
    waiting = [axes for axes in sets if axes]
    found = frozenset(sorted(frozenset[str]().union(*waiting))[:1])
    while touching := [axes for axes in waiting if axes & found and not axes <= found]:
        found = found.union(*touching)
    return found
