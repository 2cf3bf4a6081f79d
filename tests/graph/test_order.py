"""The order of sums and products: by names and form, by one sort for all fields below some roots."""

from unittest.mock import patch

import pytest

from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder
from kgen.graph.order import Order, words


@pytest.fixture
def builder() -> Builder:
    return Builder()


def inputs(b: Builder, *names: str, axes: str = "n") -> list[Node]:
    return [b.input(name, 0, axes) for name in names]


def test_terms_are_sorted_by_sign_and_name(builder: Builder) -> None:
    z, x, weight = inputs(builder, "z", "x", "weight")
    total = builder.linear([(-1, x), (2, weight), (3, z)])
    assert Order(builder, [total]).terms(total) == [(3, z), (2, weight), (-1, x)]


def test_factors_with_fewer_axes_come_first(builder: Builder) -> None:
    x, y = inputs(builder, "x", "y")
    (scale,) = inputs(builder, "zzz", axes="")
    product = builder.mul(y, x, scale)
    assert Order(builder, [product]).factors(product) == [scale, x, y]


def test_a_result_is_computed_after_the_named_fields_that_it_needs(builder: Builder) -> None:
    x, y = inputs(builder, "x", "y")
    late, early = builder.name(builder.mul(x, y), "q"), builder.name(builder.mul(x, x), "p")
    result = builder.call("exp", builder.linear([(1, late), (-1, early)]))
    found = Order(builder, [result]).evaluation([result])
    assert [n for n in found if n in (early, late)] == [early, late]
    assert found[-1] is result and set(found) == set(postorder([result]))


def test_what_a_product_is_sorted_by_are_the_first_names_of_its_factors(builder: Builder) -> None:
    """So a product of later names stands behind, whichever was made first."""
    a, b, c, d = inputs(builder, "a", "b", "c", "d")
    behind, before = builder.mul(c, d), builder.mul(a, b)
    total = builder.add(behind, before)
    assert [x for _, x in Order(builder, [total]).terms(total)] == [before, behind]


def test_fields_are_compared_once_however_often_they_are_sorted(builder: Builder) -> None:
    fields = inputs(builder, *"vwxyz")
    sums = [builder.add(*fields[i:], builder.mul(*fields[:3])) for i in range(3)]
    with patch.object(Order, "_sort_key", autospec=True, side_effect=Order._sort_key) as asked:
        order = Order(builder, sums)
        for total in sums * 4:
            order.terms(total)
        order.evaluation(sums)
    assert asked.call_count == len(postorder(sums))


def test_words_of_cotangents_come_first() -> None:
    assert sorted(["weight", "x", "grad_x", "x_e12", "x_e3"], key=words) == ["grad_x", "x", "x_e3", "x_e12", "weight"]
