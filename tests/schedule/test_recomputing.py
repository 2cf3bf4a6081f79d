"""Which fields a forward stores for its backward because to compute them again takes longer than to read them."""

import pytest
from handmade import one

from kgen.emit.variants import variants_of
from kgen.schedule.program import Kernel, Program
from kgen.schedule.recomputing import STORED_AND_LOADED, dear
from kgen.schedule.schedule import schedule
from kgen.spec.load import load
from kgen.trace.trace import trace

SPEC = """\
kgen: 1
name: normed
algebra: {{signature: {signature}}}
layout:
  multivector: [b, n, blade]
  weights: {{order: [left, out, right], memory: [n, path], fully_connected: [m, n, path], gradewise: [m, n, grade]}}
kernels:
  f:
    order: 1
    inputs: {{x: multivector, y: multivector, weight: "weights(x, y)"}}
    body: |
      xy = sgp(x, y, weight)
      return xy / (mean(norm_squared(xy), over=n) + 1)
"""


def programs(signature: list[int]) -> tuple[Program, ...]:
    spec = load("specs/normed.yaml", SPEC.format(signature=signature))
    (variant,) = variants_of(spec, spec.kernels[0])
    return variant.programs


def stored(kernel: Kernel) -> int:
    return sum(len(o.fields) for o in kernel.stores)


@pytest.mark.parametrize(("signature", "blades"), [([1, 3, 0], 16), ([5, 0, 0], 32)])
def test_products_are_dear_from_32_blades_on(signature: list[int], blades: int) -> None:
    """A component of a weighted product has a term for each blade, of three operations: 48 or 96."""
    spec = load("specs/normed.yaml", SPEC.format(signature=signature))
    found = dear(trace(spec, spec.kernels[0], {}).roots)
    products = [n for n in found if len(n.args) == blades and all(len(a.args) == 3 for a in n.args)]
    assert 48 < STORED_AND_LOADED < 96 and len(products) == (32 if blades == 32 else 0)


def test_what_is_dear_is_computed_by_one_kernel_and_read_by_others() -> None:
    forward, backward = programs([5, 0, 0])
    assert [k.kind for k in forward.kernels] == ["map", "row"]
    product, norm = forward.kernels
    (saved,) = (o.tensor for o in product.stores)
    assert saved in forward.saved and saved in norm.inputs and len(saved.labels) >= 32
    assert norm.cost.total < product.cost.total / 10
    most = max(k.cost.total for k in backward.kernels)  # of both gradients, each a product; the third one is read
    assert any(saved.name in k.reads for k in backward.kernels) and most < 2.5 * product.cost.total


def test_what_is_not_stays_in_registers() -> None:
    forward, _ = programs([1, 3, 0])
    (whole,) = forward.kernels
    assert whole.kind == "row" and all(len(t.labels) < 16 for t in forward.saved) and stored(whole) == 17


def test_norms_along_two_axes_are_stored_by_the_kernels_that_make_them() -> None:
    """Both are a number for each row; in one tensor they were one kernel's to store, and another summed once more."""
    body = "return x / sqrt(1 + mean(x ** 2, over=n)), s / sqrt(1 + mean(s ** 2, over=m))"
    spec = one(None, {"x": ["b", "n"], "s": ["b", "m"]}, body, outputs={"y": ["b", "n"], "t": ["b", "m"]})
    forward, *_ = schedule(trace(spec, spec.kernels[0], {}), ("x", "s"))
    assert [(k.kind, len(k.stores)) for k in forward.kernels] == [("row", 2), ("row", 2)]
    assert [t.dims for t in forward.saved] == [(1, "b"), (1, "b")]
