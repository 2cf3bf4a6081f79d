"""Products of all components as one matrix, and products that are added to what others made."""

from pathlib import Path

import pytest

from kgen.emit.variants import variants_of
from kgen.schedule.products import Product
from kgen.schedule.program import Program
from kgen.spec.load import load

SPEC = Path(__file__).parents[1] / "specs" / "dense.yaml"


def programs(kernel: str, dense: bool = True) -> tuple[Program, ...]:
    text = SPEC.read_text(encoding="utf-8")
    spec = load("specs/dense.yaml", text if dense else text.replace("    dense: true\n", ""))
    (variant,) = variants_of(spec, spec.kernel(kernel))
    return variant.programs


def launches(program: Program) -> int:
    return len(program.steps)


def product(program: Program, result: str) -> Product:
    return next(p for p in program.products if p.result.name == result)


def test_a_map_is_one_product_each_way() -> None:
    """Of x and the cotangent as they lie; a weight's gradient is of all components with all."""
    forward, backward, _ = programs("map")
    (made,) = forward.products
    assert (made.left.tensor.name, made.counts, made.batch) == ("x", (1, 8, 8), 1)
    of_x, of_w = product(backward, "grad_x"), product(backward, "product")
    assert [o.tensor.name for o in of_x.operands] == ["grad_out", "factor_w"]
    assert {o.tensor.name for o in of_w.operands} == {"x", "grad_out"}
    assert of_w.counts == (8, 1, 8) and len(backward.products) == 2


def test_fewer_launches() -> None:
    for dense, usual in zip(programs("layer"), programs("layer", dense=False)):
        assert launches(dense) < launches(usual)


def test_zeros_are_not_stored() -> None:
    """Memory that is zero already: a kernel stores the weights of a map alone, each where it belongs."""
    forward, *_ = programs("map")
    stored = {o.tensor.name: o for kernel in forward.kernels for o in kernel.stores}["factor_w"]
    zeros = sum(f.kind == "Const" and f.value == 0 for f in stored.fields)
    assert stored.tensor.cleared and len(stored.fields) == 64 and zeros == 48


def test_numbers_scale_weights() -> None:
    """And not what is long: then a cotangent, or what is multiplied twice, would be stored once for each number."""
    forward, backward, _ = programs("layer")
    long = {t.name: t for p in (forward, backward) for m in p.products for t in m.inputs if t.axes[:1] == ("b",)}
    assert {t.axes: len(t.labels) for name, t in long.items() if name in ("factor_y", "factor_z", "factor_grad_o")} == {
        ("b", "n"): 8,
        ("b", "k"): 8,
        ("b", "m"): 8,
    }


def test_always_added() -> None:
    """One tensor has the sum of two products, and is what the backward reads; the third is by itself."""
    forward, _, _ = programs("added")
    first, second, alone = sorted(forward.products, key=lambda p: p.result.name != "saved_product")
    assert first.result is second.result and second.added and not first.added and not alone.added
    assert [t.name for t in forward.saved] == [first.result.name, alone.result.name]


@pytest.mark.parametrize(
    "body",
    [
        "a = dot(x, v, over=n)\n      return a + dot(y, w, over=k), a * a",  # one is read alone
        "a = dot(x, v, over=n)\n      b = dot(y, w, over=k)\n      return exp(a + b), exp(a + 2 * b)",  # two sums
        "a = dot(x, v, over=n)\n      b = dot(y, w, over=k)\n      return exp(a * b), exp(a)",  # no sum
    ],
)
def test_not_always_added(body: str) -> None:
    head = 'kgen: 1\nname: f\nkernels:\n  f:\n    inputs: {x: "[..., n]", y: "[..., k]", v: "[n, m]", w: "[k, m]"}\n'
    outputs = '    outputs: {one: "[..., m]", two: "[..., m]"}\n'
    spec = load("specs/f.yaml", f"{head}{outputs}    body: |\n      {body}\n")
    (variant,) = variants_of(spec, spec.kernel("f"))
    made = variant.programs[0].products
    assert len(made) == 2 and made[0].result is not made[1].result
