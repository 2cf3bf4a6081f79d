"""The dims of a tensor in the reference: which tell components apart, and the torch calls that put them in an order.

In: dims, as names and numbers in memory order. Out: a shape, or what is appended to a tensor's text, which is nothing
where it has no effect.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from kgen.reference.values import Grades
from kgen.spec.model import COMPONENT_AXES

Dims = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """A tensor's dims in memory order, as users see them, and the grades of a multivector."""

    dims: Dims
    grades: Grades = ()


def is_component(dim: str | int) -> bool:
    """Whether a dim tells components apart; the others are axes."""
    return isinstance(dim, int) or dim in COMPONENT_AXES


def permuted(order: Sequence[int]) -> str:
    """The call that puts dims in this order: nothing, a move of one dim, or a permutation."""
    identity = list(range(len(order)))
    if list(order) == identity:
        return ""
    for here in identity:
        rest = identity[:here] + identity[here + 1 :]
        if list(order) == [*rest, here]:
            return f".movedim({here}, -1)"
        if list(order) == [identity[-1], *identity[:-1]]:
            return ".movedim(-1, 0)"
    return f".permute({', '.join(map(str, order))})"


def squeezed(absent: Sequence[bool]) -> str:
    """The call that drops the dims of absent axes."""
    dims = [i for i, gone in enumerate(absent) if gone]
    return "" if not dims else f".squeeze({dims[0] if len(dims) == 1 else tuple(dims)})"
