"""Sums of a term for each grade, or number: what they mean, in graphs and references, and mistakes in them.

The layers that are written with them, through kernels, are in `tests/trace/test_grade_layers.py`.
"""

import pytest
import torch
from bodies import MV, Inputs
from handmade import one
from test_trace import run

from kgen.errors import KgenError, each
from kgen.graph.node import postorder
from kgen.reference import source as reference
from kgen.spec.load import load
from kgen.trace.trace import trace

TERMS: list[tuple[str, str, Inputs]] = [
    ("sum(x.grade(g) for g in x.grades)", "x * 1", MV),
    ("sum(w[g] * x.grade(g) for g in (2, 0))", "w[0] * x.grade(0) + w[2] * x.grade(2)", {**MV, "w": "weights(x)"}),
    ("sum(w[g] for g in x.grades) * x", "(w[0] + w[1] + w[2]) * x", {**MV, "w": ["n", "grade"]}),
    ("sum(w[g, 1] * x for g in (0, 1))", "(w[0, 1] + w[1, 1]) * x", {**MV, "w": ["2", "3", "n"]}),
    ("sum((-1) ** g * x.grade(g) for g in x.grades)", "involute(x)", MV),
    ("sum(exp(x.e ** g) * g for g in (1, 3)) * y", "(exp(x.e) + 3 * exp(x.e ** 3)) * y", MV),
    ("sum(sum(x.grade(g) ^ y.grade(h) for h in y.grades) for g in (0, 1))", "x.grade(0, 1) ^ y", MV),
    ("sum(sum(g * h * x.grade(g, h) for h in (1, 2)) for g in (1, 2))", "5 * x.grade(1) + 8 * x.grade(2)", MV),
    ("sum(g * x.grade(g) for g in x.grades)", "x.grade(1) + 2 * x.grade(2)", MV),
    ("sum(x.grade(g) for g in (x * y.grade(0)).grades)", "x * 1", MV),
    ("sum(x if g == 0 else y if not g > 1 else x * y for g in (0, 1, 2))", "x + y + x * y", MV),
    ("sum(x if g != 0 and (g < 2 or g >= 3) else y for g in (0, 1, 2, 3))", "2 * x + 2 * y", MV),
    ("sum(where(g == 0, x.e, y.e) for g in (0, 1, 5)) * x", "(x.e + 2 * y.e) * x", MV),
    ("sum((g <= 1) * x.grade(g) for g in x.grades)", "x.grade(0, 1) + (2 <= 1) * x.grade(2)", MV),
    ("sum(x.e > g for g in (0, 1)) * y", "((x.e > 0) + (x.e > 1)) * y", MV),
    ("sum(sum(x.grade(g), over=n) for g in x.grades) + x", "sum(x, over=n) + x", MV),
    ("sum(e12 for g in x.grades) + x", "3 * e12 + x", MV),
    ("sum(sum(sgp(x, y, w), over=n) * g for g in (1, 2)) + x", "3 * sum(sgp(x, y, w), over=n) + x",
     {**MV, "w": "weights(x, y)"}),
]  # fmt: skip


@pytest.mark.parametrize(("written", "meant", "inputs"), TERMS, ids=[case[0] for case in TERMS])
def test_terms_are_added(written: str, meant: str, inputs: Inputs) -> None:
    spec, other = one((2, 0, 0), inputs, f"return {written}"), one((2, 0, 0), inputs, f"return {meant}")
    (tensors, found), (_, expected) = run(spec), run(other)
    torch.testing.assert_close(found["out"], expected["out"])
    (by_reference,) = reference.evaluate(spec, "f", tensors, {})
    torch.testing.assert_close(by_reference, expected["out"])


@pytest.mark.parametrize("flag", [True, False])
def test_options_are_left_in_conditions_of_numbers(flag: bool) -> None:
    body = "return sum(x.grade(g) if not g == 1 and (flag or g > 1) else 2 * x.grade(g) for g in x.grades)"
    spec = one((2, 0, 0), MV, body, {"flag": True})
    tensors, found = run(spec, {"flag": flag})
    factors = torch.tensor([1.0 if flag else 2.0, 2.0, 2.0, 1.0], dtype=torch.float64).reshape(4, 1, 1)
    torch.testing.assert_close(found["out"], tensors["x"] * factors)
    torch.testing.assert_close(reference.evaluate(spec, "f", tensors, {"flag": flag})[0], tensors["x"] * factors)


@pytest.mark.parametrize(
    "reduction", ["mean({}, over=n)", "sum({}, over=n)", "max({}, over=n)", "dot({}, x.e, over=n)"]
)
@pytest.mark.parametrize("square", ["norm_squared(x.grade(g))", "scalar_product(x.grade(g), x.grade(g))"])
def test_null_grades_have_the_norm_zero(square: str, reduction: str) -> None:
    """The pseudoscalar of a degenerate metric: its norm is a field as others are, zero along every axis."""
    by = reduction.format(square)
    spec = one((2, 0, 1), {"x": "multivector"}, f"return sum(x.grade(g) * (2 + {by}) for g in x.grades)")
    tensors, found = run(spec)
    torch.testing.assert_close(found["out"][-1], 2 * tensors["x"][-1])
    torch.testing.assert_close(reference.evaluate(spec, "f", tensors, {})[0], found["out"])


def test_grades_that_are_missing_cost_nothing() -> None:
    body = "return sum(x.grade(g) * sigmoid(a[g] + b[g]) for g in x.grades)"
    inputs: Inputs = {"x": "grades(1, 2)", "a": "weights(x)", "b": ["n", "grade"]}
    spec = one((1, 3, 0), inputs, body)
    graph = trace(spec, spec.kernels[0], {})
    nodes = list(postorder([field for output in graph.outputs for field in output.fields]))
    assert [node.function for node in nodes if node.kind == "Call"] == ["sigmoid", "sigmoid"]
    assert len(graph.outputs[0].fields) == 10 and graph.inputs[1].dims == ("n", 2)
    vanishing = one((1, 3, 0), {"x": "multivector"}, "return sum(x.grade(g) ^ x.grade(g) for g in x.grades)")
    assert trace(vanishing, vanishing.kernels[0], {}).outputs[0].tensor.labels == ("e", "e1234")


def test_gates_are_named_after_their_grades() -> None:
    spec = one(
        (2, 0, 0), {"x": "multivector"}, "return sum(x.grade(g) * tanh(norm_squared(x.grade(g))) for g in (1, 2))"
    )
    hints = trace(spec, spec.kernels[0], {}).builder.hints.values()
    assert {"gate_x_vector", "gate_x_bivector"} <= set(hints)


def test_a_deep_term_is_written_out() -> None:
    deep = "x.grade(g)" + " * 2" * 90
    spec = one((2, 0, 0), MV, f"return sum({deep} for g in x.grades)")
    tensors, found = run(spec)
    torch.testing.assert_close(found["out"], tensors["x"] * 2.0**90)
    torch.testing.assert_close(reference.evaluate(spec, "f", tensors, {})[0], found["out"])


# mistakes

GRADED: Inputs = {"x": "grades(0, 1)", "y": "multivector", "a": "weights(x)", "b": ["n", "grade"], "w": ["2", "3", "n"]}
MISTAKES = [
    ("return sum(x.grade(g) for g in (0, 2))", 18, "no grade 2, where g is 2", "grades are 0, 1"),
    ("return sum(x.grade(g) * a[g] for g in y.grades)", 18, "no grade 2, where g is 2", "grades are 0, 1"),
    ("return sum(y.grade(g) * a[g] for g in y.grades)", 31, "a has no grade 2, where g is 2", "grades are 0, 1"),
    ("return sum(y * b[g] for g in (0, 3))", 22, "b[3] is outside of its extents [3], where g is 3", None),
    ("return sum(y.grade(g) + sum(x.grade(h) for h in y.grades) for g in y.grades)", 35, "where h is 2", None),
    ("return a", 14, "out is neither a multivector nor a field", "for each grade, sum(x.grade(g) * a[g]"),
    ("return a * x", 14, "the weights a takes no part in arithmetic", "sum(x.grade(g) * a[g] for g in x.grades)"),
    ("return sum(a for g in x.grades)", 18, "the weights a takes no part in arithmetic", "a[0] is a field"),
    ("return sum(True for g in x.grades)", 18, "a bool option takes no part in arithmetic", None),
    ("return sum(x.grade(g) for g in x)", 38, "over the grades of a multivector, or over whole numbers", "x.grades"),
    ("return sum(x.grade(g) for g in (0, x))", 38, "over the grades of a multivector", "(0, 2)"),
    ("return sum(x.grade(g) for g in (0, True))", 38, "over the grades of a multivector", "(0, 2)"),
    ("return sum(x.grade(g) for g in ())", 38, "over the grades of a multivector", "(0, 2)"),
    ("return sum(x.grade(g) for g in 1)", 38, "over the grades of a multivector", "(0, 2)"),
    ("return sum(x.grade(g) for g in range(2))", 38, "over the grades of a multivector", "(0, 2)"),
    ("return sum(x for g in (" + "1, " * 65 + "))", 29, "at most 64 numbers", None),
    ("return sum(x.grade(g) for g in x.e.grades)", 38, "a field has no grades", "for g in x.grades"),
    ("return sum(x.grade(g) for g in a.grades)", 38, "the weights a has no grades", "for g in x.grades"),
    ("return sum(x.grade(g) for g in z.grades)", 38, "z is not defined", None),
    ("return max(x.grade(g) for g in x.grades)", 17, "`for` outside of a sum", "sum(x.grade(g) for g in x.grades)"),
    ("return [x.grade(g) for g in x.grades]", 14, "a list comprehension", "sum(x.grade(g) for g in x.grades)"),
    ("for g in x.grades:\n    y = x\nreturn y", 7, "`for` is not part of a body", "sum(x.grade(g) for g in x.grades)"),
    ("return x.grades", 14, "`.grades` stands only after `in`", "for g in x.grades"),
    ("return sum(x.grade(g) for g in x.grades if g > 0)", 50, "`if` after `for`", "for g in (1, 2)"),
    ("return sum((x for g in x.grades), over=n)", 14, "takes nothing else", "over=n"),
    ("return sum((x for g in x.grades), y)", 14, "takes nothing else", "over=n"),
    ("return sum(x for g in x.grades for h in y.grades)", 17, "a sum has one `for`", "sum(sum("),
    ("return sum(x async for g in x.grades)", 17, "`async` is not part of a body", "for g in x.grades"),
    ("return sum(x for g, h in x.grades)", 24, "`for` has one plain name", "for g in x.grades"),
    ("return sum(sum(x for g in (1,)) for g in (2,))", 28, "`g` is already the name of a `for` around", None),
    ("return sum(sum(sum(x for i in (1,)) for h in (1,)) for g in (1,))", 25, "at most 2 deep", "assign"),
    ("return sum(b[h] * y for g in (0, 1))", 18, "an index is whole numbers", None),
    ("return sum(x.grade(g) for g in x.grades) + x.grade(g)", 58, "a grade is a whole number", None),
    ("return sum(x if g else y for g in x.grades)", 23, "a condition of `if` is a bool option, where g is 0", "where("),
    ("return sum(0 * y.grade(g) for g in y.grades)", 14, "identically zero", None),
    ("return sum(2 * (g * y.grade(g)) for g in y.grades)", 23, "identically zero, where g is 0", None),
    ("return sum(z * x.grade(g) + q for g in x.grades)", 18, "z is not defined", None),
]  # fmt: skip


@pytest.mark.parametrize(("body", "column", "message", "hint"), MISTAKES, ids=[m[0][:60] for m in MISTAKES])
def test_mistakes(body: str, column: int, message: str, hint: str | None) -> None:
    spec = one((2, 0, 0), GRADED, body)
    with pytest.raises(KgenError) as caught:
        trace(spec, spec.kernels[0], {})
    first, *_ = each(caught.value)
    assert message in first.message
    assert first.mark is not None and (first.mark.line, first.mark.column) == (10, column)
    assert hint is None or hint in (first.hint or "")


def test_each_mistake_in_the_terms_is_told_once() -> None:
    spec = one((2, 0, 0), GRADED, "return sum(z * y.grade(g) + q for g in y.grades)")
    with pytest.raises(KgenError) as caught:
        trace(spec, spec.kernels[0], {})
    assert [error.message for error in each(caught.value)] == ["z is not defined", "q is not defined"]


NAMES = [
    ("sum", "an operation of bodies"),
    ("e1", "a basis blade"),
    *((name, "already a name in this kernel") for name in ("x", "flag", "n", "y", "out")),
]


@pytest.mark.parametrize(("name", "message"), NAMES)
def test_the_variable_of_a_for_has_a_name_of_its_own(name: str, message: str) -> None:
    written = f"""\
kgen: 1
name: s
algebra: {{signature: [2, 0, 0]}}
layout: {{multivector: [blade, b, n]}}
kernels:
  f:
    inputs: {{x: multivector}}
    outputs: {{out: multivector}}
    options: {{flag: true}}
    body: |
      y = x
      return sum(2 * y for {name} in (1, 2))
"""
    with pytest.raises(KgenError, match=message) as caught:
        load("specs/s.yaml", written)
    (error,) = each(caught.value)
    assert error.mark is not None and (error.mark.line, error.mark.column) == (12, 28)
    load("specs/s.yaml", written.replace(f"for {name} in", "for g in"))
