"""The order in which sums and products are factored, computed and written.

In: fields. Out: their terms and factors in one order wherever they occur, and an order of evaluation. Guaranteed: both
depend on names and on the form of expressions, not on when a field was made. So a change in one line of a body moves
the lines that it changes, and formulas that differ by a name alone, such as those of two gates, read alike.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain

from kgen.graph.builder import Builder
from kgen.graph.node import Node, Rational, postorder, walk

COTANGENT = "grad"  # the first part of a cotangent's name, and of a gradient's
FEW = 4  # names by which an expression is sorted: the first ones that it is made of

Word = tuple[int, str]
Key = tuple[tuple[Word, ...], ...]  # the first names in an expression, each as its words


class Order:
    """Sorts the fields below some roots by the names that they are made of."""

    def __init__(self, builder: Builder, roots: Iterable[Node]) -> None:
        self._named = builder.hints
        self._keys: dict[Node, Key] = {}
        for node in postorder(roots):
            if node.kind == "Input":
                self._keys[node] = ((*words(node.tensor), (node.component, "")),)
            else:
                self._keys[node] = (words(builder.hints[node]),) if node in builder.hints else self._made(node)
        self.ranked = sorted(self._keys, key=self._sort_key)
        self.place = {node: i for i, node in enumerate(self.ranked)}
        self._as_factor = {node: i for i, node in enumerate(sorted(self.ranked, key=lambda x: len(x.axes)))}

    def _made(self, node: Node) -> Key:
        """A sum is sorted by its first term, a product by the names of all its factors."""
        keys = [self._keys[a] for a in node.args]
        if node.kind == "Add":
            return min(filter(None, keys), default=())
        return tuple(sorted(chain(*keys))[:FEW]) if len(keys) != 1 else keys[0]

    def _sort_key(self, node: Node) -> tuple[object, ...]:
        return self._keys[node], node.kind, [str(p) for p in node.payload], node.id

    def terms(self, node: Node) -> list[tuple[Rational, Node]]:
        """The terms of a sum: positive ones first, so that few sums start with a minus."""
        return sorted(node.terms, key=lambda term: (term[0] < 0, self.place[term[1]]))

    def factors(self, node: Node) -> list[Node]:
        """Those with fewer axes first, so that what is constant along the tile is multiplied once."""
        return sorted(node.args, key=self._as_factor.__getitem__)

    def arguments(self, node: Node) -> Sequence[Node]:
        """What an expression reads, in the order in which it reads it."""
        match node.kind:
            case "Add":
                return [x for _, x in self.terms(node)]
            case "Mul":
                return self.factors(node)
        return node.args

    def evaluation(self, roots: Sequence[Node], stop: Iterable[Node] = ()) -> list[Node]:
        """Every field below the roots: for a result the named fields that it needs, by name, then its own expression.

        So the order of results does not depend on how their expressions are factored.
        """
        barred, named = set(stop), self._named
        below: dict[Node, frozenset[Node]] = {}  # the named fields in each expression
        for node in postorder(roots, barred):
            args = node.args if node not in barred else ()
            below[node] = frozenset().union(*({a} if a in named else below[a] for a in args))
        results = set(roots)

        def needed(node: Node) -> Sequence[Node]:
            read = () if node in barred else self.arguments(node)
            if node not in results and node not in named:
                return read
            return [*sorted(below[node], key=self.place.__getitem__), *read]

        return list(walk(roots, needed))


def owners(results: Sequence[Node]) -> dict[Node, Node]:
    """For each field in the expressions of some results the first of these that needs it."""
    barred, found = set(results), dict[Node, Node]()
    for result in results:
        for node in postorder(result.args, stop=barred):
            found.setdefault(node, result)
    return found


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[Word, ...]:
    """A name's parts, the shorter before the longer: x before weight, e3 before e12. Cotangents come first.

    So factoring meets them as the field writes them, whatever an intermediate is called: it finds 1% fewer operations
    than where they stand among the rest, and the least that are alive at once.
    """
    return tuple((0 if word == COTANGENT else len(word), word) for word in name.split("_"))
