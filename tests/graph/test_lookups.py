"""What goes by an index, as nodes: what leaves the sum of a segment, what is one node, and what vanishes."""

import pytest

from kgen.graph.builder import Builder
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import INDEX, Lookup, Tensor
from kgen.graph.zeros import Zeros

SOURCE, TARGET = Lookup("e", "v", "source"), Lookup("e", "v", "target")


@pytest.fixture
def b() -> Builder:
    builder = Builder()
    for name, dims in (("x", ("v", "n")), ("w", ("e", "n")), ("u", ("n",)), ("z", ("v",))):
        builder.declare(Tensor(name, dims))
    for by in (SOURCE, TARGET):
        builder.declare(Tensor(by.tensor, (by.along,), dtype=INDEX))
    return builder


def read(b: Builder, name: str) -> Node:
    return b.input(name, 0, b.tensors[name].axes)


def kinds(node: Node, kind: str) -> list[Node]:
    return [n for n in postorder([node]) if n.kind == kind]


def test_what_has_no_positions_is_gathered_as_it_is(b: Builder) -> None:
    u, x = read(b, "u"), read(b, "x")
    assert b.gather(u, SOURCE) is u and b.gather(b.const(2), SOURCE) is b.const(2)
    assert b.gather(x, SOURCE).axes == {"e", "n"}
    assert b.gather(x, SOURCE) is b.gather(x, SOURCE) is not b.gather(x, TARGET)


def test_what_a_segment_shares_leaves_its_sum(b: Builder) -> None:
    """Its own position's fields, and what no place of the index tells apart; not what another index gathers."""
    x, w, u, z = (read(b, name) for name in ("x", "w", "u", "z"))
    sent = b.mul(w, b.gather(x, SOURCE))
    whole = b.mul(b.scale(-3, sent), u, b.gather(z, TARGET), b.gather(x, TARGET))
    assert b.segment(whole, TARGET) is b.scale(-3, b.mul(u, z, x, b.segment(sent, TARGET)))
    (left,) = kinds(b.segment(whole, SOURCE), "Segment")
    assert len(kinds(left, "Gather")) == 2, "those by the target"


def test_places_are_counted(b: Builder) -> None:
    count = b.segment(b.one, TARGET)
    assert count.kind == "Segment" and count.axes == {"v"}
    assert b.segment(b.mul(read(b, "u"), b.gather(read(b, "z"), TARGET)), TARGET) is b.mul(
        read(b, "u"), read(b, "z"), count
    )


def test_a_product_is_summed_term_by_term_if_that_takes_no_more_sums(b: Builder) -> None:
    x, w, z = read(b, "x"), read(b, "w"), read(b, "z")
    sent = [b.mul(w, b.gather(x, SOURCE)), b.gather(x, SOURCE)]
    own = [b.gather(x, TARGET), b.gather(z, TARGET)]
    both = [
        b.add(b.mul(sent[0], own[0]), b.mul(sent[1], own[1])),
        b.sub(b.mul(sent[0], own[1]), b.mul(sent[1], own[0])),
    ]
    made = b.segments(both, TARGET)
    assert {n for field in made for n in kinds(field, "Segment")} == {b.segment(s, TARGET) for s in sent}
    (alone,) = b.segments(both[:1], TARGET)
    assert alone is b.segment(both[0], TARGET), "one sum in place of two"


def test_what_vanishes(b: Builder) -> None:
    """Of sums of products the whole is looked at; what an index moves is zero where it is zero everywhere."""
    x, w = read(b, "x"), read(b, "w")
    zeros = Zeros(("e", "v", "n"))
    square = b.mul(b.add(x, b.one), b.add(x, b.one))
    nothing = b.linear([(1, square), (-1, b.mul(x, x)), (-2, x), (-1, b.one)])
    assert nothing is not b.zero and zeros.vanishes(nothing)
    assert zeros.vanishes(b.gather(nothing, SOURCE)) and zeros.vanishes(
        b.segment(b.mul(w, b.gather(nothing, SOURCE)), TARGET)
    )
    assert not zeros.vanishes(b.sub(b.gather(x, SOURCE), b.gather(x, TARGET)))
    assert not zeros.vanishes(b.sub(b.segment(w, SOURCE), b.segment(w, TARGET)))
