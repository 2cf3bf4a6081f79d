"""Comparisons of a field with its own maximum, which the gradient of `max` makes: they want equal bits.

What is computed twice, in kernels that factor it differently or contract other multiplications with additions, may be
rounded twice. So the scheduler stores what rounds, and takes the maximum of what is read back. Nothing here decides
where; it says what.
"""

from collections.abc import Iterable

from kgen.graph.node import Node, postorder

EXACT = ("abs", "maximum", "minimum", "detach")  # functions that give one of their arguments, but for the sign


def compared(roots: Iterable[Node]) -> list[Node]:
    """The maxima that are compared with what they are taken of."""
    pairs = [n.args for n in postorder(roots) if n.kind == "Call" and n.function == "eq"]
    return [top for x, y in pairs for top, field in ((x, y), (y, x)) if top.kind == "Max" and top.args[0] is field]


def exactly(maxima: Iterable[Node]) -> list[Node]:
    """The fields that maxima are taken of, and those that these are made of without another rounding."""
    found: list[Node] = []
    waiting = [maximum.args[0] for maximum in maxima]
    while waiting:
        found.append(field := waiting.pop())
        waiting += field.args if _exact(field) else ()
    return list(dict.fromkeys(found))


def rounded(maxima: Iterable[Node]) -> list[Node]:
    """Those of them that are computed and rounded: once these are stored, the others have the same bits everywhere."""
    return [n for n in exactly(maxima) if n.args and not _exact(n)]


def _exact(node: Node) -> bool:
    """Whether the field's bits follow from its arguments', in whichever kernel it is computed."""
    negated = node.kind == "Add" and node.coefficients == (-1,) and node.args[0].kind == "Input"
    return negated or node.kind == "Max" or (node.kind == "Call" and node.function in EXACT)
