"""How many registers fields take that one kernel computes: those that are alive at once.

In: the fields that a kernel stores or accumulates. Out: how many values a thread holds for each element, and whether
these are more than it has registers for.
"""

from collections.abc import Sequence

from kgen.graph.builder import Builder
from kgen.graph.node import Node, holds_dot, postorder
from kgen.graph.simplify import simplify
from kgen.schedule.device import DEVICE


def live(roots: Sequence[Node], accumulators: Sequence[Node]) -> int:
    """The most fields alive at once when evaluated in postorder, accumulators included."""
    order = postorder(roots)
    last: dict[Node, int] = {}
    for i, node in enumerate(order):
        for a in node.args:
            last[a] = i
    alive = most = 0
    ends: dict[int, int] = {}
    for i, node in enumerate(order):
        if node.kind not in ("Const", "Size", "Iota"):
            alive += 1
            ends[last.get(node, i)] = ends.get(last.get(node, i), 0) + 1
        most = max(most, alive)
        alive -= ends.pop(i, 0)
    return most + len(accumulators)


def held(roots: Sequence[Node]) -> int:
    """The fields that stay in registers while segments are summed: the sums, and what all their terms read."""
    segments = [n for n in postorder(roots) if n.kind == "Segment"]
    along = {n.lookup.along for n in segments}
    inside = {*postorder(a for n in segments for a in n.args)}
    read = {a for n in (*inside, *segments) if n.axes & along or n in segments for a in n.args}
    return len(segments) + sum(a in inside and bool(a.axes) and not a.axes & along for a in read)


def factored(b: Builder, roots: list[Node]) -> list[Node]:
    """Equal fields with fewer operations; as they are, where factoring finds a Dot, which no kernel computes."""
    better = simplify(b, roots)
    return roots if holds_dot(better) else better


def overflows(b: Builder, roots: list[Node], accumulators: Sequence[Node] = ()) -> bool:
    """Whether one kernel would need more registers than a thread has; what is far beyond is not factored first."""
    if live(roots, accumulators) > 2 * DEVICE.most_live:
        return True
    return live(factored(b, roots), accumulators) > DEVICE.most_live
