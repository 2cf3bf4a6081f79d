"""Traced graphs, evaluated in fp64, against dense products of bit masks, small cases by hand, and the reference."""

import math
from collections.abc import Callable

import pytest
import torch
from bodies import FUSED, MV, OPTIONS, SGP, Inputs
from evaluate import drawn, evaluate
from handmade import one
from test_algebra import multiply

from kgen.errors import KgenError
from kgen.graph.graph import Graph, verify
from kgen.graph.node import postorder
from kgen.reference import source as reference
from kgen.spec.model import Algebra, Spec
from kgen.trace.trace import equivariance, output_names, paths, trace

SIGNATURES = [(2, 0, 0), (3, 0, 1), (1, 3, 0), (2, 1, 0), (1, 1, 1), (0, 2, 1), (0, 0, 4)]
SIZES = {"b": 3, "n": 5, "m": 2, "v": 4, "c": 3, "k": 2}


def inputs_of(graph: Graph) -> dict[str, torch.Tensor]:
    sizes = SIZES | {whole: sum(SIZES[axis] for axis in axes) for whole, axes in graph.builder.joined.items()}
    return drawn(graph, sizes, torch.Generator().manual_seed(1))


def run(spec: Spec, flags: dict[str, bool] | None = None) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Random inputs of the spec's kernel, and its graph's results."""
    kernel = spec.kernels[0]
    graph = trace(spec, kernel, flags or {})
    verify(graph)
    tensors = inputs_of(graph)
    numbers = {o.name: float(o.default) for o in kernel.options if o.name in kernel.numbers}
    return tensors, evaluate(graph, tensors, numbers, SIZES)


def dense(over: Algebra, keep: Callable[[int, int, int], bool] = lambda r, s, out: True) -> torch.Tensor:
    """The Cayley table [left, right, out] of a product, from bit masks."""
    at = {blade.mask: i for i, blade in enumerate(over.blades)}
    table = torch.zeros(len(at), len(at), len(at), dtype=torch.float64)
    for i, a in enumerate(over.blades):
        for j, b in enumerate(over.blades):
            mask, sign = multiply(over, a.mask, b.mask)
            if keep(a.grade, b.grade, mask.bit_count()):
                table[i, j, at[mask]] = sign * a.sign * b.sign * over.blades[at[mask]].sign
    return table


def algebra_of(spec: Spec) -> Algebra:
    assert spec.algebra is not None
    return spec.algebra


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("memory", ["blade b n", "... n blade"])
def test_geometric_product(signature: tuple[int, int, int], memory: str) -> None:
    spec = one(signature, MV, "return x * y", memory=memory)
    tensors, results = run(spec)
    blade = "k" if memory.startswith("blade") else None
    where = ("kbn", "lbn", "mbn") if blade else ("bnk", "bnl", "bnm")
    equation = f"{where[0]},{where[1]},klm->{where[2]}"
    expected = torch.einsum(equation, tensors["x"], tensors["y"], dense(algebra_of(spec)))
    torch.testing.assert_close(results["out"], expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("signature", SIGNATURES)
@pytest.mark.parametrize("normalize", [False, True])
def test_fused_gelu_sgp_norm(signature: tuple[int, int, int], normalize: bool) -> None:
    spec = one(signature, SGP, FUSED, OPTIONS)
    tensors, results = run(spec, {"normalize": normalize})
    over, found = algebra_of(spec), paths(spec, spec.kernels[0], "weight")
    grades = torch.tensor([blade.grade for blade in over.blades])

    def gated(x: torch.Tensor) -> torch.Tensor:
        return x * (1 + torch.erf(x[0] / math.sqrt(2))) / 2

    expected = torch.zeros_like(tensors["x"])
    for index, (left, out, right) in enumerate(found):
        table = dense(over, lambda r, s, o, path=(left, right, out): (r, s, o) == path)  # type: ignore[misc]
        w = tensors["weight"][:, index]
        expected += torch.einsum("n,kbn,lbn,klm->mbn", w, gated(tensors["x"]), gated(tensors["y"]), table)
    for grade in set(grades.tolist()) if normalize else ():
        of_grade = grades == grade
        mean = expected[of_grade].square().sum(0).mean(-1, keepdim=True)
        expected[of_grade] = expected[of_grade] / (mean + 1e-6).sqrt()
    torch.testing.assert_close(results["out"], expected, rtol=1e-12, atol=1e-12)


def test_two_dimensional_product_by_hand() -> None:
    spec = one((2, 0, 0), MV, "return x * y")
    graph = trace(spec, spec.kernels[0], {})
    x = torch.tensor([1.0, 2, 3, 4]).reshape(4, 1, 1)
    y = torch.tensor([5.0, 6, 7, 8]).reshape(4, 1, 1)
    out = evaluate(graph, {"x": x, "y": y}, {}, {})["out"].flatten().tolist()
    # (1 + 2 e1 + 3 e2 + 4 e12)(5 + 6 e1 + 7 e2 + 8 e12), e12^2 = -1
    assert out == [5 + 12 + 21 - 32, 6 + 10 - 24 + 28, 7 + 16 + 15 - 24, 8 + 14 - 18 + 20]


def test_quarter_turn_by_hand() -> None:
    """r = 1 - e12 turns e1 into 2 e2, r ~r being 2; the result is a vector."""
    spec = one((3, 0, 0), {"x": "grades(1)"}, "r = e - e12\nreturn r >> x")
    graph = trace(spec, spec.kernels[0], {})
    assert graph.outputs[0].tensor.labels == ("e1", "e2", "e3")
    x = torch.tensor([1.0, 0, 5]).reshape(3, 1, 1)
    assert evaluate(graph, {"x": x}, {}, {})["out"].flatten().tolist() == [0, 2, 10]


def test_permuted_blades() -> None:
    names = "e e3 e1 e2 e31 e12 e23 e321"
    standard, permuted = one((3, 0, 0), MV, "return x * y"), one((3, 0, 0), MV, "return x * y", blades=names)
    order = [["e", "e1", "e2", "e3", "e12", "e13", "e23", "e123"].index(n) for n in (
        "e", "e3", "e1", "e2", "e13", "e12", "e23", "e123")]  # fmt: skip
    signs = torch.tensor([b.sign for b in algebra_of(permuted).blades], dtype=torch.float64).reshape(8, 1, 1)
    tensors, expected = run(standard)
    renamed = {name: value[order] * signs for name, value in tensors.items()}
    graph = trace(permuted, permuted.kernels[0], {})
    assert graph.outputs[0].tensor.labels == tuple(names.split())
    torch.testing.assert_close(evaluate(graph, renamed, {}, {})["out"], expected["out"][order] * signs)


REFLECTION = "r = x.grade(1)\nreturn r >> y.grade(1)"  # zero where all vectors square to zero
BODIES: list[tuple[str, Inputs]] = [
    ("return x ^ y", MV),
    ("return x | y", MV),
    ("return x & y", MV),
    ("return (~x) * y - x / 2 + 3 * y", MV),
    ("return involute(x) + conjugate(y)", MV),
    ("return dual(x), undual(y)", MV),
    ("s = scalar_product(x, y)\nreturn s, norm_squared(x)", MV),
    ("r = even(x)\nreturn r >> y", MV),
    (REFLECTION, MV),
    ("return r >> x", {"r": "even[b]", "x": "multivector"}),
    ("return (r * x) * ~r", {"r": "even", "x": "grades(1)"}),
    ("return grade_rms_norm(x, metric=\"invariant\")", MV),
    ("return grade_rms_norm(x * y, eps=0.5)", MV),
    ("return sgp(x, y, weight)", {"x": "even", "y": "odd", "weight": "weights(x, y)"}),
    ("return sum(sgp(x, y, weight), over=n)", {**MV, "weight": "weights(x, y)[n, m]"}),
    ("return weight[0, 0, 0] * x + grade(y, 0, 2)", SGP),
    ("return pointwise(tanh, x), mean(x, over=n), max(y, over=b)", MV),
    ("return x * gelu(y.e) * sigmoid(y.e1) * relu(y.e12)", MV),
    ("g = x.e1 / (1 + exp(-x.e2))\nreturn g ** 3, sqrt(abs(g)), where(g > 0.5, g, sin(g))", MV),
    ("return (x.e > y.e) * x, where(x.e - x.e1, x.e, 2), x.e >= y.e", MV),
    ("return maximum(x.e, y.e) * minimum(x.e1, cos(y.e2)) + log(1 + x.e ** 2)", MV),
    ("return detach(x) * y + e12 * y.e", MV),
    ("return sum(w[0] * x.grade(0) + w[1] * x.grade(1), over=n)", {"x": "grades(0, 1)", "w": "weights(x)[n, m]"}),
    ("return 1 - x + y.e", MV),
    ("return w[2] * x.grade(0) + g[1] * x.grade(1)", {"x": "multivector", "w": ["4", "n"], "g": ["n", "grade"]}),
]  # fmt: skip


CASES = [(s, *case) for s in SIGNATURES for case in BODIES if case[0] != REFLECTION or s != (0, 0, 4)]


@pytest.mark.parametrize(("signature", "body", "inputs"), CASES, ids=[f"{s}-{body}" for s, body, _ in CASES])
def test_against_reference(signature: tuple[int, int, int], body: str, inputs: Inputs) -> None:
    body = body.replace("e12", "e01") if signature[2] == 1 else body  # the generators are e0, e1, …
    spec = one(signature, inputs, body)
    tensors, results = run(spec)
    wanted = reference.evaluate(spec, "f", tensors, {})
    for (name, result), value in zip(results.items(), wanted, strict=True):
        torch.testing.assert_close(result, value, rtol=1e-10, atol=1e-10, msg=f"{name} differs from the reference")


@pytest.mark.parametrize(("over", "signature"), [("even", (1, 3, 0)), ("even[b]", (1, 3, 0)), ("even", (4, 1, 0))])
def test_sandwich_as_matrix_and_in_steps(over: str, signature: tuple[int, int, int]) -> None:
    """A matrix for one rotor per sample; two products where r has x's axes and the matrix would cost more."""
    spec = one(signature, {"r": over, "x": "grades(1)"}, "return r >> x")
    tensors, results = run(spec)
    torch.testing.assert_close(results["out"], reference.evaluate(spec, "f", tensors, {})[0], rtol=1e-10, atol=1e-10)
    graph = trace(spec, spec.kernels[0], {})
    products = [n for n in postorder(graph.roots) if n.kind == "Mul" and all(a.kind == "Input" for a in n.args)]
    of_rotor_alone = [n for n in products if all(a.tensor == "r" for a in n.args)]
    assert bool(of_rotor_alone) == (over == "even[b]")


def test_plain_tensors() -> None:
    spec = one(
        None,
        {"x": ["v", "c"], "basis": ["v", "k"], "mass": ["v"], "evalues": ["k"], "times": ["c"]},
        "in_basis = dot(basis, x * mass, over=v)\n"
        "spectral = exp(-evalues * times) * in_basis\n"
        "return dot(basis, spectral, over=k), spectral",
        outputs={"out": ["v", "c"], "spectral": ["k", "c"]},
    )
    graph = trace(spec, spec.kernels[0], {})
    assert graph.axes == ("v", "c", "k")
    tensors, results = run(spec)
    projected = tensors["basis"].T @ (tensors["mass"][:, None] * tensors["x"])
    spectral = torch.exp(-tensors["evalues"][:, None] * tensors["times"]) * projected
    torch.testing.assert_close(results["spectral"], spectral)
    torch.testing.assert_close(results["out"], tensors["basis"] @ spectral)


def test_vanishing_grades_are_dropped() -> None:
    """(r * x) * ~r is a vector for every even r in three dimensions: its trivector cancels."""
    spec = one((3, 0, 0), {"r": "even", "x": "grades(1)"}, "return (r * x) * ~r")
    assert trace(spec, spec.kernels[0], {}).outputs[0].tensor.labels == ("e1", "e2", "e3")


def test_gate_is_shared_and_named() -> None:
    spec = one((3, 0, 0), SGP, FUSED, OPTIONS)
    graph = trace(spec, spec.kernels[0], {})
    names = [graph.builder.hints[node] for node in postorder(graph.roots) if node in graph.builder.hints]
    assert [name for name in names if name.startswith("gate")] == ["gate_x", "gate_y"]
    assert {"inv_rms_scalar", "inv_rms_trivector", "out_e", "out_e123"} <= set(names)


def test_constants_do_not_multiply() -> None:
    """The half stays in each gate: no term of the product carries a coefficient other than a sign."""
    spec = one((3, 0, 0), SGP, FUSED, OPTIONS)
    graph = trace(spec, spec.kernels[0], {"normalize": False})
    for root in graph.roots:
        assert {abs(c) for c, _ in root.terms} == {1}
        assert all(term.kind == "Mul" and len(term.args) == 3 for term in root.args)


def test_layout_of_tensors() -> None:
    spec = one((2, 0, 0), SGP, "return sgp(x, y, weight)", memory="... n blade")
    graph = trace(spec, spec.kernels[0], {})
    x, _, weight = graph.inputs
    assert (x.dims, x.labels, x.leading) == (("b", "n", 4), ("e", "e1", "e2", "e12"), True)
    assert (weight.dims, weight.leading) == (("n", 10), False)
    assert weight.labels == ("000", "011", "022", "101", "110", "112", "121", "202", "211", "220")
    assert graph.outputs[0].tensor.dims == ("b", "n", 4)
    assert graph.outputs[0].tensor.leading
    assert graph.axes == ("b", "n")


def test_fully_connected_result_takes_the_place_of_the_reduced_axis() -> None:
    inputs = {**MV, "weight": "weights(x, y)[n, m]"}
    spec = one((2, 0, 0), inputs, "return sum(sgp(x, y, weight), over=n)")
    graph = trace(spec, spec.kernels[0], {})
    assert graph.axes == ("b", "n", "m")
    assert graph.inputs[2].dims == (10, "n", "m")
    assert graph.outputs[0].tensor.dims == (4, "b", "m")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("z = x * y\nreturn z", ("z",)),
        ("return x", ("out",)),
        ("z = x * y\nreturn z, z", ("out", "out1")),
        ("z = x * y\nreturn x, z, y", ("out", "z", "out2")),
        ("return x if flag else y", ("out",)),
    ],
)
def test_output_names(body: str, names: tuple[str, ...]) -> None:
    spec = one((2, 0, 0), MV, body, {"flag": True})
    assert output_names(spec.kernels[0]) == names
    assert tuple(o.tensor.name for o in trace(spec, spec.kernels[0], {}).outputs) == names


@pytest.mark.parametrize(
    ("signature", "body", "group"),
    [
        ((3, 0, 0), "return x * y", "pin"),
        ((3, 0, 0), "return grade_rms_norm(x)", "pin"),
        ((0, 3, 0), "return grade_rms_norm(x)", "pin"),
        ((1, 3, 0), "return grade_rms_norm(x)", "euclidean"),
        ((1, 3, 0), 'return grade_rms_norm(x, metric="invariant")', "pin"),
        ((3, 0, 1), "return grade_rms_norm(x) if flag else x", "euclidean"),
        ((3, 0, 0), "return x.e1", None),
        ((3, 0, 0), "return tanh(x.e) * y", "pin"),
        ((3, 0, 0), "return e12 * y", None),
        ((3, 0, 0), "return pointwise(tanh, x)", None),
        ((3, 0, 0), "return max(x, over=n)", None),
        ((3, 0, 0), "return sum(x, over=n)", "pin"),
        ((3, 0, 0), "return max(x.e, over=n)", "pin"),
        ((3, 0, 1), "return x & y", None),
    ],
)
def test_equivariance(signature: tuple[int, int, int], body: str, group: str | None) -> None:
    spec = one(signature, MV, body, {"flag": True})
    assert equivariance(spec, spec.kernels[0]) == group


MISTAKES = [
    ("return gpp(x, y)", 10, 14, "there is no operation gpp", "did you mean gp?"),
    ("return x * z", 10, 18, "z is not defined", None),
    ("return weigth[0, 0, 0] * x", 10, 14, "weigth is not defined", "did you mean weight?"),
    ("a = x.grade(1)\nreturn a.e12", 11, 14, "no component e12", "grades are 1"),
    ("return x.e21", 10, 14, "no component e21", "e21 is -e12 in this algebra"),
    ("return e21 * x", 10, 14, "e21 is not defined", "e21 is -e12 in this algebra"),
    ("return x.e13", 10, 14, "no component e13", "its generators are e1 to e2"),
    ("return x.e11", 10, 14, "no component e11", "no index twice"),
    ("return swish(x)", 10, 14, "no operation swish", "x * sigmoid(x.e)"),
    ("return softmax(x.e)", 10, 14, "no operation softmax", "over=n"),
    ("return randn(x)", 10, 14, "no operation randn", "there are no random numbers"),
    ("return sinus(x.e)", 10, 14, "no operation sinus", None),
    ("return x.grade(7)", 10, 14, "no grade 7", "grades are 0, 1, 2"),
    ("return sum(x, over=m)", 10, 26, "no axis m", "b n"),
    ("return sum(sum(x, over=n), over=n)", 10, 39, "over n, which the value lacks", "its axes: b"),
    ("return sum(x)", 10, 14, "needs its argument over", "over: axis"),
    ("return gp(x)", 10, 14, "needs its argument y", "gp(x: multivector, y: multivector)"),
    ("return gp(x, y, x)", 10, 14, "does not take 3 arguments", None),
    ("return gelu(x, z=1)", 10, 14, "has no argument z", None),
    ("return exp(x)", 10, 18, "exp needs a field as x, not a multivector", "pointwise(exp, x)"),
    ("return pointwise(gp, x)", 10, 24, "field function of one argument", "exp log"),
    ("return x >> y", 10, 14, "an even or an odd r", "even(r)"),
    ("return weight[0, 1, 0] * x", 10, 14, "no path [0, 1, 0]", "000 011"),
    ("return weight * x", 10, 14, "takes no part in arithmetic", "weight[0, 1, 1]"),
    ("return x / y", 10, 14, "division by a multivector", "norm_squared"),
    ("return x ** 2", 10, 14, "`**` of a multivector", "x * x"),
    ("return x.e ** 0.5", 10, 14, "whole number", "sqrt"),
    ("return x if x.e > 0 else y", 10, 19, "a bool option", "where"),
    ("return x - x", 10, 14, "identically zero", None),
    ('return grade_rms_norm(x, metric="plain")', 10, 39, "metric is", None),
    ("return grade_rms_norm(sum(x, over=n))", 10, 14, "mean over features", None),
    ("return x / (1 - 1)", 10, 14, "division by zero", None),
    ("return 1e18 ** 60 * x", 10, 7, "too large", None),
    ("return 0.1 * 1e18 ** 60 * x.e", 10, 14, "too large", None),
    ("return weight", 10, 14, "neither a multivector nor a field", None),
]


@pytest.mark.parametrize(("body", "line", "column", "message", "hint"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistakes(body: str, line: int, column: int, message: str, hint: str | None) -> None:
    spec = one((2, 0, 0), SGP, body, OPTIONS)
    with pytest.raises(KgenError) as caught:
        trace(spec, spec.kernels[0], {})
    assert message in caught.value.message
    assert caught.value.mark is not None
    assert (caught.value.mark.line, caught.value.mark.column) == (line, column)
    assert hint is None or hint in (caught.value.hint or "")


def test_polarity_needs_an_invertible_pseudoscalar() -> None:
    spec = one((3, 0, 1), MV, "return polarity(x)")
    with pytest.raises(KgenError, match="I\\^2 = 0"):
        trace(spec, spec.kernels[0], {})


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        (["b", "n", "q"], "along q, which is no axis of an input"),
        (["b", "n", "3"], r"with the extents \[3\], but a field has no components"),
    ],
)
def test_results_along_what_inputs_lack(axes: list[str], message: str) -> None:
    spec = one((2, 0, 0), MV, "return x.e", outputs={"out": axes})
    with pytest.raises(KgenError, match=message):
        trace(spec, spec.kernels[0], {})


@pytest.mark.parametrize("square", ["norm_squared(v)", "scalar_product(v, v)"])
@pytest.mark.parametrize("use", ["{}", "sqrt(4 + {})", "mean({}, over=n)", "max({}, over=b)", "dot({}, x.e, over=n)"])
def test_products_of_null_blades_are_zero(square: str, use: str) -> None:
    """The pseudoscalar of a degenerate metric: a field that is zero, along any axis."""
    spec = one((2, 0, 1), MV, f"v = x.grade(3)\nreturn (2 + {use.format(square)}) * y")
    tensors, results = run(spec)
    expected = tensors["y"] * (4 if use.startswith("sqrt") else 2)
    torch.testing.assert_close(results["out"], expected)
    torch.testing.assert_close(reference.evaluate(spec, "f", tensors, {})[0], expected)


def test_undeclared_axis_of_a_declared_result() -> None:
    spec = one((2, 0, 0), MV, "return x * y", outputs={"out": "multivector[b]"})
    with pytest.raises(KgenError, match="varies along n"):
        trace(spec, spec.kernels[0], {})


def test_declared_grades_are_filled_with_zeros() -> None:
    spec = one((2, 0, 0), MV, "return x.grade(1)", outputs={"out": "multivector"})
    tensors, results = run(spec)
    expected = tensors["x"] * torch.tensor([0.0, 1, 1, 0]).reshape(4, 1, 1)
    torch.testing.assert_close(results["out"], expected)


GOLDENS: list[tuple[str, Inputs, str, dict[str, bool | float]]] = [
    ("geometric_product", MV, "return x * y", {}),
    ("sgp", SGP, "return sgp(x, y, weight)", {}),
    ("fused_gelu_sgp_norm", SGP, FUSED, OPTIONS),
]


@pytest.mark.parametrize(("name", "inputs", "body", "options"), GOLDENS, ids=[case[0] for case in GOLDENS])
def test_golden(
    name: str, inputs: Inputs, body: str, options: dict[str, bool | float], golden: Callable[[str, str], None]
) -> None:
    spec = one((2, 0, 0), inputs, body, options)
    golden(f"graph/vga2d_{name}.txt", str(trace(spec, spec.kernels[0], {})))
