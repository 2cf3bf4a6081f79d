"""kingdon's factoring beside kgen's: it is taken where it has fewer instructions, and told in any case."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from test_stages import text_of, weighted_product

from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.cost import cost
from kgen.graph.isolation import MOST_TERMS, isolate
from kgen.graph.node import Node, postorder
from kgen.graph.simplify import simplify
from kgen.schedule.factoring import best
from kgen.spec.load import load

ROOT = Path(__file__).parents[2]


def inputs(b: Builder, *names: str) -> list[Node]:
    return [b.input(name, 0, ["n"]) for name in names]


def test_the_gradients_of_the_weighted_product_of_the_plane() -> None:
    """kingdon isolates 14 subexpressions; kgen's factoring takes four more multiplications and two more additions."""
    graph = weighted_product((2, 0, 0))
    backward = differentiate(graph, ["x", "y", "weight"])
    fields, (taken, other) = best(backward.builder, backward.roots)
    assert (taken.by, taken.temporaries, str(taken.cost)) == ("kingdon", 14, "64 mul + 36 add")
    assert (other.by, str(other.cost)) == ("kgen", "68 mul + 38 add")
    assert cost(fields) == taken.cost


def test_what_kingdon_gets_wrong_is_no_candidate() -> None:
    """It takes a - 2 c out of sums in which there are other multiples of a and c, and counts a b twice in a square."""
    b = Builder()
    a, c, p, q, r = inputs(b, "a", "c", "p", "q", "r")
    scaled = [b.linear([(1, b.mul(a, x)), (-size, b.mul(c, x))]) for x, size in ((p, 2), (q, 2), (r, 1))]
    square = [b.add(b.mul(a, a), b.mul(a, c), b.mul(c, c)), b.add(b.mul(a, r), b.mul(c, r))]
    for roots in (scaled, square):
        fields, _ = best(b, roots)
        assert value_of(fields) == value_of(roots)
    assert isolate(b, scaled) is None or isolate(b, square) is None


def test_random_polynomials_keep_their_values() -> None:
    """Exactly, and kingdon's are taken for many."""
    drawn = random.Random(3)
    taken: list[str] = []
    for _ in range(400):
        b = Builder()
        leaves = inputs(b, *"xyzuvw")
        terms = [
            [(drawn.choice((1, -1, 2, -2, 3)), b.mul(*drawn.choices(leaves, k=2))) for _ in range(4)] for _ in "abc"
        ]
        roots = [b.linear(each) for each in terms]
        fields, candidates = best(b, roots)
        assert value_of(fields) == value_of(roots)
        taken.append(candidates[0].by)
    assert taken.count("kingdon") > 20


def value_of(fields: Sequence[Node]) -> list[Fraction]:
    """The fields at a point, exactly."""
    values: dict[Node, Fraction] = {}
    for node in postorder(fields):
        if node.kind == "Input":
            values[node] = Fraction(sum(map(ord, node.tensor)), 7)
        elif node.kind == "Const":
            values[node] = Fraction(node.value)
        elif node.kind == "Mul":
            values[node] = math.prod((values[a] for a in node.args), start=Fraction(1))
        else:
            values[node] = sum((c * values[a] for c, a in node.terms), Fraction(0))
    return [values[field] for field in fields]


def test_a_tie_is_ours() -> None:
    graph = weighted_product((2, 0, 0))
    fields, (taken, other) = best(graph.builder, graph.roots)
    assert (taken.by, other.by) == ("kgen", "kingdon") and taken.cost == other.cost
    assert fields == simplify(graph.builder, graph.roots)


def test_a_number_that_terms_share_is_isolated() -> None:
    b = Builder()
    x, y, z, w = inputs(b, "x", "y", "z", "w")
    roots = [b.linear([(2, b.mul(x, y)), (2, b.mul(z, w))]), b.linear([(2, b.mul(x, w)), (-2, b.mul(z, y))])]
    fields = isolate(b, roots)
    assert fields and cost(fields).multiplications == 6 and cost(roots).multiplications == 8


def test_fractions_are_no_coefficients() -> None:
    """kingdon would divide by them and lose them."""
    b = Builder()
    x, y, z = inputs(b, "x", "y", "z")
    half = b.scale(Fraction(1, 2), b.mul(x, y))
    roots = [b.add(half, b.mul(x, z)), b.add(half, b.mul(y, z))]
    assert isolate(b, roots) == roots


def test_what_is_too_much_to_look_through() -> None:
    b = Builder()
    names = inputs(b, *(f"x{i}" for i in range(30)))
    products = [b.mul(x, y) for i, x in enumerate(names) for y in names[i + 1 :]]
    assert len(products) * 2 > MOST_TERMS
    assert isolate(b, [b.add(*products[: MOST_TERMS // 4]), b.add(*products[1 : MOST_TERMS // 4])]) is not None
    assert isolate(b, [b.add(*products), b.sub(b.add(*products[:-1]), products[-1])]) is None
    assert isolate(b, [b.add(*products[:3])]) is None, "nothing is shared with a single field"


@pytest.mark.parametrize(("kernel", "taken"), [("sgp", "kingdon"), ("geometric_product", "kgen")])
def test_show_tells_both(kernel: str, taken: str) -> None:
    text = text_of(load(str(ROOT / "specs" / "vga2d.yaml")), "kernels", kernel)
    told = [line for line in text.splitlines() if line.startswith("  factored by ")]
    assert told and any(line.startswith(f"  factored by {taken} ") for line in told)
    assert all("; by k" in line for line in told)
