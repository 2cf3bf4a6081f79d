"""Which fields of a kernel are assigned to a name; all others are written where they are used.

In: a `program.Kernel`, its fields in the order of evaluation, and its results. Out: a set of fields. Guaranteed: in it
are the results, all that is reduced, multiplied as matrices or labelled, and what would be written often; what is
constant along the tile is not computed within the tile's arithmetic; and no expression in another is long.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from kgen.emit.kernel.printer import Names
from kgen.graph.node import Node
from kgen.schedule.program import Kernel

LONGEST_INSIDE = 70  # characters of an expression inside another
TYPICAL_NAME = 8
FEW_USES = 3  # of a short product: the compiler finds what is equal, a reader has one name less to look up
LEAVES = ("Input", "Const", "Size", "Iota")  # kinds of fields that nothing computes
UNNAMED = ("Input", "Const", "Iota")  # which have a name already, or are one


def named(kernel: Kernel, nodes: Sequence[Node], names: Names, results: Iterable[Node]) -> set[Node]:
    """The fields that have a name, but for inputs, which all have one."""
    chosen = {*results, *_by_themselves(kernel, nodes, names), *_constant(nodes, set(kernel.inner))}
    if kernel.kind == "segment":
        chosen |= {*_before_walks(nodes, set(kernel.loop))}
    return chosen | _long(nodes, chosen)


def _by_themselves(kernel: Kernel, nodes: Sequence[Node], names: Names) -> Iterator[Node]:
    """What is reduced, what the spec or an operation names, and what is used more than once."""
    uses = Counter(a for node in nodes for a in _arguments(node))
    uses.update(kernel.roots)
    for node in nodes:
        if node.kind not in UNNAMED:
            few = FEW_USES if _is_short(node, names) else 1
            if node.is_reduction or node.kind in ("Dot", "Segment") or uses[node] > few or names.label(node):
                yield node


def _is_short(node: Node, names: Names) -> bool:
    """Whether a field is a product of two others: written where it is used, it is computed once all the same."""
    leaves = (a.kind in LEAVES or names.label(a) for a in node.args)
    return node.kind == "Mul" and len(node.args) == 2 and all(leaves)


def _constant(nodes: Iterable[Node], inner: set[str]) -> Iterator[Node]:
    """What is constant along the tile and read by fields that are not."""
    for node in nodes:
        if node.axes & inner:
            for a in _arguments(node):
                if a.kind not in UNNAMED and a.axes and not a.axes & inner:
                    yield a


def _before_walks(nodes: Iterable[Node], along: set[str]) -> Iterator[Node]:
    """What is constant along a walk, and read there."""
    for node in nodes:
        inside = node.axes & along or node.kind == "Segment"
        yield from (a for a in node.args if inside and a.kind not in LEAVES and not a.axes & along)


def _long(nodes: Iterable[Node], chosen: set[Node]) -> set[Node]:
    """What would be long inside another expression is a statement of its own."""
    found, length = set[Node](), dict[Node, int]()
    for node in nodes:
        whole = sum(length[a] + 3 for a in _arguments(node)) + 8 * (node.kind == "Call")
        if whole > LONGEST_INSIDE and node.kind in ("Add", "Mul", "Call", "Reciprocal"):
            found.add(node)
        length[node] = TYPICAL_NAME if node in found or node in chosen or not node.args else whole
    return found


def _arguments(node: Node) -> tuple[Node, ...]:
    """What a field's expression reads; a Dot has none, for it is a sum of its own, nor has a segment."""
    return () if node.kind in ("Dot", "Segment") else node.args
