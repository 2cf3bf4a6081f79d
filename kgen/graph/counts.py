"""Which operations make fields: how many of each kind there are at each point of some axes.

In: fields. Out: counts by axes and kind. A kind is "mul", "add", "product" (of a pair of numbers in a product of
matrices), "reciprocal", "draw" (of a random number), or the name of a function. Several factors are multiplied, and
terms added, in the order that costs least: those that vary along few axes first. Signs are free. A sum along axes adds
once for each element.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations, repeat

from kgen.graph.node import Node

Axes = frozenset[str]
Operation = tuple[Axes, str]  # once at each point of the axes
Counts = dict[Axes, Counter[str]]

FREE = ("detach", "abs")  # no instruction, or part of another one


def counted(operations: Iterable[Operation]) -> Counts:
    counts: Counts = {}
    for axes, kind in operations:
        counts.setdefault(axes, Counter())[kind] += 1
    return counts


def operations(nodes: Iterable[Node]) -> Iterator[Operation]:
    """Those that make each of the fields of its arguments."""
    for node in nodes:
        yield from _operations(node)


def _operations(node: Node) -> Iterator[Operation]:
    match node.kind:
        case "Mul":
            yield from ((axes, "mul") for axes in _joined(x.axes for x in node.args))
        case "Add":
            yield from ((x.axes, "mul") for c, x in node.terms if abs(c) != 1 and x.kind != "Const")
            yield from ((axes, "add") for axes in _joined(x.axes for x in node.args))
        case "Sum" | "Max":
            yield accumulation(node.args[0], node.kind)
        case "Segment":
            yield node.read_along, "add"
        case "Dot":
            yield from repeat((node.axes | node.reduced, "product"), len(node.pairs))
        case "Reciprocal":
            yield node.axes, "reciprocal"
        case "Draw":
            yield node.axes, "draw"
        case "Call" if node.function not in FREE:
            yield node.axes, node.function


def accumulation(field: Node, reduction: str) -> Operation:
    """What reduces a field: one operation for each of its elements."""
    return field.axes, "maximum" if reduction.lower() == "max" else "add"


def _joined(parts: Iterable[Axes]) -> Iterator[Axes]:
    """The axes of each operation on two fields that makes one of several, which vary along these axes."""
    groups = Counter(parts)
    for axes, count in groups.items():
        yield from repeat(axes, count - 1)
    waiting = list(groups)
    while len(waiting) > 1:
        pair = min(combinations(waiting, 2), key=lambda pair: (len(pair[0] | pair[1]), sorted(pair[0] | pair[1])))
        both = pair[0] | pair[1]
        waiting = [axes for axes in waiting if axes not in pair]
        yield from repeat(both, 1 + (both in waiting))
        waiting += [both] if both not in waiting else []
