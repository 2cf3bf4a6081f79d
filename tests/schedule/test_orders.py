"""Memory orders of the factors of matrix products: which are turned or copied for tf32, which are left, and why.

Here are the decisions, by structure alone. That values are right in either order, and that dtypes and extents choose
between them, is shown in `test_contractions.py` and in the proofs of the modules.
"""

from collections.abc import Mapping

import pytest
from handmade import one

from kgen.schedule.products import MATRIX, Product, Way
from kgen.schedule.program import Program
from kgen.schedule.schedule import schedule
from kgen.trace.trace import trace

FITS, TURNED, COPIED, KEPT = Way
XYW = {"x": "multivector", "y": "multivector", "w": "weights(x, y)[n, m]"}


def programs(
    inputs: Mapping[str, str | list[str]], body: str, signature: tuple[int, int, int] | None = None
) -> tuple[Program, ...]:
    spec = one(signature, inputs, body)
    return schedule(trace(spec, spec.kernels[0], {}), tuple(inputs), order=1)


def ways(products: tuple[Product, ...]) -> list[tuple[str, int, Way, Way]]:
    """What each product contracts, how many fields its rows have, and what is done about its factors."""
    return [(" ".join(p.shape.contracted), p.counts[0], p.left.way, p.right.way) for p in products]


@pytest.mark.parametrize("body", ["return fcgp(x, y, w)", "return grade_rms_norm(fcgp(x, y, w))"])
def test_fully_connected(body: str) -> None:
    """Factors that kernels store are turned; the cotangents, which lie otherwise, are copied."""
    plane, space = (programs(XYW, body, signature) for signature in ((2, 0, 0), (3, 0, 0)))
    assert {w[1:] for w in ways(plane[0].products)} == {(1, FITS, TURNED), (2, FITS, TURNED)}
    assert {w[1:] for w in ways(space[0].products)} == {(1, FITS, TURNED), (3, FITS, TURNED)}
    assert {w[2:] for w in ways(plane[1].products) if w[0] == "m"} == {(FITS, FITS)}
    assert {w[1:] for w in ways(plane[1].products) if w[0] == "b"} == {(3, TURNED, COPIED), (4, TURNED, COPIED)}
    assert {w[1:] for w in ways(space[1].products) if w[0] == "b"} == {(4, TURNED, COPIED), (6, TURNED, COPIED)}


@pytest.mark.parametrize(
    ("signature", "sizes"),
    [
        ((2, 0, 0), {(1, 3): 2, (2, 4): 1}),
        ((3, 0, 0), {(1, 4): 2, (3, 6): 2}),
        ((3, 0, 1), {(1, 4): 1, (4, 8): 2, (6, 9): 1, (1, 5): 1}),
    ],
    ids=str,
)
def test_products_of_one_size(signature: tuple[int, int, int], sizes: dict[tuple[int, int], int]) -> None:
    """Grades with as many blades and paths as their duals are one batch: (blades, paths) of each, and how many."""
    for program in programs(XYW, "return grade_rms_norm(fcgp(x, y, w))", signature):
        for axis in dict.fromkeys(p.shape.contracted for p in program.products):
            found = [p for p in program.products if p.shape.contracted == axis]
            blades, paths = {"n": (0, 1), "m": (0, 2), "b": (1, 0)}[axis[0]]
            assert {(p.counts[blades], p.counts[paths]): p.batch for p in found} == sizes


def test_products_that_lie_apart() -> None:
    """Results and cotangents that are fields of one tensor, with others between them: nothing is copied for a batch."""
    for program in programs(XYW, "return fcgp(x, y, w)", (3, 0, 0)):
        assert program.products and all(p.batch == 1 for p in program.products)


def test_products_for_different_results() -> None:
    """Each gradient alone: none is computed because another is wanted."""
    inputs = {"x": ["b", "n"], "y": ["b", "n"], "v": ["n", "m"], "w": ["n", "m"]}
    forward, backward = programs(inputs, "return exp(dot(exp(x), exp(v), over=n)) * exp(dot(exp(y), exp(w), over=n))")
    assert [p.batch for p in forward.products] == [2]
    assert [p.batch for p in backward.products] == [1] * 4


def test_saved_products() -> None:
    """A forward has all of its results, and what it saves of them lies as a product writes it: nothing is copied."""
    inputs = {"x": ["b", "n"], "y": ["b", "n"], "v": ["n", "m"], "w": ["n", "m"]}
    body = "p = dot(exp(x), exp(v), over=n)\nq = dot(exp(y), exp(w), over=n)\nreturn exp(p) * q, exp(q)"
    forward, _ = programs(inputs, body)
    assert [(p.batch, p.result) for p in forward.products] == [(2, *forward.saved)]


def test_products_that_are_not_saved() -> None:
    """Of two products of one size the backward reads one: the other is not kept for it."""
    inputs = {"x": ["b", "n"], "y": ["b", "n"], "v": ["n", "m"], "w": ["n", "m"]}
    forward, _ = programs(inputs, "return tanh(dot(exp(x), exp(v), over=n)) + dot(exp(y), exp(w), over=n)")
    assert [t.dims for t in forward.saved] == [("b", "m")]


def test_saved_grades() -> None:
    """In Cl(2,0): what two products of one grade make is saved as it lies, though results read one each."""
    inputs = XYW | {"v": "weights(x, y)[n, m]"}
    forward, _ = programs(inputs, "z = fcgp(gelu(x), y, v)\nreturn z * fcgp(x, y, w), grade_rms_norm(z)", (2, 0, 0))
    assert {p.result.name for p in forward.products} == {t.name for t in forward.saved if t.dtype == MATRIX}


def test_only_maps_turn() -> None:
    """A kernel that holds whole rows, or runs over a flat tensor, stores in its own order."""
    _, backward = programs(XYW, "return grade_rms_norm(fcgp(x, y, w))", (2, 0, 0))
    turning = [k for k in backward.kernels if k.turning]
    assert turning and all(k.kind == "map" and not k.flat and k.turning == "b" for k in turning)
    assert all("b innermost" in k.notes[-1] for k in turning)
    assert any(k.kind == "row" and o.tensor.dtype == "matrix" for k in backward.kernels for o in k.stores)


def test_what_lies_in_memory_is_read_there() -> None:
    """A linear map by grade, of all fields at once: only the weights are stored anew, once for each field."""
    forward, backward = programs({"x": "multivector", "w": "weights(x)[n, m]"}, "return mv_linear(x, w)", (2, 0, 0))
    assert ways(forward.products) == [("n", 1, FITS, TURNED)]
    assert sorted(ways(backward.products), key=str) == [("b", 1, KEPT, KEPT), ("m", 1, FITS, FITS)]
    assert all(p.batch == 4 for program in (forward, backward) for p in program.products)
    for program in (forward, backward):
        (weights,) = [o for k in program.kernels for o in k.stores if o.tensor.dtype == "matrix"]
        assert [f.component for f in weights.fields] == [0, 1, 1, 2]


def test_products_under_two_names() -> None:
    """The scalar of h is first read along k, and along m as its other components are: all are one batch."""
    inputs = {"x": "multivector", "w": "weights(x)[n, m]", "v": "weights(x)[k, m]"}
    body = "h = mv_linear(x, w)\nreturn h * mv_linear(rename(h.e * e1, axis=m, to=k), v)"
    forward, _ = programs(inputs, body, (2, 0, 0))
    assert [(p.batch, p.shape.columns) for p in forward.products] == [(4, ("m",)), (1, ("m",))]


def test_why_copied() -> None:
    """Of factors that are in memory, and are stored once more; not of what is computed, or is read as it lies."""
    inputs: dict[str, str | list[str]] = {"x": "multivector", "w": "weights(x)[n, m]", "v": ["b", "n"]}

    def copies(body: str, memory: str = "blade b n", **more: list[str]) -> set[str]:
        spec = one((2, 0, 0), inputs | more, body, memory=memory)
        (forward,) = schedule(trace(spec, spec.kernels[0], {}), tuple(inputs | more), order=0)
        return {note for p in forward.products for note in p.notes if " copied: " in note}

    beside = "copied: components are adjacent in memory, and no axis of a matrix of one is contiguous"
    repeated = "w copied: repeated, so that all that it is multiplied with is one batch"
    assert copies("return mv_linear(x, w)") == {repeated}
    assert copies("return dot(v, u, over=n)", u=["n", "m"]) == set()
    assert copies("return mv_linear(x, w)", "... n blade") == {f"x {beside}", repeated}
    assert copies("return mv_linear(x * x, w)") == {repeated}


def test_products_that_are_not_done_at_once() -> None:
    """Of different factors, of several pairs, or of factors that do not lie in their order."""
    inputs = {"x": ["b", "n"], "y": ["b", "n"], "v": ["n", "m"], "w": ["n", "m"]}
    for body in (
        "return dot(x, v, over=n), dot(y, w, over=n)",
        "return dot(x, v, over=n) + dot(y, w, over=n), dot(y, v, over=n)",
        "return dot(x, v, over=n), dot(y, w, over=n), dot(x, v * w, over=n)",
    ):
        for program in programs(inputs, body):
            assert program.products and all(p.batch == 1 for p in program.products)


def test_beside_a_transposed_factor() -> None:
    """With x as it is, turning what is stored beside it would gain little: the product is as fast as x is read."""
    body = "return dot(basis * exp(mass), x, over=v)"
    forward, _ = programs({"x": ["v", "c"], "basis": ["v", "k"], "mass": ["v"]}, body)
    assert ways(forward.products) == [("v", 1, KEPT, KEPT)]
    assert not any(k.turning for k in forward.kernels)


@pytest.mark.parametrize("over", ["m", "n"])
def test_reduced_factors(over: str) -> None:
    """What a row kernel stores, or what follows a fold, is not turned."""
    inputs = {"x": ["b", "n"], "w": ["n", "m"]}
    forward, _ = programs(inputs, f"return dot(exp(x), w * sum(w * w, over={over}), over=n)")
    assert [w[2:] for w in ways(forward.products)] == [(FITS, KEPT)]
    assert {"m": "row", "n": "fold"}[over] in [k.kind for k in forward.kernels]
    assert not any(k.turning for k in forward.kernels)


def test_batches_of_matrices() -> None:
    """Both factors are stored with the contracted axis where it comes to lie."""
    inputs = {"x": ["b", "v", "c"], "y": ["b", "v", "k"]}
    forward, _ = programs(inputs, "return dot(exp(x), exp(y), over=v)")
    assert ways(forward.products) == [("v", 1, KEPT, KEPT)]


def test_one_factor_in_two_orders() -> None:
    """It is contracted along either axis, and each product reads it in its own order."""
    inputs = {"x": ["b", "n"], "w": ["n", "m"], "y": ["b", "m"]}
    forward, _ = programs(inputs, "return dot(exp(x), exp(y), over=b), dot(exp(x), w, over=n)")
    found = {p.shape.contracted: (p.left, p.right) for p in forward.products}
    assert [operand.way for operand in found["b",]] == [TURNED, TURNED]
    assert found["n",][0].way is FITS and not found["n",][0].tensor.split
    assert found["b",][0].tensor.split


@pytest.mark.parametrize("memory", ["blade b n", "b n blade"])
def test_what_folds_reload(memory: str) -> None:
    """A fold with many fields says that it reloads what rows share only where it does: adjacent components."""
    body = "return sum(c * x * y, over=b), sum(y * x, over=b), sum(c * x, over=b), sum(c * y, over=b)"
    inputs: dict[str, str] = {"x": "multivector", "y": "multivector", "c": "multivector[n]"}
    spec = one((3, 0, 1), inputs, body, memory=memory)
    ((kernel,),) = (program.kernels for program in schedule(trace(spec, spec.kernels[0], {}), []))
    assert kernel.crowded and any("reloads" in note for note in kernel.notes) == (memory == "b n blade")
