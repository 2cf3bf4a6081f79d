"""Factoring: at each step the one that serves most terms, found without a look at all others."""

import random
from collections import Counter
from itertools import combinations
from unittest.mock import patch

import pytest

from kgen.graph import simplify as simplification
from kgen.graph.builder import Builder
from kgen.graph.cost import cost, operations
from kgen.graph.node import Node
from kgen.graph.simplify import IN_SUM, Key, Polynomials, simplify
from kgen.schedule.factoring import best

Factoring = simplification._Factoring


def drawn_sums(seed: int) -> tuple[Builder, list[Node]]:
    drawn, b = random.Random(seed), Builder()
    leaves = [b.input(name, 0, "n") for name in "uvwxyz"]
    sizes = [drawn.choice((2, 5, 9)) for _ in range(drawn.choice((1, 2, 4)))]
    terms = [[b.mul(*drawn.choices(leaves, k=drawn.choice((2, 3, 4)))) for _ in range(size)] for size in sizes]
    return b, [b.linear((drawn.choice((1, -1, 2)), x) for x in each) for each in terms]


def served(state: Factoring) -> Counter[Key]:
    """How many terms each step would serve, counted anew."""
    found = Counter[Key]()
    for number, terms in enumerate(state.sums):
        for _, _, factors in (state.terms[t] for t in terms):
            if len(factors) > 1:
                found.update({*combinations(factors, 2), *((IN_SUM + number, f) for f in factors)})
    return found


@pytest.mark.parametrize("seed", range(12))
def test_each_step_serves_most_terms(seed: int) -> None:
    b, roots = drawn_sums(seed)
    taken: list[Key] = []

    class Watched(Factoring):
        def _take(self, key: Key) -> list[int]:
            found = served(self)
            assert key == min(found, key=lambda step: (-found[step], step)) and found[key] > 1
            taken.append(key)
            return super()._take(key)

    state = Watched(Polynomials(b, roots))
    state.factored()
    assert taken and max(served(state).values()) == 1, "nothing is left that would save a multiplication"


def test_what_is_a_part_of_another_sum_is_no_sum_of_its_own() -> None:
    b = Builder()
    x, y, z = (b.input(name, 0, "n") for name in "xyz")
    inner = b.add(b.mul(x, y), z)
    whole = b.add(b.call("exp", z), b.scale(3, inner))
    assert list(Polynomials(b, [whole]).found) == [whole]
    assert list(Polynomials(b, [whole, inner]).found) == [inner, whole], "a result is"


def test_polynomials_are_read_once_for_both_factorings() -> None:
    b, roots = next(drawn for drawn in map(drawn_sums, range(12)) if len(drawn[1]) > 1)
    with patch.object(simplification, "Polynomials", side_effect=Polynomials) as read:
        simplify(b, roots)
        assert len(best(b, roots)[1]) == 2, "kingdon was asked"
    assert read.call_count == 1


def test_what_was_weighed_is_not_counted_again() -> None:
    b, roots = drawn_sums(0)
    with patch("kgen.graph.cost.operations", side_effect=operations) as counted:
        first = cost(roots)
        asked = counted.call_count
        assert cost(tuple(roots)) == first and counted.call_count == asked > 0
        assert cost(roots[:0]).total == 0 and cost([*roots, b.mul(*roots, *roots)]).total > first.total
