"""Bodies that tests of several stages trace, and their inputs."""

from collections.abc import Mapping

Inputs = Mapping[str, str | list[str]]

MV = {"x": "multivector", "y": "multivector"}
SGP = {**MV, "weight": "weights(x, y)"}
FUSED = """\
out = sgp(gelu(x), gelu(y), weight)
return grade_rms_norm(out, eps=eps) if normalize else out
"""
OPTIONS: dict[str, bool | float] = {"normalize": True, "eps": 1e-6}
SIGNATURES = [(2, 0, 0), (1, 2, 0), (2, 0, 1)]
NORM: dict[str, bool | float] = {"eps": 0.1}
BODIES: dict[str, tuple[str, Inputs]] = {
    "products": ("return x * y, (x ^ y) + (x | y)", MV),
    "sgp": ("return sgp(x, y, weight)", SGP),
    "sandwich": ("return r >> x", {"r": "even[b]", "x": "multivector"}),
    "norm": ("return grade_rms_norm(sgp(gelu(x), gelu(y), weight), eps=eps)", SGP),
    "invariant": ('return grade_rms_norm(x * y, eps=eps, metric="invariant")', MV),
    "fully_connected": ("return sum(sgp(x, y, weight), over=n)", {**MV, "weight": "weights(x, y)[n, m]"}),
    "fcgp": ("return grade_rms_norm(fcgp(gelu(x), gelu(y), weight), eps=eps)", {**MV, "weight": "weights(x, y)[n, m]"}),
    "linear": ("return mv_linear(x, weight, c)", {"x": "multivector", "weight": "weights(x)[n, m]", "c": ["m"]}),
    "graded": (  # one weight for two parts, another for what no input has
        "return mv_linear(even(x), v) + mv_linear(odd(y), v) + mv_linear(e1 * x, w)",
        {**MV, "v": "weights(x)[n, m]", "w": "weights(multivector)[n, m]"},
    ),
    "chain": (
        "return fcgp(mv_linear(grade_rms_norm(x, eps=eps), v), mv_linear(y, v), weight)",
        {**MV, "v": "weights(x)[n, m]", "weight": "weights(x, y)[m, k]"},
    ),
    "batches": (
        "return sum(exp(dot(x * w, dot(x, y, over=v), over=c)), over=v)",
        {"x": ["b", "v", "c"], "y": ["b", "v", "k"], "w": ["b", "c"]},
    ),
    "factored": (  # x * y with its last factor taken out is a product of matrices
        "z = y * x\nreturn sum(sum(z * dot(z, sum(y, over=d), over=k), over=d), over=c)",
        {"x": ["c", "k", "v"], "y": ["d", "k"]},
    ),
    "renamed": (  # b, v and d are one extent, and x is read along each two of them
        "return sum(tanh(dot(sin(rename(x, axis=b, to=v)), y * rename(x, axis=d, to=v), over=v)), over=n)",
        {"x": ["n", "b", "d"], "y": ["n", "b", "v"]},
    ),
    "differences": (  # a factor of which some fields are zero, and its twin along d
        "return tanh(dot(rename(y, axis=v, to=d) - x * eps, w, over=k))",
        {"w": ["n", "k"], "x": ["k", "d"], "y": ["k", "v"]},
    ),
    "twins": (  # a result that is computed of sums, and another that reads these under other names of their axes
        "z = dot(x * rename(y, axis=d, to=v), w, over=v)\nreturn dot(z * y, u, over=n)",
        {"x": ["v", "n"], "y": ["n", "d"], "w": ["d", "v"], "u": ["v", "n"]},
    ),
    "crossed": (  # one product makes exp(y) times exp(u), too, which nothing asks for
        "d = dot(exp(x), exp(u), over=n)\n"
        "return d * dot(exp(y), exp(v), over=n), dot(exp(x), exp(v), over=n) + sin(d)",
        {"x": ["b", "n"], "y": ["b", "n"], "u": ["n", "m"], "v": ["n", "m"]},
    ),
    "regrouped": (  # of the Dots that the backward reads, and those of one product with them, others are one product
        "d = dot(exp(x), exp(v), over=n)\n"
        "e = dot(exp(y), exp(v), over=n) + dot(exp(z), exp(u), over=n)\n"
        "return sin(d) + e + dot(exp(x), exp(w), over=n) + dot(exp(y), exp(u), over=n)",
        {**{name: ["b", "n"] for name in "xyz"}, **{name: ["n", "m"] for name in "uvw"}},
    ),
    "among themselves": (  # of rows, along an axis that no input has
        "q = dot(y, w, over=n)\n"
        "s = dot(q, rename(q, axis=b, to=t), over=m) / sqrt(extent(m))\n"
        "p = exp(s - detach(max(s, over=t)))\n"
        "return dot(p / sum(p, over=t), rename(x, axis=b, to=t), over=t)",
        {"x": "multivector", "y": ["b", "n"], "w": ["n", "m"]},
    ),
    "softmax": ("w = exp(x.e - detach(max(x.e, over=n)))\nreturn w / sum(w, over=n) * y", MV),
    "centred": ("c = x - mean(x, over=n)\nreturn c / (1 + mean(norm_squared(c) ** 2, over=n)), max(y, over=b)", MV),
    "columns": ("return sum(w * x.e, over=b) / sum(2 + w * w, over=b), x * sum(w, over=b)", {**MV, "w": ["b"]}),
    "functions": ("return sin(x.e) * y, log(1 + y.e ** 2) * sqrt(2 + x.e1 ** 2), tanh(x.e2) * erf(y.e) * x", MV),
    "peak": ("return max(x.e1 * norm_squared(x) * y.e, over=b) * (x * y)", MV),
    "peaks": (  # of an input that could also be had from a stored output, but for its last bits
        "r = rsqrt(1 + sum(norm_squared(x), over=n))\n"
        "return x.e1 * y.e * y.e1 * r, x.e * r, max(x.e, over=n) * y.e2 * w",
        {**MV, "w": ["n"]},
    ),
    "peak of peaks": ("return max(max(x.e1 * norm_squared(x) * y.e, over=n) * mean(y.e, over=n), over=b) * x", MV),
    "masks": (  # by integers, and by what is computed and stored on the way
        "c = iota(n) >= iota(m) and not label == 1\n"
        "p = where(c, exp(dot(x, w, over=n)), 0)\n"
        "high = sum(p, over=m) > 1\n"
        "low = where(2 * label < iota(m) - 1, v, -9)\n"
        "return dot(p, v, over=m) * where(high and label < 2, x, 1), max(low, over=m)",
        {"x": ["b", "n"], "w": ["n", "m"], "v": ["m", "b"], "label": "integer[b]"},
    ),
    "kinks": ("return abs(x.e) * y, where(x.e > y.e, x.e, 2 * y.e) * x, minimum(x.e, y.e1) * maximum(x.e1, y.e)", MV),
}  # fmt: skip
