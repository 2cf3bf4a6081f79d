"""Geometric operations as plain tables of terms, by kingdon.

In: a `model.Algebra` and the name of an operation. Out: tuples of terms over indices into `Algebra.blades`, in a fixed
order, with the signs of permuted blades (e31 = -e13) applied. Every sign comes from kingdon's own operators, evaluated
once per operation and algebra on symbolic multivectors; kingdon is imported only then.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from kgen.errors import KgenError
from kgen.spec.model import Algebra

if TYPE_CHECKING:
    import kingdon

Path = tuple[int, ...]  # grades of a product path: (left, out, right), or (grade,) of a single operand

PRODUCTS = {"geometric": "gp", "outer": "op", "inner": "ip", "regressive": "rp", "scalar": "sp"}
MAPS = {
    "reverse": "reverse",
    "involute": "involute",
    "conjugate": "conjugate",
    "dual": "hodge",
    "undual": "unhodge",
    "polarity": "polarity",
}


class Term(NamedTuple):
    """`out` receives sign * left * right."""

    out: int
    left: int
    right: int
    sign: int


class Image(NamedTuple):
    """`out` receives sign * source."""

    out: int
    source: int
    sign: int


class Conjugation(NamedTuple):
    """`out` receives coefficient * r[first] * r[second] * x[source], where first <= second."""

    out: int
    source: int
    first: int
    second: int
    coefficient: int


def product(algebra: Algebra, kind: str, left: Iterable[int], right: Iterable[int]) -> tuple[Term, ...]:
    """The terms of a product of multivectors that have the given blades, sorted by (out, left, right)."""
    lefts, rights = frozenset(left), frozenset(right)
    return tuple(term for term in _products(algebra, kind) if term.left in lefts and term.right in rights)


def image(algebra: Algebra, kind: str, blades: Iterable[int]) -> tuple[Image, ...]:
    """The terms of an involution or a duality, sorted by `out`. Raises KgenError for a polarity without inverse."""
    if kind == "polarity" and 0 in algebra.squares:
        message = f"polarity needs an invertible pseudoscalar, but I^2 = 0 in signature {list(algebra.signature)}"
        raise KgenError(message, hint="dual(x), the right complement, needs no metric")
    sources = frozenset(blades)
    return tuple(term for term in _images(algebra, kind) if term.source in sources)


@lru_cache(maxsize=64)
def sandwich(algebra: Algebra, r: tuple[int, ...], x: tuple[int, ...]) -> tuple[Conjugation, ...]:
    """The terms of r x ~r (even r) or r involute(x) ~r (odd r); what cancels for every r is gone."""
    odd = algebra.blades[r[0]].grade % 2
    reversed_sign = {term.source: term.sign for term in image(algebra, "reverse", r)}
    involuted = {term.source: term.sign if odd else 1 for term in image(algebra, "involute", x)}
    partial = product(algebra, "geometric", r, x)
    after: dict[int, list[Term]] = {}
    for term in product(algebra, "geometric", {term.out for term in partial}, r):
        after.setdefault(term.left, []).append(term)
    total: dict[tuple[int, int, int, int], int] = {}
    for one in partial:
        for two in after.get(one.out, ()):
            key = (two.out, one.right, min(one.left, two.right), max(one.left, two.right))
            sign = one.sign * two.sign * reversed_sign[two.right] * involuted[one.right]
            total[key] = total.get(key, 0) + sign
    return tuple(Conjugation(*key, coefficient) for key, coefficient in sorted(total.items()) if coefficient)


def blades_of(algebra: Algebra, grades: Iterable[int]) -> tuple[int, ...]:
    """The indices of the blades of these grades, in storage order."""
    wanted = frozenset(grades)
    return tuple(i for i, blade in enumerate(algebra.blades) if blade.grade in wanted)


def paths_of(algebra: Algebra, sides: Sequence[tuple[int, ...]], order: tuple[str, ...]) -> tuple[Path, ...]:
    """The paths of one or two operands with these grades."""
    return tuple((grade,) for grade in sides[0]) if len(sides) == 1 else paths(algebra, sides[0], sides[1], order)


def paths(algebra: Algebra, left: Iterable[int], right: Iterable[int], order: tuple[str, ...]) -> tuple[Path, ...]:
    """The (left, out, right) grades with a nonzero geometric product, sorted by the grades that `order` names."""
    grade = [blade.grade for blade in algebra.blades]
    terms = product(algebra, "geometric", blades_of(algebra, left), blades_of(algebra, right))
    position = [("left", "out", "right").index(name) for name in order]
    found = {(grade[term.left], grade[term.out], grade[term.right]) for term in terms}
    return tuple(sorted(found, key=lambda path: tuple(path[i] for i in position)))


@lru_cache(maxsize=64)
def _products(algebra: Algebra, kind: str) -> tuple[Term, ...]:
    from kingdon import operators

    symbolic = _kingdon(algebra)
    result = getattr(operators, PRODUCTS[kind])(_generic(symbolic, "x"), _generic(symbolic, "y"))
    at = {blade.mask: (i, blade.sign) for i, blade in enumerate(algebra.blades)}
    terms = []
    for mask, polynomial in result.items():
        for coefficient, first, second in _monomials(polynomial):
            (out, s), (left, t), (right, u) = at[mask], at[int(first[1:])], at[int(second[1:])]
            terms.append(Term(out, left, right, s * t * u * int(coefficient)))
    return tuple(sorted(terms))


@lru_cache(maxsize=64)
def _images(algebra: Algebra, kind: str) -> tuple[Image, ...]:
    from kingdon import operators

    result = getattr(operators, MAPS[kind])(_generic(_kingdon(algebra), "x"))
    at = {blade.mask: (i, blade.sign) for i, blade in enumerate(algebra.blades)}
    terms = []
    for mask, polynomial in result.items():
        for coefficient, symbol in _monomials(polynomial):
            (out, s), (source, t) = at[mask], at[int(symbol[1:])]
            terms.append(Image(out, source, s * t * int(coefficient)))
    return tuple(sorted(terms))


def _kingdon(algebra: Algebra) -> "kingdon.Algebra":
    """kingdon's algebra of the same metric: signature and first index are always explicit."""
    from kingdon import Algebra as Kingdon

    return Kingdon(signature=list(algebra.squares), start_index=algebra.first)


def _generic(symbolic: "kingdon.Algebra", letter: str) -> Any:
    """A multivector with all blades; its coefficients are symbols named by letter and mask."""
    masks = tuple(symbolic.canon2bin.values())
    values = [symbolic.codegen_symbolcls(f"{letter}{mask}") for mask in masks]
    return symbolic.mvtype.fromkeysvalues(symbolic, masks, values, raw=True)


def _monomials(polynomial: Any) -> list[tuple[Any, ...]]:
    """(coefficient, symbol, ...) of a polynomial, by kingdon 3.0.0's attribute; x symbols come before y symbols."""
    return [(term[0], *sorted(term[1:])) for term in polynomial.numer.args]
