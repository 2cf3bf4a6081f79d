"""Contractions: what a spec and a call may not ask for, and what is right at the edges of what they may.

Values and derivatives for each kernel, dtype and empty axis are proven in `generated/tests`; here are mistakes with
their places, pairs of feature counts, the range of fp16, autocast, products that nobody needs, and torch's compilers.
Kernels run on a GPU or in Triton's interpreter; on the CPU without it, the references run.
"""

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from handmade import one
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import grad, vmap
from variants import BY_NAME, DEVICE, LAUNCHES, Tensors, Variant, close, each, energy, gradients, launching

from kgen.errors import KgenError
from kgen.tools.problem import runtime
from kgen.trace.trace import trace

pytestmark = [
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]

FCGP, PRODUCT = (BY_NAME[f"vga2d_fused_gelu_fcgp_norm_{word}_normalize"] for word in ("with", "without"))
LINEAR, LAYER, FC_LAYER = (
    BY_NAME[f"vga2d_{name}"] for name in ("mv_linear", "layer_with_normalize", "fc_layer_with_normalize")
)
DIFFUSION, BATCHED = (BY_NAME[f"diffusion_{name}"] for name in ("spatial_diffusion", "batched_spatial_diffusion"))
SLOPES = BY_NAME["diffusion_spatial_gradients"]
CONTRACTIONS = [FCGP, PRODUCT, LINEAR, LAYER, FC_LAYER, DIFFUSION, BATCHED, SLOPES]


# mistakes in a spec

XY = {"x": "multivector", "y": "multivector"}
FC, FCGP_BODY = "weights(x, y)[n, m]", "return fcgp(x, y, w)"
MAP, MAP_BODY = "weights(x)[n, m]", "return mv_linear(x, w)"
PARTS = {"u": "even", "v": "odd"}
TWO = "but needs two: one axis of the operands, and one of the result"
MISTAKES: list[tuple[Mapping[str, str | list[str]], str, int, str, str | None]] = [
    ({**XY, "w": "weights(x, y)[k, m]"}, FCGP_BODY, 14, "w has the axes k m, and its operands neither", "are b n:"),
    ({**XY, "w": "weights(x, y)[b, n]"}, FCGP_BODY, 14, "n is both contracted and kept", "one axis of w"),
    (
        {"x": "multivector", "y": "multivector[b, m]", "w": FC},
        FCGP_BODY,
        14,
        "m is both contracted and kept",
        "one axis",
    ),
    ({"x": "multivector", "y": "multivector[b, k]", "w": FC}, FCGP_BODY, 14, "out varies along k", "declare out"),
    ({**XY, "w": "weights(x, y)"}, FCGP_BODY, 14, f"w has the axes n, {TWO}", "weights(x, y)[n, m]"),
    ({**XY, "w": "weights(x, y)[n, m, k]"}, FCGP_BODY, 14, f"w has the axes n m k, {TWO}", "weights(x, y)[n, m]"),
    ({**XY, "w": FC}, "return sgp(x, y, w)", 14, "out varies along m", "declare out"),
    (
        {**XY, "u": "even", "w": "weights(x, u)[n, m]"},
        FCGP_BODY,
        14,
        "w lacks the paths 011 101 121 211 of its operands",
        "weights(x, u); they have grades(0, 1, 2), grades(0, 1, 2)",
    ),
    (
        {**XY, "w": "weights(grades(1), y)[n, m]"},
        FCGP_BODY,
        14,
        "w lacks the paths 000 011 022 202 211 220 of its operands",
        "weights(grades(1), y); they have grades(0, 1, 2), grades(0, 1, 2)",
    ),
    ({**XY, "w": FC}, MAP_BODY, 14, "w is of 2 operands, but the operation has 1", "weights(x, y)"),
    (
        {"x": "multivector", "w": MAP},
        "return fcgp(x, x, w)",
        14,
        "w is of 1 operand, but the operation has 2",
        "weights(x)",
    ),
    (
        {"x": "multivector", "w": "weights(even)[n, m]"},
        MAP_BODY,
        14,
        "w lacks the path 1 of its operands",
        "weights(even); they have grades(0, 1, 2)",
    ),
    (
        {**PARTS, "w": "weights(u, v)[n, m]"},
        "return fcgp(v, u, w)",
        14,
        "w lacks the paths 110 112 of its operands",
        "weights(u, v); they have grades(1), grades(0, 2)",
    ),
    (
        {"u": "grades(1)", "x": "grades(2)", "w": "weights(u)[n, m]"},
        MAP_BODY,
        14,
        "w lacks the path 2 of its operands",
        "weights(u); they have grades(2)",
    ),
    ({**XY, "w": FC}, "return fcgp(x.e, y, w)", 19, "fcgp needs a multivector as x, not a field", "s * e"),
    ({**XY, "w": FC}, "return fcgp(x, y.e12, w)", 22, "fcgp needs a multivector as y, not a field", "s * e"),
    ({**XY, "w": ["n", "m"]}, FCGP_BODY, 25, "fcgp needs a weights as weight, not a field", None),
    ({**XY, "w": FC}, "return fcgp(x, y)", 14, "fcgp needs its argument weight", "weight: weights"),
    ({"x": "multivector", "w": MAP}, "return mv_linear(x.e, w)", 24, "mv_linear needs a multivector as x", "s * e"),
    ({"x": "multivector", "w": MAP}, "return mv_linear(x, x)", 27, "mv_linear needs a weights as weight", None),
    ({"x": "multivector", "w": MAP}, "return mv_linear(x, w, w)", 30, "mv_linear needs a value as bias", None),
    ({"x": "multivector", "w": MAP, "v": ["n"]}, "return mv_linear(x, w, v)", 14, "out varies along m", "declare out"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=m, to=n)", 29, "m, which the value lacks", "its axes: b n"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=n, to=b)", 14, "has an axis b already", "its axes: b n"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=n, to=n)", 14, "has an axis n already", "its axes: b n"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=n, to=q)", 35, "there is no axis q", "the axes are b n m"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=q, to=m)", 29, "there is no axis q", "the axes are b n m"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=n, to=3)", 35, "needs the name of an axis", "are b n m"),
    ({"x": "multivector", "w": MAP}, "return rename(x, axis=n)", 14, "rename needs its argument to", "to: other"),
    ({"x": "multivector", "w": MAP}, "return rename(w, axis=n, to=m)", 21, "rename needs a value as x", None),
    ({**XY, "w": FC}, "return dot(x.e, y.e, over=m)", 33, "over m, which the value lacks", "its axes: b n"),
    ({**XY, "w": FC}, "return dot(x.e, y.e)", 14, "dot needs its argument over", "over: axis"),
    ({**XY, "w": FC}, "return dot(x, y, over=n)", 14, "dot of two multivectors", "scalar_product(x, y)"),
]


@pytest.mark.parametrize("memory", ["blade b n", "... n blade"])
@pytest.mark.parametrize(
    ("inputs", "body", "column", "message", "hint"), MISTAKES, ids=[f"{m[1]} {m[3]}" for m in MISTAKES]
)
def test_mistakes(
    inputs: Mapping[str, str | list[str]], body: str, column: int, message: str, hint: str | None, memory: str
) -> None:
    """Refused at its place; column 14 is where what is returned begins."""
    spec = one((2, 0, 0), inputs, body, memory=memory)
    with pytest.raises(KgenError) as caught:
        trace(spec, spec.kernels[0], {})
    found = caught.value
    assert message in found.message and (hint is None or hint in (found.hint or "")), (found.message, found.hint)
    assert found.mark and (found.mark.line, found.mark.column) == (10, column)


@pytest.mark.parametrize("body", ["return rename(x, axis=b, to=m)", "return rename(sum(x, over=b), axis=n, to=b)"])
def test_leading_axes_have_no_other_name(body: str) -> None:
    """`...` are any number of axes; where b is one axis, it is renamed."""
    inputs = {"x": "multivector", "w": "weights(x)[n, m]"}
    spec = one((2, 0, 0), inputs, body, memory="... n blade")
    with pytest.raises(KgenError, match="leading axes `...` have no other name") as caught:
        trace(spec, spec.kernels[0], {})
    assert caught.value.mark and (caught.value.mark.line, caught.value.mark.column) == (10, 14)
    spec = one((2, 0, 0), inputs, body)
    assert {*trace(spec, spec.kernels[0], {}).outputs[0].tensor.axes} in ({"m", "n"}, {"b"})


# calls that are refused


def drawn(variant: Variant, b: int = 2, n: int = 3, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return dict(zip(variant.operator.inputs, variant.values(b, n, dtype)))


def wide(x: Tensor) -> Tensor:
    return torch.cat([x, x], -1)


def turned(x: Tensor) -> Tensor:
    """As (n, m, path) instead of (path, n, m)."""
    return x.permute(1, 2, 0)


def swapped(x: Tensor) -> Tensor:
    """As (n, path, m)."""
    return x.permute(1, 0, 2)


def fewer(x: Tensor) -> Tensor:
    return x[:, 1:]


Change = Callable[[Tensor], Tensor]
REFUSED: list[tuple[Variant, str, Change, str]] = [
    (FCGP, "x", wide, "y must have shape (4, b, n) with n = 6 where it has 3, got (4, 2, 3)"),
    (FCGP, "y", wide, "y must have shape (4, b, n) with n = 3 where it has 6, got (4, 2, 6)"),
    (FCGP, "weight", turned, "weight must have shape (10, n, m) with 10 where it has 3, got (3, 2, 10)"),
    (FCGP, "weight", swapped, "weight must have shape (10, n, m) with 10 where it has 3, got (3, 10, 2)"),
    (FCGP, "weight", lambda w: w.mT, "weight must have shape (10, n, m) with n = 3 where it has 2, got (10, 2, 3)"),
    (FCGP, "weight", lambda w: w[1:], "weight must have shape (10, n, m) with 10 where it has 9, got (9, 3, 2)"),
    (FCGP, "weight", lambda w: w[:, :2], "weight must have shape (10, n, m) with n = 3 where it has 2, got (10, 2, 2)"),
    (FCGP, "weight", lambda w: w[..., 0].T, "weight must have shape (10, n, m), got (3, 10)"),  # sgp's
    (FCGP, "weight", Tensor.long, "weight must be float16, bfloat16, float32 or float64, got torch.int64"),
    (LINEAR, "weight", turned, "weight must have shape (3, n, m) with n = 3 where it has 2, got (3, 2, 3)"),
    (LINEAR, "weight", wide, "bias must have shape (4, m) with m = 4 where it has 2, got (4, 2)"),
    (LINEAR, "bias", lambda v: v[:1], "bias must have shape (4, m) with 4 where it has 1, got (1, 2)"),
    (LAYER, "linear_weight", wide, "linear_weight must have shape (3, n, n) with n = 3 where it has 6, got (3, 3, 6)"),
    (LAYER, "gp_weight", lambda w: w.T, "gp_weight must have shape (n, 10) with n = 3 where it has 10, got (10, 3)"),
    (FC_LAYER, "gp_weight", fewer, "gp_weight must have shape (10, n, m) with n = 3 where it has 2, got (10, 2, 2)"),
    (DIFFUSION, "basis", lambda x: x[1:], "basis must have shape (v, k) with v = 2 where it has 1, got (1, 3)"),
    (DIFFUSION, "basis", lambda x: x.T, "basis must have shape (v, k) with v = 2 where it has 3, got (3, 2)"),
    (DIFFUSION, "mass", wide, "mass must have shape (v,) with v = 2 where it has 4, got (4,)"),
    (DIFFUSION, "evalues", wide, "evalues must have shape (k,) with k = 3 where it has 6, got (6,)"),
    (DIFFUSION, "times", wide, "times must have shape (c,) with c = 2 where it has 4, got (4,)"),
    (BATCHED, "basis", lambda x: x.repeat(2, 1, 1), "basis must have leading axes equal to those of x, (2,) of shape "
     "(2, 2, 2), or 1, got (4,) of shape (4, 2, 3)"),
    (SLOPES, "a_real", wide, "a_real must have shape (c, c) with c = 2 where it has 4, got (2, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("variant", "name", "change", "message"), REFUSED, ids=lambda x: x if isinstance(x, str) else None
)
def test_refused(variant: Variant, name: str, change: Change, message: str) -> None:
    """Extents that differ, and weights in another memory order: which argument, what was expected, what it is."""
    inputs = drawn(variant)
    inputs[name] = change(inputs[name])
    with pytest.raises(ValueError, match=f"^{variant.operator.function}: {re.escape(message)}$"):
        variant(*inputs.values())


# sizes


def with_grad(inputs: Mapping[str, Tensor], variant: Variant) -> Tensors:
    return tuple(x.detach().requires_grad_(name in variant.operator.grads) for name, x in inputs.items())


def sized(variant: Variant, dtype: torch.dtype = torch.float64, *, b: int = 2, **others: int) -> Tensors:
    """Random leaves with extents by the names of their axes."""
    random, sizes = torch.Generator().manual_seed(3), {"b": b, **others}
    dims = variant.of.KERNELS[variant.operator.function]["inputs"]
    shapes = {name: [sizes.get("b" if d == "..." else d, d) for d in own] for name, own in dims.items()}
    drawn = {name: torch.randn(shape, generator=random, dtype=torch.float64) for name, shape in shapes.items()}
    return with_grad({name: x.to(DEVICE, dtype) for name, x in drawn.items()}, variant)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 17), (3, 129), (17, 3), (129, 1)])
@each([FCGP, LINEAR, FC_LAYER])
def test_features(variant: Variant, n: int, m: int) -> None:
    """As many as no tile holds, other ones in than out."""
    inputs = sized(variant, b=5, n=n, m=m)
    with launching(variant.of):
        found = gradients(variant, inputs)
    close(variant(*inputs), variant.reference(*inputs), 1e-11)
    close(found, gradients(variant.reference, inputs), 1e-9)


@pytest.mark.parametrize(("v", "c", "k"), [(1, 1, 1), (129, 3, 17), (17, 129, 3), (3, 17, 129)])
@each([DIFFUSION, BATCHED, SLOPES])
def test_meshes(variant: Variant, v: int, c: int, k: int) -> None:
    inputs = sized(variant, b=2, v=v, c=c, k=k)
    if variant is not SLOPES:  # decay, growth would be by e^10
        positive = [x.detach().abs() if i > 2 else x.detach() for i, x in enumerate(inputs)]
        inputs = with_grad(dict(zip(variant.operator.inputs, positive)), variant)
    with launching(variant.of):
        found = gradients(variant, inputs)
    close(found, gradients(variant.reference, inputs), 1e-9)


@pytest.mark.parametrize("empty", ["b", "n", "m"])
@each([PRODUCT, LINEAR, FC_LAYER])
@pytest.mark.usefixtures("poisoned")
def test_sums_over_nothing_are_zero(variant: Variant, empty: str) -> None:
    """Of features or rows, in all orders; what is not zero does not come from the sum: a bias, or its gradient."""
    sizes = {"b": 3, "n": 5, "m": 4} | {empty: 0}
    inputs = sized(variant, b=sizes["b"], n=sizes["n"], m=sizes["m"])
    value = variant(*inputs)
    assert value.shape == (4, sizes["b"], sizes["m"])
    bias = inputs[2] if variant is LINEAR else torch.zeros((), dtype=value.dtype, device=DEVICE)
    assert torch.equal(value, (0 * value + bias[:, None]) if variant is LINEAR else torch.zeros_like(value))
    first = torch.autograd.grad(energy(variant)(*inputs), inputs, create_graph=True)
    assert [x.shape for x in first] == [x.shape for x in inputs]
    for x, of in zip(first, inputs):
        assert of is bias or not x.any()
    second = torch.autograd.grad([x.sum() for x in first], inputs, materialize_grads=True)
    assert all(of is bias or not x.any() for x, of in zip(second, inputs))


# dtypes

HALF, FULL = (torch.float16, torch.bfloat16, torch.float32), (torch.float32, torch.float64)


@each([PRODUCT, FCGP])
def test_products_beyond_fp16(variant: Variant) -> None:
    """Products of features exceed its largest number, 65504; results and gradients are in its range."""
    x, y, weight = (x.detach() for x in sized(variant, torch.float16, b=3, n=8, m=4))
    inputs = with_grad({"x": 300 * x, "y": 300 * y, "weight": weight / 500}, variant)
    in_double = with_grad({name: x.double() for name, x in zip(("x", "y", "weight"), inputs)}, variant)
    assert float((x.double() * y.double()).abs().max()) * 300**2 > 65504
    cotangent = torch.ones(4, 3, 4, device=DEVICE) / 8
    for found, expected in zip(along(variant, inputs, cotangent), along(variant.reference, in_double, cotangent)):
        finite = expected.abs() < 65000
        assert finite.any() and found.dtype == torch.float16
        error = (found[finite].double() - expected[finite]).detach().abs().max()
        assert bool(error <= 2e-3 * expected[finite].detach().abs().max())


def along(function: Callable[..., Tensor], inputs: Tensors, cotangent: Tensor) -> list[Tensor]:
    """The value, and gradients for a cotangent."""
    value = function(*inputs)
    return [value, *torch.autograd.grad(value, inputs, cotangent.to(value.dtype))]


@each([FCGP, LINEAR, FC_LAYER, SLOPES])
@pytest.mark.parametrize("dtypes", [*itertools.permutations(HALF, 2), *itertools.permutations(FULL, 2)], ids=str)
def test_one_input_of_another_dtype(variant: Variant, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    """Whichever it is: the result is of the wider dtype, products too, and each gradient of its input's."""
    arithmetic = torch.promote_types(*dtypes)
    for which in variant.operator.inputs:
        mixed = {name: x.to(dtypes[name == which]) for name, x in drawn(variant, 2, 5).items()}
        inputs = with_grad(mixed, variant)
        value, *found = along(variant, inputs, torch.ones((), device=DEVICE).expand(variant(*inputs).shape))
        in_double = with_grad({name: x.double() for name, x in mixed.items()}, variant)
        expected = along(variant.reference, in_double, torch.ones((), device=DEVICE).expand(value.shape))
        assert value.dtype == arithmetic
        assert [x.dtype for x in found] == [x.dtype for x in mixed.values()]
        for x, exact in zip([value, *found], expected):
            rounding = 16 * max(torch.finfo(x.dtype).eps, torch.finfo(arithmetic).eps)
            assert float((x.double() - exact).detach().norm()) <= rounding * float(exact.detach().norm())


@each(CONTRACTIONS)
def test_autocast(variant: Variant) -> None:
    """Around a call it changes no bit of values, gradients, and their gradients, which references may compute."""
    plain, casting = (orders(variant, variant.inputs(3, 5, torch.float32), on) for on in (False, True))
    assert [x.dtype for x in casting] == [torch.float32] * len(plain)
    assert all(torch.equal(a, b) for a, b in zip(plain, casting))


def orders(variant: Variant, inputs: Tensors, autocast: bool) -> list[Tensor]:
    """The value, gradients and their gradients; where kernels run, autocast is on in backwards, too."""
    leaves = [x for x in inputs if x.requires_grad]
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=autocast):
        value = variant(*inputs)
    with torch.autocast(DEVICE.type, dtype=torch.bfloat16, enabled=autocast and LAUNCHES):
        first = torch.autograd.grad(value, leaves, value.detach().cos(), create_graph=True)
        curved = [x.square().sum() for x in first if x.requires_grad]
        return [value, *first, *torch.autograd.grad(curved, leaves, materialize_grads=True)]


# products that nobody needs


@pytest.mark.skipif(not LAUNCHES, reason="the reference runs")
@pytest.mark.parametrize(
    ("variant", "products"),
    [
        (FCGP, {"": 2, "x": 2, "y": 2, "x y": 2, "weight": 2, "x weight": 4, "x y weight": 4}),
        (PRODUCT, {"": 3, "x": 3, "weight": 3, "x y weight": 6}),
        (FC_LAYER, {"": 3, "x": 3, "gp_weight": 2, "linear_weight": 3, "x gp_weight linear_weight": 6}),
        (LINEAR, {"": 1, "x": 1, "weight": 1, "bias": 0, "x bias": 1, "x weight bias": 2}),
        (DIFFUSION, {"": 2, "times": 1, "x": 2, "x times": 2}),
        (SLOPES, {"": 1, "x_slope": 1, "a_real": 1, "x_slope y_slope": 2, "x_slope a_real": 2}),
    ],
    ids=lambda x: str(x) if isinstance(x, Variant) else "",
)
def test_unwanted_products(variant: Variant, products: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """How many products the forward (""), and then the gradients that are wanted, ask of the library or of kernels."""
    counted: list[Any] = []
    known = runtime(variant.of, "matmul").product

    def product(a: Tensor, *rest: Any, **options: Any) -> Any:
        counted.append(a)
        return known(a, *rest, **options)

    def contraction(kernel: Any, *rest: Any) -> None:
        counted.append(kernel)
        launch(kernel, *rest)

    launch = runtime(variant.of, "matmul").contract
    monkeypatch.setattr(runtime(variant.of, "matmul"), "product", product)
    monkeypatch.setattr(runtime(variant.of, "matmul"), "contract", contraction)
    found = {}
    for wanted in products:
        inputs = {name: x.requires_grad_(name in wanted.split()) for name, x in drawn(variant).items()}
        value = variant(*inputs.values())
        if wanted:
            counted.clear()
            torch.autograd.grad(value.sum(), [inputs[name] for name in wanted.split()])
        found[wanted] = len(counted)
        counted.clear()
    assert found == products


# memory orders of factors

INNERMOST = {
    FCGP: [(True, True)] * 6,
    LINEAR: [(True, True), (True, True), (False, False)],
    DIFFUSION: [(False, False), (True, True), (False, False), (True, True)],
}
AS_THEY_ARE = INNERMOST | {
    FCGP: [(True, False)] * 2 + [(True, True)] * 2 + [(False, False)] * 2,
    LINEAR: [(True, False), (True, True), (False, False)],
}


@pytest.mark.skipif(not LAUNCHES, reason="the reference runs")
@each([FCGP, LINEAR, DIFFUSION])
@pytest.mark.parametrize(
    ("dtype", "extent", "long"),
    [(torch.float32, 8, 8), (torch.float16, 8, 8), (torch.float32, 6, 6), (torch.float32, 8, 12)]
    + [(torch.bfloat16, 8, 8), (torch.float64, 8, 8)],
)
def test_innermost(
    variant: Variant, dtype: torch.dtype, extent: int, long: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In which factors of the forward and the backward the contracted axis is innermost.

    As many as can be without much copying in fp32, which may be tf32, if the axis is long and rows are aligned.
    """
    found: list[tuple[bool, bool]] = []
    known = runtime(variant.of, "matmul").product

    def product(a: Tensor, b: Tensor, *rest: Any, **options: Any) -> Any:
        found.append((a.stride(-1) == 1, b.stride(-2) == 1))
        return known(a, b, *rest, **options)

    monkeypatch.setattr(runtime(variant.of, "matmul"), "product", product)
    monkeypatch.setattr(runtime(variant.of, "matmul"), "LONG", long)
    monkeypatch.setattr(runtime(variant.of, "device"), "on_tensor_cores", lambda *_: False)  # all by the library
    inputs = sized(variant, dtype, **dict.fromkeys("bnmvck", extent))
    gradients(variant, inputs)
    turned = dtype in (torch.float16, torch.float32) and extent >= long and extent % 4 == 0
    assert sorted(found) == sorted((INNERMOST if turned else AS_THEY_ARE)[variant])


@each([FCGP, PRODUCT, LINEAR, LAYER, FC_LAYER, SLOPES])
@pytest.mark.parametrize("sizes", [(4, 4, 4), (36, 20, 68), (68, 36, 20)], ids=str)
def test_turned_values(variant: Variant, sizes: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of factors that are turned or copied: those of the reference, at the edges of tiles, too."""
    monkeypatch.setattr(runtime(variant.of, "matmul"), "LONG", 4)
    b, n, m = sizes
    inputs = sized(variant, torch.float32, b=b, n=n, m=m, v=b, c=n, d=n)
    with launching(variant.of):
        found = gradients(variant, inputs)
    doubles = tuple(x.detach().double().requires_grad_(x.requires_grad) for x in inputs)
    for x, exact in zip(found, gradients(variant.reference, doubles)):
        assert float((x.double() - exact).detach().norm()) <= 1e-4 * float(exact.detach().norm())


@pytest.mark.skipif(not LAUNCHES, reason="the reference runs")
@pytest.mark.parametrize(
    ("rows", "processors", "dtype", "parts"),
    [(4096, 16, torch.float32, 4), (4096, 1000, torch.float32, 8), (3000, 1000, torch.float32, 4)]
    + [(1022, 1000, torch.float32, 1), (4096, 4, torch.float32, 1), (4096, 16, torch.float64, 4)]
    + [(4096, 16, torch.bfloat16, 1)],
    ids=str,
)
def test_parts(rows: int, processors: int, dtype: torch.dtype, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of weights' gradients: as many parts as a device has room for, and as have 512 rows; the same bits again."""
    monkeypatch.setattr(runtime(LINEAR.of, "matmul"), "multiprocessors", lambda _: processors)
    batches: list[int] = []
    known = runtime(LINEAR.of, "matmul").product

    def product(a: Tensor, *rest: Any) -> Any:
        batches.append(a.shape[0])
        return known(a, *rest)

    monkeypatch.setattr(runtime(LINEAR.of, "matmul"), "product", product)
    x, g = (torch.randn(4, rows, n, dtype=dtype, device=DEVICE) for n in (3, 5))
    found = runtime(LINEAR.of, "matmul").in_parts(x.mT, g)
    assert batches == [4 * parts]
    exact = x.double().mT @ g.double()
    assert float((found.double() - exact).norm()) <= (1e-2 if dtype is torch.bfloat16 else 1e-5) * float(exact.norm())
    assert found.equal(runtime(LINEAR.of, "matmul").in_parts(x.mT, g))


# results and gradients that are used alone


@each([FCGP, PRODUCT, LINEAR, SLOPES])
def test_one_gradient_differentiated(variant: Variant) -> None:
    """What the others' cotangents would be multiplied with contributes nothing, though all matrices have one shape."""
    for which in range(len(variant.operator.grads)):
        ours, theirs = (curvature(f, variant.inputs(2, 2), which) for f in (variant, variant.reference))
        assert any(x.any() for x in theirs)
        close(ours, theirs, 1e-9)


def curvature(function: Callable[..., Tensor], inputs: Tensors, which: int) -> Tensors:
    """The gradients of one of the gradients."""
    leaves = [x for x in inputs if x.requires_grad]
    (first,) = torch.autograd.grad(energy(function)(*inputs), leaves[which], create_graph=True)
    return torch.autograd.grad(first.square().sum(), leaves, materialize_grads=True)


@each([DIFFUSION, BATCHED])
@pytest.mark.parametrize("used", [0, 1], ids=["out", "spectral"])
def test_one_result_used(variant: Variant, used: int) -> None:
    """And the gradients, and theirs, of that one alone."""
    ours, theirs = (getattr(variant.of, variant.operator.function + suffix) for suffix in ("", "_reference"))
    inputs = variant.inputs(3)
    for which in (0, 1):
        found, expected = (curvature(lambda *x, f=f: f(*x)[used], inputs, which) for f in (ours, theirs))
        close(found, expected, 1e-9)
    found, expected = (gradients(lambda *x, f=f: f(*x)[used], inputs) for f in (ours, theirs))
    assert all(x.any() for x in expected)
    close(found, expected, 1e-9)


# memory


@each([FCGP, LINEAR, FC_LAYER, DIFFUSION, BATCHED, SLOPES])
def test_strides(variant: Variant) -> None:
    """Transposed, with gaps, or one number seen many times, cotangents too: what their copies give, in two orders."""
    turned = {name: x.movedim(0, -1).contiguous().movedim(-1, 0) for name, x in drawn(variant, 3, 5).items()}
    gaps = {name: x.repeat_interleave(2, -1)[..., ::2] for name, x in turned.items()}
    seen = {name: x[..., :1].expand_as(x) for name, x in turned.items()}
    for strided in (turned, gaps, seen):
        copies = {name: x.clone(memory_format=torch.contiguous_format) for name, x in strided.items()}
        assert any(not x.is_contiguous() for x in strided.values())
        close(sums(variant, with_grad(strided, variant)), sums(variant, with_grad(copies, variant)), 1e-12)


def sums(variant: Variant, inputs: Tensors) -> list[Tensor]:
    """The gradients of the sum, whose cotangent is one number, and of theirs."""
    leaves = [x for x in inputs if x.requires_grad]
    first = torch.autograd.grad(variant(*inputs).sum(), leaves, create_graph=True)
    curved = [x.square().sum() for x in first if x.requires_grad]
    return [*first, *torch.autograd.grad(curved, leaves, materialize_grads=True)]


# torch's compilers and transforms


@each([FCGP, LINEAR, FC_LAYER, DIFFUSION])
def test_compiled(variant: Variant) -> None:
    """Forward and backward are one graph, for any number of rows, from which rows of products are computed."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(variant, fullgraph=True, backend=counter)
    for size in (2, 3, 65):
        inputs = variant.inputs(size)
        for x, dims in zip(inputs, variant.of.KERNELS[variant.operator.function]["inputs"].values()):
            for axis in {"b", "v"} & {*dims}:
                torch._dynamo.mark_dynamic(x, dims.index(axis))
        close(gradients(compiled, inputs), gradients(variant.reference, inputs), 1e-9)
    assert counter.frame_count == 1


@each([DIFFUSION, BATCHED, SLOPES])
def test_vmap_over_meshes(variant: Variant) -> None:
    """Of results and of gradients; the last input is shared."""
    *some, last = variant.values(3)
    batch, dims = [torch.stack([x, -x]) for x in some], (*[0] * len(some), None)
    with launching(variant.of):
        found = vmap(variant, dims)(*batch, last), vmap(grad(energy(variant), len(some)), dims)(*batch, last)
    rows = [(*row, last) for row in zip(*batch)]
    close(found[0], torch.stack([variant.reference(*row) for row in rows]))
    close(found[1], torch.stack([grad(energy(variant.reference), len(some))(*row) for row in rows]))


@each([DIFFUSION, BATCHED, SLOPES])
def test_finite_differences(variant: Variant) -> None:
    """Both modes, batched and to the second order."""
    with launching(variant.of):
        assert torch.autograd.gradcheck(
            variant, variant.inputs(2), check_forward_ad=True, check_batched_grad=True, fast_mode=True
        )
        assert torch.autograd.gradgradcheck(variant, variant.inputs(2), check_fwd_over_rev=True, fast_mode=True)
