"""Components that are adjacent in memory: which tensors are factors and results of matrix products as they lie."""

import pytest

from kgen.schedule.schedule import schedule
from kgen.spec.load import load
from kgen.trace.trace import private_grads, trace

SPEC = """\
kgen: 1
name: moved
algebra: {signature: [3, 0, 0]}
layout: {multivector: [b, n, blade]}
kernels:
  f:
    inputs: {x: "grades(1)", k: "even[m, n]", w: "[m, n]", v: "[m]", u: "[9, n, m]"}
    options: {scale: 2.0}
    order: 1
    body: return BODY
"""
VECTORS = "sum(w * (k >> x).grade(1), over=n)"


def factors(body: str) -> list[tuple[tuple[str, ...], str]]:
    """The tensors that each product multiplies, and the one that it makes; first forward, then backward."""
    spec = load("specs/moved.yaml", SPEC.replace("BODY", body))
    (kernel,) = spec.kernels
    programs = schedule(trace(spec, kernel, {}), private_grads(kernel), 1)
    products = [p for program in programs for p in program.products]
    return [(tuple(t.memory.rstrip("0123456789") for t in p.inputs), p.result.memory) for p in products]


def test_vectors_are_a_matrix_of_features_and_components() -> None:
    """So are their images, and the cotangents of both: the matrices of the pairs of features alone are stored."""
    found = factors(VECTORS)
    assert found[0] == (("x", "factor"), "out")
    assert (("grad_out", "factor"), "grad_x") in found[1:]
    assert any(sides == ("x", "grad_out") for sides, _ in found[1:])


def test_a_product_is_added_to_what_else_a_result_has() -> None:
    """It is stored in the result, as that lies, and the product is added there."""
    assert factors(f"{VECTORS} + v * (e1 + e2 + e3)")[0] == (("x", "factor"), "out")


def test_an_option_times_an_input_is_the_input() -> None:
    """The number goes to the side that is computed anyway."""
    assert factors(VECTORS.replace("x)", "(scale * x))"))[0] == (("x", "factor"), "out")


@pytest.mark.parametrize("changed", ["tanh(w) * u", "u"])
def test_inputs_that_lie_otherwise_are_not_copied_for_that(changed: str) -> None:
    """Weights whose components lie apart are read as they lie, and x is stored in that order; not what is computed."""
    name, blades = changed.removesuffix("u"), ("e1", "e2", "e3")
    rows = [" + ".join(f"{name}u[{3 * i + j}] * x.{blade}" for j, blade in enumerate(blades)) for i in range(3)]
    found = factors(" + ".join(f"{blade} * sum({row}, over=n)" for blade, row in zip(blades, rows)))
    assert (found[0][0][0] == "x") == bool(name)


def test_a_sum_that_rows_have_in_common_is_made_once() -> None:
    """Stored in the result, before the product is added, it would be made for each of its rows."""
    assert factors(f"{VECTORS} + sum(v * w, over=n) * (e1 + e2 + e3)")[0] == (("x", "factor"), "product")
