"""Fields as statements.

In: a kernel's `Naming`, and fields in some order. Out: rows that compute those that have a name. Guaranteed: they keep
the order, and no line is longer than a module's, but for a single term that is.
"""

from collections.abc import Iterable, Sequence

from kgen.emit.kernel.naming import Naming
from kgen.emit.kernel.printer import Expressions
from kgen.emit.kernel.rows import Statement
from kgen.graph.node import Node

WIDTH = 106  # of a statement's name and expression; with the indent it fits a line of 120
MOST_TOGETHER = 8  # row sums that travel through shared memory at once


class Statements:
    """What computes a kernel's fields."""

    def __init__(self, naming: Naming) -> None:
        self.naming = naming
        self._spell = Expressions(naming.names, naming.named, naming.order, naming.places, naming.element)
        self.level = _levels(naming.nodes)

    def value(self, node: Node) -> str:
        """The field as an expression: its name, if it has one."""
        return self._spell.use(node)

    def computing(self, nodes: Iterable[Node]) -> tuple[Statement, ...]:
        """Those of the fields that have a name."""
        return tuple(s for n in nodes if n in self.naming.named for s in self._statement(n))

    def reductions(self, level: int) -> list[Node]:
        """Those that need the reductions of lower levels, and none of this one."""
        return [n for n in self.naming.nodes if n.is_reduction and self.level[n] == level]

    def reducing(self, nodes: Sequence[Node], values: Sequence[str], mask: str) -> list[Statement]:
        """Row reductions of one level: the sums share one pass through shared memory."""
        result = []
        for kind, together in (("Sum", MOST_TOGETHER), ("Max", 1)):
            chosen = [(self.naming.names[n], v) for n, v in zip(nodes, values) if n.kind == kind]
            for group in (chosen[i : i + together] for i in range(0, len(chosen), together)):
                function = f"row_{kind.lower()}" + (str(len(group)) if len(group) > 1 else "")
                names, arguments = ", ".join(n for n, _ in group), ", ".join(v for _, v in group)
                result.append(Statement(names, f"_{function}({arguments}, {mask})"))
        return result

    def _statement(self, node: Node) -> list[Statement]:
        name = self.naming.names[node]
        return [Statement(name, text, operator) for operator, text in self._spell.define(node, WIDTH - len(name))]


def _levels(nodes: Iterable[Node]) -> dict[Node, int]:
    """How many reductions are nested at or below each field."""
    level: dict[Node, int] = {}
    for node in nodes:
        level[node] = max((level[a] for a in node.args), default=0) + node.is_reduction
    return level
