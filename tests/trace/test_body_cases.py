"""Every operation of the vocabulary through the whole compiler: values and gradients against the reference.

The bodies of one algebra are the kernels of one spec, so that they are compiled together.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import prepared
import pytest
from modules import ROOT, agree, compiled, draw

from kgen.spec.vocabulary import VOCABULARY
from kgen.trace.ops import BINARY

XY = {"x": "multivector", "y": "multivector"}
RX = {"r": "even", "x": "grades(1)"}
FIELDS = {"x": "multivector", "s": "scalar", "t": "scalar[n]"}

# name: inputs, body. Arguments of log, sqrt and rsqrt are positive, and nothing is near a kink.
BODIES: dict[str, tuple[Mapping[str, str], str]] = {
    "products": (XY, "return gp(x, y), outer(x, y) + inner(y, x), regressive(x, y)"),
    "operators": (XY, "return (x ^ y) + 2 * (x | y), x & y, ~x * y - x / 3"),
    "scalars": (XY, "return scalar_product(x, y), norm_squared(x) * y.e12"),
    "sandwiches": (RX, "return sandwich(r, x), r >> (~r >> x)"),
    "reflection": (XY, "v = odd(x).grade(1)\nreturn v >> y"),
    "shared_rotor": ({"r": "even[b]", "x": "multivector"}, "return r >> x"),
    "weighted": ({**XY, "weight": "weights(x, y)"}, "return sgp(x, y, weight)"),
    "weighted_grades": (
        {"x": "even", "y": "odd", "weight": "weights(x, y)"},
        "return sgp(x, y, weight) * y",
    ),
    "fully_connected": ({**XY, "weight": "weights(x, y)[n, m]"}, "return fcgp(x, y, weight)"),
    "linear_map": (
        {"x": "odd", "w": "weights(x)[n, m]", "s": "scalar[m]"},
        "return mv_linear(x, w, s), mv_linear(x, w)",
    ),
    "graded_maps": (
        {"x": "multivector", "v": "weights(even)[n, m]", "w": "weights(x)[n, m]"},
        "return mv_linear(e1 * odd(x), v), mv_linear(x.grade(1), w)",
    ),
    "graded_products": (
        {**XY, "v": "weights(even, y)", "w": "weights(x, grades(0, 1))[n, m]"},
        "return sgp(x.grade(0, 2), y.grade(1), v), fcgp(x.grade(1), y.grade(1), w)",
    ),
    "square_map": (
        {"x": "multivector", "w": "weights(x)[k, n]"},
        "return mv_linear(rename(x, axis=n, to=k), w) * x",
    ),
    "among_themselves": (
        {"x": "multivector", "u": "[n, m]"},
        "q = u * x.e\n"
        "p = exp(dot(q, rename(tanh(q), axis=n, to=t), over=m) / sqrt(extent(m)))\n"
        "return dot(p, rename(x, axis=n, to=t), over=t), sum(where(iota(t) < 2, p, 1), over=t)",
    ),
    "joined": (
        {"x": "multivector", "y": "multivector", "w": "weights(x)[k, m]", "a": "scalar[k]"},
        "both = cat(x * y, odd(y), axis=n, to=k)\n"
        "return mv_linear(gelu(both) * sigmoid(a), w), both * a, sum(a * both.e1, over=k)",
    ),
    "joined_fields": (
        {"x": "scalar", "y": "[v, c]", "w": "[k, m]", "a": "[b]"},
        "both = tanh(cat(x, mean(y, over=c) * a, x * x, axis=(n, v, n), to=k))\n"
        "return dot(both, w, over=k), sum(both, over=b), max(both, over=k), mean(both ** 2, over=k)",
    ),
    "features": (
        {**XY, "s": "scalar[n]"},
        "f = components(x.grade(1), s, norm_squared(y))\n"
        "return f, components(f[2] * f[0], s), components(sum(f[1], over=n))",
    ),
    "one_weight": ({**XY, "weight": "weights(x, y)"}, "return weight[0, 1, 1] * x + weight[1, 1, 0] * y"),
    "linear": ({"x": "multivector", "w": "weights(x)"}, "return w[0] * x.grade(0) + w[2] * x.grade(2)"),
    "each_grade": (
        {"x": "multivector", "w": "weights(x)", "v": "weights(x)"},
        "return sum(x.grade(g) * tanh(w[g] * (x.e if g == 0 else norm_squared(x.grade(g))) + v[g]) for g in x.grades)",
    ),
    "some_grades": (
        {"x": "odd", "y": "even", "w": "weights(x)"},
        "return sum(x.grade(g) / (1 + w[g] ** 2) + sum((-1) ** h * y.grade(h) for h in y.grades) for g in x.grades),"
        " sum(x.grade(g) * rsqrt(2 + mean(norm_squared(x.grade(g)), over=n) ** 2) for g in x.grades)",
    ),
    "images": (XY, "return reverse(x) * y, involute(x) + conjugate(y)"),
    "duals": (XY, "return dual(x) ^ undual(y), dual(x) + 2 * undual(y)"),
    "parts": (XY, "return grade(x, 0, 2) * even(y), x.grade(1) + odd(y)"),
    "components": (XY, "return x.e1 * y + e12 * y.e - 1"),
    "norms": (XY, 'return grade_rms_norm(x * y, eps=0.1), grade_rms_norm(y, eps=0.1, metric="invariant")'),
    "norm_squared_times": ({"x": "multivector", "t": "scalar[n]"}, "return t * grade_rms_norm(x, eps=0.5)"),
    "pointwise_functions": (XY, "return pointwise(tanh, x) * pointwise(sigmoid, y), pointwise(gelu, x)"),
    "every_function": (
        {"x": "multivector"},
        "return " + ", ".join(f"{name}(1 + x.e ** 2) * x.e1" for name, word in VOCABULARY.items() if word.pointwise),
    ),
    "every_gate": (XY, "return " + ", ".join(f"{name}(x) * y" for name, word in VOCABULARY.items() if word.gate)),
    "stopped": (XY, "return detach(x) * y + x"),
    "sums": (XY, "return sum(x, over=n), mean(y, over=n), sum(x.e * y.e, over=b)"),
    "means": (XY, "return x - mean(x, over=n), mean(y.e1, over=b)"),
    "masked": (
        {"x": "multivector", "w": "[n, m]", "label": "integer[b]", "u": "scalar[m]", "i": "index(n)[m]"},
        "causal = iota(n) >= iota(m) and label != 1\n"
        "other = not (i == iota(m) or 2 * iota(m) - label > 3)\n"
        "return dot(where(causal, x.e, 0), w, over=n), where(label + iota(n) == 2, x.e1, -1) * x,"
        " where(other and u > 0, gather(x.e, i), u), max(where(iota(n) <= 3, x.e2, -8), over=n) * x,"
        " (label < 1) * x.e12 - sum(where(-label < iota(n) * 2 and iota(n) > -1, x.e, 2 * x.e1), over=b)",
    ),
    "gathered": (
        {"x": "multivector", "u": "scalar[m]", "i": "index(n)[m]"},
        "return u * gather(x, i) + u, gather(tanh(x.e), i), sum(gather(x.e1, i) * u, over=m)",
    ),
    "segments": (
        {"x": "multivector", "u": "scalar[m]", "i": "index(n)[m]", "j": "index(n)[m]"},
        "a = segment_sum(gather(x, i) * u, j)\n"
        "return a * x, segment_sum(sigmoid(gather(a.e - x.e, j) * u) * gather(a, i), i) + a, sum(a.e, over=n)",
    ),
    "dropped": (
        {"x": "multivector", "s": "scalar", "t": "scalar[n]", "seed": "seed"},
        'y = dropout(x, 0.25, seed, each="grade")\n'
        "return dropout(t, 0.5, seed) * y, sum(dropout(s * y.e1, 0.125, seed), over=b), "
        "mean(dropout(y, 0.5, seed), over=n)",
    ),
    "largest": (XY, "m = detach(max(x.e, over=n))\nreturn exp(x.e - m), max(y.e1, over=n)"),
    "dots": (FIELDS, "return dot(s, t, over=n), x * dot(s, s, over=n)"),
    "exponentials": (FIELDS, "return exp(s) * log(2 + s * s) * x, t * sigmoid(x.e1)"),
    "roots": (FIELDS, "return sqrt(1 + s * s) * x, rsqrt(1 + t * t) * x.e, x.e1 / (2 + cos(s))"),
    "circular": (FIELDS, "return sin(s) * x + cos(t) * x, tanh(s) + erf(x.e2)"),
    "bends": (FIELDS, "return abs(s) * x, relu(s) + minimum(s, t), maximum(s, x.e)"),
    "choices": (FIELDS, "return where(s > t, s * t, 2) * x, (s <= x.e) * t"),
    "powers": (FIELDS, "return s ** 3 * x, (2 + s * s) ** -2 * t"),
}
ALGEBRAS = {"flat": "2, 0, 0", "degenerate": "2, 0, 1"}  # generators e1 e2, and e0 e1 e2
DEFINITE = {"polarities": ({"x": "multivector"}, "return polarity(x) * x")}  # I^2 is not zero


def spec(name: str) -> str:
    """All bodies over one algebra, each in one memory order: blades first, or last."""
    memory = "[blade, b, n]" if name == "flat" else "[..., n, blade]"
    text = f"""\
kgen: 1
name: bodies_{name}
algebra: {{signature: [{ALGEBRAS[name]}]}}
layout:
  multivector: {memory}
  weights:
    {{order: [left, out, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}}
kernels:
"""
    for kernel, (inputs, body) in cases(name).items():
        text += f"  {kernel}:\n    inputs:\n"
        text += "".join(f'      {argument}: "{kind}"\n' for argument, kind in inputs.items())
        text += "    body: |\n" + "".join(f"      {line}\n" for line in body.splitlines())
    return text


def cases(name: str) -> dict[str, tuple[Mapping[str, str], str]]:
    return BODIES | DEFINITE if name == "flat" else BODIES


@pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("name", "kernel"), [(name, kernel) for name in ALGEBRAS for kernel in cases(name)])
def test_body(name: str, kernel: str, compiled_folder: Path) -> None:
    of = compiled(spec(name), compiled_folder)
    for sizes in ({"b": 3, "n": 5}, {"b": 5, "n": 130}):
        agree(of, kernel, draw(of, kernel, sizes))


@pytest.mark.parametrize("name", ALGEBRAS)
def test_the_compiler_takes_it(name: str, compiled_folder: Path) -> None:
    """Types, which the interpreter does not ask about: those of what a loop carries, say."""
    path = str(Path(str(compiled(spec(name), compiled_folder).__file__)).parent)
    environment = os.environ | {"TRITON_INTERPRET": "0", "PYTHONPATH": str(ROOT / "tests" / "support")}
    done = prepared.python(["-m", "lower", path, "sm_90"], ROOT, environment)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d{3} kernels\n", done.stdout), done.stdout


def test_every_operator_is_here() -> None:
    text = "\n".join(body for _, body in BODIES.values())
    assert all(symbol in text for symbol in ("^", "|", "&", ">>", "~", "**", "/")) and len(BINARY) == 4
