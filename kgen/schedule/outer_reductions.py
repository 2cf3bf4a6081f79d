"""Results as reductions over outer axes, which a kernel accumulates over its loop: folds.

In: a field, and which axes are outer. Out: the field that is accumulated and how, with constant factors moved inside;
nothing where the field is no such reduction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from kgen.graph.builder import Builder
from kgen.graph.graph import Output
from kgen.graph.node import Node
from kgen.schedule.intermediates import depends

Way = tuple[tuple[str, ...], str]  # the axes that are reduced, outermost first, and "sum" or "max"


@dataclass(frozen=True, slots=True)
class Part:
    """A result's component as a reduction: sum or max of `field` along `over`."""

    field: Node
    over: frozenset[str]
    reduction: str

    def substitute(self, b: Builder, table: dict[Node, Node]) -> "Part":
        return replace(self, field=b.substitute([self.field], table)[0])

    def way(self, outer: Sequence[str]) -> Way:
        return tuple(a for a in outer if a in self.over), self.reduction


def parts(b: Builder, output: Output, outer: Sequence[str]) -> list[Part]:
    """The result as one fold: all components reduced in one way over the same outer axes; else nothing.

    A part of a result is none: partial results are put together in memory of their own.
    """
    if output.tensor.slices:
        return []
    found = [_part(b, f, set(outer)) for f in output.fields]
    ways = {p.way(outer) for p in found if p and p.over}
    repeated = any(p.over & set(output.tensor.axes) for p in found if p)  # along an axis that is summed
    return [p for p in found if p] if None not in found and len(ways) == 1 and not repeated else []


def stripped(node: Node) -> Part:
    """A reduction as what is accumulated."""
    return Part(node.args[0], frozenset(node.over), "max" if node.kind == "Max" else "sum")


def _part(b: Builder, node: Node, outer: set[str]) -> Part | None:
    if node is b.zero:
        return Part(node, frozenset(), "sum")
    if node.is_reduction:
        return stripped(node) if set(node.over) & outer else None
    if node.kind == "Add":
        return _sum_of_parts(b, node, outer)
    return _scaled_part(b, node, outer) if node.kind == "Mul" else None


def _sum_of_parts(b: Builder, node: Node, outer: set[str]) -> Part | None:
    """Sums over the same axes as one."""
    found = [_part(b, x, outer) for x in node.args]
    whole = [p for p in found if p]
    if None in found or any(p.reduction == "max" for p in whole) or len({p.over for p in whole}) > 1:
        return None
    return replace(whole[0], field=b.linear((c, p.field) for (c, _), p in zip(node.terms, whole)))


def _scaled_part(b: Builder, node: Node, outer: set[str]) -> Part | None:
    """A sum times what is the same along its axes, and no fold itself."""
    sums = [x for x in node.args if x.kind == "Sum" and set(x.over) & outer]
    others = [x for x in node.args if x not in sums]
    over = {axis for x in sums for axis in x.over}
    if len(sums) != 1 or any(x.axes & over for x in others) or depends(others, outer | over):
        return None
    part = stripped(sums[0])
    return replace(part, field=b.mul(part.field, *others))
