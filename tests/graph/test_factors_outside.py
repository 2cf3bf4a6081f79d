"""Which sums of products are products of matrices where factors stand outside of a sum."""

import pytest
import torch
from evaluate import evaluate

from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output, verify
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Tensor
from kgen.spec.load import load
from kgen.trace.trace import trace

AXES = ("b", "n", "m")


def fields(b: Builder, names: str, *axes: str) -> list[Node]:
    return [b.input(b.declare(Tensor(name, axes)).name, 0, axes) for name in names]


def kinds(*roots: Node) -> list[str]:
    return [node.kind for node in postorder(roots)]


def test_a_factor_outside_of_a_sum_goes_into_its_terms() -> None:
    b = Builder()
    (g, u, v), (x, y) = fields(b, "guv", "n", "m"), fields(b, "xy", "b", "n")
    found = b.sum(b.mul(g, b.add(b.mul(u, x), b.mul(v, y))), ["n"])
    assert found.kind == "Dot"
    assert {frozenset(pair) for pair in found.pairs} == {frozenset((x, b.mul(g, u))), frozenset((y, b.mul(g, v)))}


def test_so_do_several_on_either_side_and_coefficients() -> None:
    b = Builder()
    (g, u, v), (x, y, z) = fields(b, "guv", "n", "m"), fields(b, "xyz", "b", "n")
    inner = b.linear([(3, b.mul(u, x)), (-0.5, b.mul(v, y))])
    nested = b.mul(g, b.add(b.mul(z, b.mul(u, x)), b.mul(g, inner)))
    found = b.sum(nested, ["n"])
    assert "Sum" not in kinds(found) and kinds(found).count("Dot") == 1
    (s,) = fields(b, "s", "n")
    assert "Sum" not in kinds(b.sum(b.mul(s, g, inner), ["n"]))


def test_what_varies_along_all_axes_stays_outside() -> None:
    """Else a product of two sums would be as many products of matrices as both have terms, multiplied."""
    b = Builder()
    (u, v), (x, y) = fields(b, "uv", "n", "m"), fields(b, "xy", "b", "n")
    first, second = b.add(b.mul(u, x), b.mul(v, y)), b.sub(b.mul(u, y), b.mul(v, x))
    assert b.sum(b.mul(first, second), ["n"]).kind == "Sum"
    (f,) = fields(b, "f", "b", "n", "m")
    assert b.sum(b.mul(f, first), ["n"]).kind == "Sum"


def test_factors_of_both_sides_go_into_a_sum() -> None:
    """As in the distance of two points, whose squares stand before the other one's sum of squares."""
    b = Builder()
    (u, v, s), (x, y, t) = fields(b, "uvs", "n", "m"), fields(b, "xyt", "b", "n")
    assert b.sum(b.mul(s, t, b.add(b.mul(u, x), b.mul(v, y))), ["n"]).kind == "Dot"


def test_a_factor_without_the_batch_is_of_one_side() -> None:
    """A weight of each head: queries and keys are those of a batch and a head all the same."""
    b = Builder()
    (q,), (k,), (w,) = fields(b, "q", "b", "h", "s", "c"), fields(b, "k", "b", "h", "t", "c"), fields(b, "w", "h", "c")
    found = b.sum(b.mul(w, q, k), ["c"])
    assert found.kind == "Dot" and found.axes == {"b", "h", "s", "t"}
    assert {frozenset(x.axes) for x in found.pairs[0]} == {frozenset("bhsc"), frozenset("bhtc")}


def test_a_sum_with_a_term_that_has_no_sides_stays_whole() -> None:
    b = Builder()
    (g, u), (x,), (f,) = fields(b, "gu", "n", "m"), fields(b, "x", "b", "n"), fields(b, "f", "b", "n", "m")
    assert kinds(b.sum(b.mul(g, b.add(b.mul(u, x), f)), ["n"])).count("Dot") == 0


def test_a_term_along_fewer_axes_is_summed_by_itself() -> None:
    """It lacks the rows of the product, as what is learned for each feature does: its sum costs next to nothing."""
    b = Builder()
    (g, u), (x,), (e,) = fields(b, "gu", "n", "m"), fields(b, "x", "b", "n"), fields(b, "e", "n")
    found = b.sum(b.mul(g, b.add(b.mul(u, x), b.scale(3, b.mul(e, u)))), ["n"])
    dot, alone = (next(n for n in postorder([found]) if n.kind == kind) for kind in ("Dot", "Sum"))
    assert dot is b.sum(b.mul(g, u, x), ["n"]) and alone.axes == {"m"}
    assert {x for _, x in found.terms} == {dot, alone}


GROUP_ACTION = """\
kgen: 1
name: actions
algebra: {signature: [3, 0, SIGNATURE]}
layout: {multivector: [..., n, blade]}
kernels:
  action:
    inputs: {x: multivector, k: "even[m, n]", w: "[m, n]"}
    body: return sum(w * (k >> x), over=n)
"""


@pytest.mark.parametrize(("null", "count"), [(0, 8), (1, 16)])
def test_a_group_action_is_a_product_for_each_component(null: int, count: int) -> None:
    spec = load("specs/actions.yaml", GROUP_ACTION.replace("SIGNATURE", str(null)))
    graph = trace(spec, spec.kernels[0], {})
    verify(graph)
    assert [root.kind for root in graph.roots] == ["Dot"] * count and "Sum" not in kinds(*graph.roots)


def test_values_do_not_change() -> None:
    b = Builder()
    (g, u, v), (x, y) = fields(b, "guv", "n", "m"), fields(b, "xy", "b", "n")
    (e,) = fields(b, "e", "n")
    total = b.sum(b.mul(g, b.linear([(2, b.mul(u, x)), (-1, b.mul(v, y)), (3, b.mul(e, u))])), ["n"])
    graph = Graph("f", AXES, tuple(b.tensors.values()), (), (Output(Tensor("out", ("b", "m")), (total,)),), b)
    random = torch.Generator().manual_seed(3)
    extents = {"b": 3, "n": 5, "m": 4}
    drawn = {t.name: torch.randn([extents[axis] for axis in t.axes], generator=random).double() for t in graph.inputs}
    g_, u_, v_, x_, y_, e_ = (drawn[name] for name in "guvxye")
    expected = 2 * x_ @ (g_ * u_) - y_ @ (g_ * v_) + 3 * e_ @ (g_ * u_)
    torch.testing.assert_close(evaluate(graph, drawn, {}, {})["out"], expected, rtol=1e-12, atol=1e-12)
