"""Fields one after the other along an axis: what is made of them is made of their parts, and so are tensors."""

import pytest

from kgen.errors import KgenError
from kgen.graph.autodiff import differentiate
from kgen.graph.builder import Builder
from kgen.graph.graph import Graph, Output, parts, verify
from kgen.graph.node import Node, postorder
from kgen.graph.tensor import Lookup, Slice, Tensor

AXES = ("b", "n", "p", "k", "o")


def fields(b: Builder) -> tuple[Node, ...]:
    """x along b and n, y along b and p, a along k, s along b."""
    dims = {"x": ("b", "n"), "y": ("b", "p"), "a": ("k",), "s": ("b",)}
    return tuple(b.input(b.declare(Tensor(name, along)).name, 0, along) for name, along in dims.items())


def test_functions_and_sums_go_into_the_parts() -> None:
    b = Builder()
    x, y, a, s = fields(b)
    both = b.cat([x, y], ["n", "p"], "k")
    assert both.axes == {"b", "k"}
    gated = b.mul(b.call("tanh", b.add(both, s)), a)
    first, second = (b.input(f"a_k{i}", 0, axis) for i, axis in enumerate("np"))
    expected = [b.mul(b.call("tanh", b.add(part, s)), w) for part, w in ((x, first), (y, second))]
    assert gated is b.cat(expected, ["n", "p"], "k")
    assert b.sum(gated, ["k"]) is b.add(b.sum(expected[0], ["n"]), b.sum(expected[1], ["p"]))
    assert b.sum(gated, ["b"]) is b.cat([b.sum(part, ["b"]) for part in expected], ["n", "p"], "k")
    assert b.max(both, ["k"]) is b.call("maximum", b.max(x, ["n"]), b.max(y, ["p"]))
    assert b.sub(both, both) is b.zero
    assert not any("Cat" in {arg.kind for arg in node.args} for node in b.nodes)


def test_a_part_of_a_tensor_lies_behind_those_before_it() -> None:
    b = Builder()
    x, y, *_ = fields(b)
    w = Tensor("w", (3, "k", "o"), ("0", "1", "2"))
    both = b.cat([x, y], ["n", "p"], "k")
    b.mul(both, b.input(b.declare(w).name, 1, w.axes))
    part = b.tensors["w_k1"]
    assert (part.dims, part.source, part.slices) == ((3, "p", "o"), "w", (Slice(1, "k", ("n", "p"), 1),))
    assert part.strided == w.dims


def test_a_cat_of_a_cat_is_one_of_all_parts() -> None:
    b = Builder()
    x, y, *_ = fields(b)
    z = b.cat([b.cat([x, y], ["n", "p"], "k"), x], ["k", "n"], "o")
    assert z is b.cat([x, y, x], ["n", "p", "n"], "o") and z.along == ("o", ("n", "p", "n"))


def test_the_gradient_of_what_is_read_in_parts_is_stored_in_parts() -> None:
    b = Builder()
    x, y, a, _ = fields(b)
    total = b.sum(b.mul(b.cat([x, y], ["n", "p"], "k"), a), ["k"])
    inputs = tuple(b.tensors[name] for name in "xya")
    graph = Graph("f", AXES, inputs, (), (Output(Tensor("out", ("b",)), (total,)),), b)
    gradient = differentiate(graph, ["x", "a"])
    verify(gradient)
    assert [t.name for t in gradient.results] == ["grad_x", "grad_a"]
    assert [(o.tensor.name, o.tensor.memory) for o in gradient.outputs[1:]] == [
        ("grad_a_k0", "grad_a"),
        ("grad_a_k1", "grad_a"),
    ]
    again = differentiate(gradient, ["x", "y", "a", "grad_out"])
    verify(again)
    assert "Cat" not in {node.kind for node in postorder(again.roots)}


def test_a_result_along_two_joined_axes_has_a_part_for_each_two() -> None:
    b = Builder()
    x, y, *_ = fields(b)
    inner = b.cat([x, y], ["n", "p"], "k")
    rows = b.cat([inner, b.mul(inner, inner)], ["b", "b"], "o")
    found = parts(b, Output(Tensor("out", ("o", "k")), (rows,)))
    assert [(o.tensor.name, o.tensor.dims) for o in found] == [
        ("out_k0_o0", ("b", "n")),
        ("out_k0_o1", ("b", "n")),
        ("out_k1_o0", ("b", "p")),
        ("out_k1_o1", ("b", "p")),
    ]
    assert [o.fields[0] for o in found] == [x, b.mul(x, x), y, b.mul(y, y)]


def test_an_axis_of_a_part_is_none_beside_the_whole() -> None:
    b = Builder()
    x, y, *_ = fields(b)
    both = b.cat([x, y], ["n", "p"], "k")
    with pytest.raises(KgenError, match=r"k is made of n \+ p: beside it no value varies along n"):
        b.mul(both, x)
    w = b.declare(Tensor("w", ("n", "k")))
    bound = b.sum(b.mul(x, b.input("w", 0, w.axes)), ["n"])
    with pytest.raises(KgenError, match="no value varies along n"):
        b.add(both, bound)


def test_no_index_goes_along_a_joined_axis_or_into_it() -> None:
    """Of a part it would be another index; a whole beside it may be looked up."""
    b = Builder()
    x, y, a, _ = fields(b)
    both = b.cat([x, y], ["n", "p"], "k")
    with pytest.raises(KgenError, match=r"i is an index along e into k, and k is made of n \+ p") as refused:
        b.gather(both, Lookup("e", "k", "i"))
    assert refused.value.hint == "gather, or add, before the cat"
    with pytest.raises(KgenError, match="j is an index along k into o"):
        b.segment(both, Lookup("k", "o", "j"))
    spread = b.gather(b.input(b.declare(Tensor("u", ("o",))).name, 0, ("o",)), Lookup("k", "o", "j"))
    with pytest.raises(KgenError, match="j is an index along k into o"):
        b.mul(both, spread)
    assert b.gather(both, Lookup("e", "b", "r")).axes == {"e", "k"}
    assert b.gather(a, Lookup("e", "k", "i")).axes == {"e"}
