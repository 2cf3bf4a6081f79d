"""The tables that kingdon gives, against counting swaps on lists of generators."""

from itertools import combinations, product

import pytest
from handmade import algebra

from kgen.errors import KgenError
from kgen.spec.model import Algebra
from kgen.trace import algebra as tables

SIGNATURES = [(2, 0, 0), (3, 0, 0), (3, 0, 1), (1, 3, 0), (2, 1, 0), (1, 1, 1), (0, 2, 1), (0, 0, 4)]
PERMUTED = "e e3 e1 e2 e31 e12 e23 e321"


def multiply(over: Algebra, a: int, b: int) -> tuple[int, int]:
    """e_A e_B as (mask, sign), by bubble sort of the generators."""
    word = [i for i in range(8) if a >> i & 1] + [i for i in range(8) if b >> i & 1]
    sign = 1
    for end in range(len(word) - 1, 0, -1):
        for i in range(end):
            if word[i] > word[i + 1]:
                word[i], word[i + 1] = word[i + 1], word[i]
                sign = -sign
    for i in {i for i in word if word.count(i) == 2}:
        sign *= over.squares[i]
    return a ^ b, sign


def keeps(kind: str, r: int, s: int, out: int) -> bool:
    return {"geometric": True, "outer": out == r + s, "inner": out == abs(r - s), "scalar": out == 0}[kind]


def cases() -> list[Algebra]:
    return [*(algebra(signature) for signature in SIGNATURES), algebra((3, 0, 0), PERMUTED)]


@pytest.mark.parametrize("over", cases(), ids=lambda a: "".join(map(str, a.signature)) + a.blades[-1].name)
@pytest.mark.parametrize("kind", ["geometric", "outer", "inner", "scalar"])
def test_products(over: Algebra, kind: str) -> None:
    every = range(len(over.blades))
    expected = []
    for (i, a), (j, b) in product(enumerate(over.blades), repeat=2):
        mask, sign = multiply(over, a.mask, b.mask)
        out = next(k for k, blade in enumerate(over.blades) if blade.mask == mask)
        if sign and keeps(kind, a.grade, b.grade, mask.bit_count()):
            expected.append((out, i, j, sign * a.sign * b.sign * over.blades[out].sign))
    assert list(tables.product(over, kind, every, every)) == sorted(expected)


def test_products_of_some_blades() -> None:
    over = algebra((3, 0, 0))
    vectors = tables.blades_of(over, (1,))
    terms = tables.product(over, "geometric", vectors, vectors)
    assert len(terms) == 9
    assert {over.blades[term.out].grade for term in terms} == {0, 2}


@pytest.mark.parametrize("over", cases(), ids=lambda a: "".join(map(str, a.signature)) + a.blades[-1].name)
def test_dualities(over: Algebra) -> None:
    whole = len(over.blades) - 1
    outer = {(t.left, t.right): t for t in tables.product(over, "outer", range(whole + 1), range(whole + 1))}
    for dual in tables.image(over, "dual", range(whole + 1)):
        wedge = outer[dual.source, dual.out]
        assert (wedge.out, wedge.sign * dual.sign) == (whole, over.blades[whole].sign), "e_A ^ dual(e_A) = e_1...n"
        back = tables.image(over, "undual", (dual.out,))
        assert [(t.out, t.sign) for t in back] == [(dual.source, dual.sign)]


@pytest.mark.parametrize("over", cases(), ids=lambda a: "".join(map(str, a.signature)) + a.blades[-1].name)
def test_regressive_is_the_outer_product_of_duals(over: Algebra) -> None:
    every = range(len(over.blades))
    dual = {t.source: t for t in tables.image(over, "dual", every)}
    undual = {t.source: t for t in tables.image(over, "undual", every)}
    outer = {(t.left, t.right): t for t in tables.product(over, "outer", every, every)}
    expected = []
    for i, j in product(every, repeat=2):
        wedge = outer.get((dual[i].out, dual[j].out))
        if wedge:
            back = undual[wedge.out]
            expected.append((back.out, i, j, dual[i].sign * dual[j].sign * wedge.sign * back.sign))
    assert list(tables.product(over, "regressive", every, every)) == sorted(expected)


@pytest.mark.parametrize(("kind", "negative"), [("reverse", {2, 3}), ("involute", {1, 3}), ("conjugate", {1, 2})])
def test_involutions(kind: str, negative: set[int]) -> None:
    over = algebra((0, 0, 4))
    signs = {over.blades[t.out].grade: t.sign for t in tables.image(over, kind, range(16)) if t.out == t.source}
    assert signs == {grade: -1 if grade % 4 in negative else 1 for grade in range(5)}


@pytest.mark.parametrize("signature", [(3, 0, 0), (1, 3, 0), (2, 1, 0)])
def test_polarity_times_pseudoscalar(signature: tuple[int, int, int]) -> None:
    over = algebra(signature)
    whole = len(over.blades) - 1
    for term in tables.image(over, "polarity", range(whole + 1)):
        mask, sign = multiply(over, over.blades[term.out].mask, over.blades[whole].mask)
        assert (mask, sign * term.sign) == (over.blades[term.source].mask, 1), "(x I^-1) I = x"


def test_polarity_refused() -> None:
    with pytest.raises(KgenError, match="I\\^2 = 0"):
        tables.image(algebra((3, 0, 1)), "polarity", range(16))


@pytest.mark.parametrize(
    ("signature", "count"),
    [((2, 0, 0), 10), ((3, 0, 0), 20), ((3, 0, 1), 34), ((1, 3, 0), 35), ((4, 1, 0), 56)],
)
def test_path_counts(signature: tuple[int, int, int], count: int) -> None:
    over = algebra(signature)
    grades = range(len(over.squares) + 1)
    assert len(tables.paths(over, grades, grades, ("left", "out", "right"))) == count


def test_path_order() -> None:
    over = algebra((3, 0, 0))
    flash = "000 011 022 033 101 110 112 121 123 132 202 211 213 220 222 231 303 312 321 330"
    found = tables.paths(over, range(4), range(4), ("left", "out", "right"))
    assert " ".join("".join(map(str, path)) for path in found) == flash
    other = tables.paths(over, range(4), range(4), ("left", "right", "out"))
    assert [flash.split().index("".join(map(str, path))) for path in other] == [
        *(0, 1, 2, 3, 5, 4, 7, 6, 9, 8, 13, 11, 15, 10, 14, 12, 19, 18, 17, 16)
    ]


@pytest.mark.parametrize("signature", SIGNATURES)
def test_sandwich_of_a_vector_and_even_or_odd(signature: tuple[int, int, int]) -> None:
    over = algebra(signature)
    vectors = tables.blades_of(over, (1,))
    for parity in (0, 1):
        r = tables.blades_of(over, range(parity, len(over.squares) + 1, 2))
        terms = tables.sandwich(over, r, vectors)
        assert terms or (parity and set(over.squares) == {0}), "in a Grassmann algebra odd elements anticommute"
        assert all(over.blades[t.out].grade in (1, 5) for t in terms), "r x ~r reverses to itself"
        assert all(t.first <= t.second and t.coefficient for t in terms)


def test_reflection() -> None:
    """e1 x̂ ~e1 keeps e2 and turns e1 around."""
    over = algebra((3, 0, 0))
    assert tables.sandwich(over, (1,), (1, 2)) == ((1, 1, 1, 1, -1), (2, 2, 1, 1, 1))


def test_largest_product() -> None:
    over = algebra((6, 0, 0))
    terms = tables.product(over, "geometric", range(64), range(64))
    assert len(terms) == 4096
    assert {(t.left, t.right) for t in terms} == set(product(range(64), repeat=2))


def test_outer_of_vectors_is_antisymmetric() -> None:
    over = algebra((1, 1, 1))
    signs = {(t.left, t.right): t.sign for t in tables.product(over, "outer", range(1, 4), range(1, 4))}
    for i, j in combinations(range(1, 4), 2):
        assert signs[i, j] == -signs[j, i]
