"""Which factoring a kernel gets: kgen's, or kingdon's where that takes fewer instructions.

In: the fields that a kernel computes. Out: equal fields, and what either factoring takes, for `kgen show`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kgen.graph.builder import Builder
from kgen.graph.cost import Cost, cost
from kgen.graph.isolation import isolated
from kgen.graph.node import Node, holds_dot, postorder
from kgen.schedule.registers import factored


@dataclass(frozen=True, slots=True)
class Factoring:
    """What a way of factoring takes: operations, and fields that are kept because several others read them."""

    by: str
    cost: Cost
    temporaries: int

    def __str__(self) -> str:
        return f"by {self.by} {self.cost}, {self.temporaries} temporaries"


def best(b: Builder, roots: list[Node]) -> tuple[list[Node], tuple[Factoring, ...]]:
    """The fields with the fewest instructions, kgen's where it is a tie; and the candidates, the one taken first."""
    ours = factored(b, roots)
    own, found = _factoring("kgen", ours), isolated(b, roots)
    theirs = found.fields(b.copy(), roots) if found else []  # in a copy: what is not taken leaves no trace
    if not found or holds_dot(theirs):
        return ours, (own,)
    other = _factoring("kingdon", theirs)
    if own.cost.total <= other.cost.total:
        return ours, (own, other)
    return found.fields(b, roots), (other, own)


def _factoring(by: str, fields: Sequence[Node]) -> Factoring:
    uses: dict[Node, int] = {}
    for node in postorder(fields):
        for a in node.args:
            uses[a] = uses.get(a, 0) + 1
    several = (n for n, count in uses.items() if count > 1 and n.kind in ("Add", "Mul") and n not in set(fields))
    return Factoring(by, cost(fields), sum(1 for _ in several))
