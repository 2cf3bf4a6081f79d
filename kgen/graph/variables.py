"""What fields are called, and the variables that they are parts of.

In: names such as gated_x_e12. Out: gated_x. An operation names what it makes of a grade by the grade's name.
"""

from collections.abc import Iterable, Mapping

from kgen.graph.builder import Builder
from kgen.graph.node import Node

GRADES = ("scalar", "vector", "bivector", "trivector", "quadvector", "pentavector", "hexavector")


def variable(name: str) -> str:
    """The variable that a field is part of: gated_x of gated_x_e12, xy of xy_011_e1, inv_rms of inv_rms_vector."""
    head, _, last = name.rpartition("_")
    if head and last in GRADES:
        return head
    if head and last[:1] == "e" and (last == "e" or last[1:].isdigit()):
        before, _, path = head.rpartition("_")
        return before if before and path.isdigit() else head
    return name


def held(builder: Builder, fields: Iterable[Node]) -> str:
    """The one variable, or the input, that fields with names are parts of; nothing where there are several."""
    found = {_of(builder.hints, x) for field in fields for _, x in field.single} - {""}
    return found.pop() if len(found) == 1 else ""


def _of(hints: Mapping[Node, str], field: Node) -> str:
    return field.tensor if field.kind == "Input" else variable(hints.get(field, ""))
