"""The arithmetic that formulas need, against figures that are derived by hand, and against what schedules do."""

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest
from handmade import one

from kgen.emit.host.registration import flops
from kgen.emit.variants import variants_of, work_of
from kgen.graph.builder import Builder
from kgen.graph.counts import counted, operations
from kgen.graph.node import Node, postorder
from kgen.schedule.device import H200
from kgen.schedule.limits import limits, numbers
from kgen.schedule.needed import BOTH, EXTENT, FORWARD, Work, instructions, needed
from kgen.spec.load import load
from kgen.trace.trace import private_grads, trace

ROOT = Path(__file__).parents[2]
SHIPPED = ("vga2d", "vga3d", "diffusion")
PAIR = {"x": "multivector", "y": "multivector"}


def work(
    inputs: Mapping[str, str | list[str]],
    body: str,
    signature: tuple[int, int, int] | None = None,
    options: Mapping[str, bool | float] | None = None,
) -> dict[str, Work]:
    spec = one(signature, inputs, body, options)
    return work_of(variants_of(spec, spec.kernels[0]))


@pytest.mark.parametrize("signature", [(2, 0, 0), (3, 0, 0), (3, 0, 1), (1, 3, 0)], ids=str)
def test_geometric_product(signature: tuple[int, int, int]) -> None:
    """Two blades meet unless they share a null generator; each gradient is a sum of as many products."""
    p, q, r = signature
    blades, pairs = 2 ** (p + q + r), 4 ** (p + q) * 3**r
    found = work(PAIR, "return x * y", signature)
    assert found[FORWARD] == {"b n": {"mul": pairs, "add": pairs - blades}}
    assert found[BOTH] == {"b n": {"mul": 3 * pairs, "add": 3 * (pairs - blades)}}


def test_a_layer_of_the_plane() -> None:
    """Gates: 2 phi, 8 products. The product: 10 weights by components of x, 16 products, 12 sums. Norms of 3 grades:
    4 squares, 1 sum within the vectors, 3 along n; at each b a mean, eps and a root; 4 products with the roots.
    """
    inputs, options = PAIR | {"w": "weights(x, y)"}, {"normalize": True, "eps": 1e-6}
    body = "out = sgp(gelu(x), gelu(y), w)\nreturn grade_rms_norm(out, eps=eps) if normalize else out"
    found = work(inputs, body, (2, 0, 0), options)[FORWARD]
    assert found == {
        "b n": {"mul": 8 + 10 + 16 + 4 + 4, "add": 12 + 1 + 3, "phi": 2},
        "b": {"mul": 3, "add": 3, "rsqrt": 3},
    }
    plain = work(inputs, body, (2, 0, 0), {**options, "normalize": False})[FORWARD]
    assert plain == {"b n": {"mul": 8 + 10 + 16, "add": 12, "phi": 2}}


@pytest.mark.parametrize(
    ("inputs", "body", "forward", "both"),
    [
        # e^x is its own derivative: its product with the cotangent is all that is added
        ({"x": ["n"]}, "return exp(x)", {"n": {"exp": 1}}, {"n": {"mul": 1, "exp": 1}}),
        ({"x": ["b", "n"]}, "return sum(x * x, over=n)", {"b n": {"mul": 1, "add": 1}}, None),
        # a gradient along fewer axes is a sum along the others
        (
            {"x": ["b", "n"], "w": ["n"]},
            "return w * x",
            {"b n": {"mul": 1}},
            {"b n": {"mul": 3, "add": 1}},
        ),
        # signs, abs and copies are free, and so is a number that scales what is scaled already
        ({"x": ["n"]}, "return -abs(x)", {}, None),
        ({"x": ["n"]}, "return maximum(x, 0.5)", {"n": {"maximum": 1}}, None),
        ({"x": ["n"], "y": ["n"]}, "return x / y", {"n": {"mul": 1, "reciprocal": 1}}, None),
        # one product of matrices forward, one for each gradient
        (
            {"x": ["b", "k"], "w": ["k", "n"]},
            "return dot(x, w, over=k)",
            {"b k n": {"product": 1}},
            {"b k n": {"product": 3}},
        ),
    ],
    ids=["exp", "sum", "weight", "sign", "maximum", "quotient", "product"],
)
def test_figures(inputs: Mapping[str, list[str]], body: str, forward: Work, both: Work | None) -> None:
    found = work(inputs, body)
    assert found[FORWARD] == forward
    assert both is None or found[BOTH] == both


def test_without_gradients_there_is_a_forward_alone() -> None:
    spec = one(None, {"x": ["n"]}, "return exp(x)")
    graph = trace(spec, spec.kernels[0], {})
    before = len(graph.builder.nodes)
    assert needed(graph, (), ()) == {FORWARD: {"n": {"exp": 1}}}
    assert len(graph.builder.nodes) == before, "to count leaves no trace"


def test_factors_of_few_axes_are_multiplied_first() -> None:
    """w v along n, and then twice along both axes."""
    b = Builder()
    factors = [b.input(name, 0, axes) for name, axes in (("w", "n"), ("r", "b"), ("v", "n"), ("x", "bn"), ("y", "bn"))]
    assert counted(operations([b.mul(*factors)])) == {frozenset("n"): {"mul": 1}, frozenset("bn"): {"mul": 3}}
    assert counted(operations([b.add(*factors)])) == {frozenset("n"): {"add": 1}, frozenset("bn"): {"add": 3}}


def test_what_other_names_of_axes_make_alike_is_counted_once() -> None:
    """A layer gates x along n, and the product of matrices reads it along k: these are the same numbers."""
    body = "g = gelu(x)\nreturn mv_linear(rename(g, axis=n, to=k), w) + g"
    found = work({"x": "multivector", "w": "weights(x)[k, n]"}, body, (2, 0, 0))
    assert found[FORWARD]["b n"]["phi"] == found[BOTH]["b n"]["phi"] == 1


def test_an_instruction_multiplies_and_adds() -> None:
    assert instructions({"mul": 5, "add": 3}) == instructions({"mul": 5}) == instructions({"add": 5}) == 5
    assert instructions({"mul": 5, "add": 3, "where": 2, "reciprocal": 1}) == 5 + 2 + 16
    assert instructions({"product": 3}) == 6


@pytest.mark.parametrize("name", SHIPPED)
def test_schedules_do_no_less(name: str) -> None:
    """At any extents a program has as many operations as its formula, or more; and gradients add to the forward."""
    spec = load(str(ROOT / "specs" / f"{name}.yaml"))
    for kernel in spec.kernels:
        variant = variants_of(spec, kernel)[0]
        found = needed(variant.forward.graph, private_grads(kernel), variant.programs)
        done = [total({" ".join(axes): {"add": n} for n, axes in flops(p)}) for p in variant.programs[:2]]
        assert 0 < total(found[FORWARD]) <= done[0]
        assert total(found[FORWARD]) < total(found[BOTH]) <= sum(done)


def total(of: Mapping[str, Mapping[str, int]]) -> int:
    """All operations where each axis has 64 elements, a product of numbers being two."""
    each = {axes: sum(n * (1 + (kind == "product")) for kind, n in kinds.items()) for axes, kinds in of.items()}
    return sum(count * prod(64 for _ in axes.split()) for axes, count in each.items())


def test_a_node_is_counted_once() -> None:
    spec = one(None, {"x": ["n"]}, "s = exp(x)\nreturn s * s + s")
    root: Node = trace(spec, spec.kernels[0], {}).roots[0]
    assert counted(operations(postorder([root, *root.args]))) == {frozenset("n"): {"exp": 1, "mul": 1, "add": 1}}


# what limits it


def test_instructions_a_byte() -> None:
    """Of the plane's product: 16 instructions for 12 numbers, and with the gradients 48 for 32."""
    spec = one((2, 0, 0), PAIR, "return x * y")
    graph, found = trace(spec, spec.kernels[0], {}), work(PAIR, "return x * y", (2, 0, 0))
    known = limits(graph, ("x", "y"), found)
    assert {d: limit.intensity for d, limit in known.items()} == {FORWARD: 16 / 48, BOTH: 48 / 128}
    assert limits(graph, ("x",), found)[BOTH].intensity == 48 / 112, "one gradient fewer is written"
    assert H200.intensity == pytest.approx(132 * 128 * 1.98e9 / 4.8e12)
    for share, binds in ((0.5, "bytes"), (2.0, "instructions")):
        device = replace(H200, bandwidth=H200.bandwidth * share / known[FORWARD].share(H200))
        assert known[FORWARD].share(device) == pytest.approx(share) and known[FORWARD].binds(device) == binds


def test_what_is_read_along_few_axes_is_few_bytes() -> None:
    """A weight is EXTENT times less than what it scales; products of matrices are no instructions."""
    spec = one(None, {"x": ["b", "k"], "w": ["k", "n"]}, "return dot(x, w, over=k)")
    graph = trace(spec, spec.kernels[0], {})
    assert numbers(graph.inputs) == 2 * EXTENT**2
    found = limits(graph, (), {FORWARD: {"b k n": {"product": 1}, "b n": {"mul": 3}}})
    assert found[FORWARD].intensity == 3 / 12
