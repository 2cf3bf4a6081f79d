"""The gradient of a maximum: it goes to the elements that are equal to it, evenly, whichever kernel computes them.

What a maximum is taken of is factored one way in the forward and another way in the backward, so that a comparison of
what both compute would find few elements or none.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from handmade import one
from modules import DEVICE, agree, compiled, draw
from torch import Tensor

from kgen.graph.node import Node, spell
from kgen.schedule.maxima import compared, rounded
from kgen.schedule.products import MATRIX
from kgen.schedule.program import WORKSPACE
from kgen.schedule.schedule import schedule
from kgen.tools.comparison import compare
from kgen.tools.problem import kernel_files
from kgen.trace.trace import trace

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of lanes that a mask discards
]
INPUTS = "x: multivector, y: multivector, w: [n]"  # the gradient of w is a fold, which cuts a backward with row sums
BODIES = {
    "by_row": "return max(x.e1 * norm_squared(x) * y.e, over=n) * w * (x * y)",
    "by_column": "return max(x.e1 * norm_squared(x) * y.e, over=b) * w * (x * y)",
    "by_both": "return max(x.e1 * norm_squared(x) * y.e, over=n), max(w * norm_squared(x) * y.e, over=b)",
    "of_sums": "return max(sum(x.e1 * norm_squared(x) * y.e, over=b), over=n) * w * (x * y)",
    "of_weights": "return max(x.e1 * norm_squared(x) * y.e, over=n) * max(w, over=n)",
    "nested": "return max(max(x.e1 * norm_squared(x) * y.e, over=n) * mean(y.e, over=n), over=b) * w * (x * y)",
    "softmax": "s = x.e1 * norm_squared(x) * y.e\nt = exp(s - max(s, over=n))\nreturn t / sum(t, over=n) * w * x",
    "beside_outputs": (  # of an input that a stored output gives back, but for its last bits
        "r = rsqrt(1 + sum(norm_squared(x), over=n))\n"
        "return x.e1 * y.e * y.e1 * r, x.e * r, max(x.e, over=n) * y.e2 * w"
    ),
}
TEXT = """\
kgen: 1
name: maxima
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [..., n, blade]
kernels:
"""


@pytest.fixture(scope="module")
def maxima(compiled_folder: Path) -> ModuleType:
    """All bodies as one module."""
    text = TEXT
    for name, body in BODIES.items():
        text += f"  {name}:\n    inputs: {{{INPUTS}}}\n    body: |\n"
        text += "".join(f"      {line}\n" for line in body.splitlines())
    return compiled(text, compiled_folder)


@pytest.mark.parametrize("kernel", BODIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_gradients(kernel: str, dtype: torch.dtype, maxima: ModuleType) -> None:
    """They agree with the reference's in fp64, in rows of several lengths."""
    for sizes in ({"b": 3, "n": 5}, {"b": 5, "n": 70}):
        agree(maxima, kernel, draw(maxima, kernel, sizes, dtype, scale=0.5))


@pytest.mark.parametrize("kernel", BODIES)
def test_long_rows(kernel: str, maxima: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are swept in tiles, over and over: what is compared is read each time."""
    smaller = {"tile": 16, "pack": 16, "resident": 0}
    for file in kernel_files(maxima):
        table = {k: v._replace(**smaller, programs=2 if v.programs else 0) for k, v in file.LAUNCH.items()}
        monkeypatch.setattr(file, "LAUNCH", table)
    agree(maxima, kernel, draw(maxima, kernel, {"b": 3, "n": 37}))


@pytest.mark.parametrize("kernel", BODIES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_second_derivatives(kernel: str, dtype: torch.dtype, maxima: ModuleType) -> None:
    inputs = list(draw(maxima, kernel, {"b": 3, "n": 5}, dtype, scale=0.5).values())
    found = second(getattr(maxima, kernel), inputs)
    expected = second(getattr(maxima, f"{kernel}_reference"), [x.double() for x in inputs])
    errors = [compare(a, b) for a, b in zip(found, expected, strict=True)]
    assert all(error.agrees for error in errors), errors


def second(function: Callable[..., Any], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Derivatives of the squared gradients of the squared results."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    results = function(*leaves)
    energy = torch.stack([x.square().sum() for x in (results if isinstance(results, tuple) else (results,))]).sum()
    first = torch.autograd.grad(energy, leaves, create_graph=True)
    return torch.autograd.grad(torch.stack([x.square().sum() for x in first]).sum(), leaves)


@pytest.mark.parametrize("kernel", [name for name in BODIES if name != "softmax"])
def test_ties(kernel: str, maxima: ModuleType) -> None:
    """Whole numbers, each row and column several times: elements are equal, and share the cotangent."""
    random = torch.Generator().manual_seed(3)
    few = [torch.randint(-2, 3, shape, generator=random).double() for shape in ((2, 3, 4), (2, 3, 4), (3,))]
    inputs = {name: x.repeat((2, 3, 1) if x.ndim > 1 else 3).to(DEVICE) for name, x in zip("xyw", few)}
    for dtype in (torch.float64, torch.float32, torch.float16):
        agree(maxima, kernel, {name: x.to(dtype) for name, x in inputs.items()})


# what is stored for it


def saved(body: str, grads: Sequence[str] = ("x", "y")) -> list[tuple[tuple[str | int, ...], str | None]]:
    """What the forward saves: dims and dtype."""
    spec = one((2, 0, 0), {"x": "multivector", "y": "multivector"}, body)
    forward, *_ = schedule(trace(spec, spec.kernels[0], {}), grads)
    return [(t.dims, t.dtype) for t in forward.saved]


FIELD, ROW = ((1, "b", "n"), WORKSPACE), ((1, "b"), WORKSPACE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return max(x.e * y.e * x.e1, over=n) * y", [FIELD]),  # in the arithmetic's precision, and not its maximum
        ("return max(abs(x.e * y.e), over=n) * y", [FIELD]),
        ("return max(x.e, over=n) * y", [ROW]),
        ("return -max(-x.e, over=n) * y", [ROW]),
        ("return max(abs(minimum(x.e, y.e)), over=n) * y", [ROW]),
        ("return detach(max(x.e * y.e, over=n)) * y", [ROW]),  # nothing is compared
        ("return max(max(x.e * y.e, over=n), over=b) * y", [FIELD]),
        ("return max(dot(x.e, y.e, over=n), over=b) * y", [ROW]),
    ],
)
def test_what_is_saved(body: str, expected: list[object]) -> None:
    assert saved(body) == expected


def test_a_product_is_saved_once() -> None:
    """What a matrix product made is there, and is compared as it was rounded."""
    spec = one(None, {"x": ["b", "n"], "y": ["n", "m"]}, "return max(dot(x, y, over=n), over=m)")
    forward, *_ = schedule(trace(spec, spec.kernels[0], {}), ("x", "y"))
    assert [t.dtype for t in forward.saved] == [MATRIX]


def test_what_is_rounded() -> None:
    """Below a maximum of maxima it is what these are taken of."""
    spec = one((2, 0, 0), {"x": "multivector", "y": "multivector"}, "return where(x.e == y.e, x.e, y.e)")
    b = trace(spec, spec.kernels[0], {}).builder
    x, y = (b.input(name, 0, ("b", "n")) for name in ("x", "y"))
    top: Node = b.max(b.max(b.call("abs", b.mul(x, y)), "n"), "b")
    assert [spell(n) for n in rounded([top])] == [spell(b.mul(x, y))]
    assert compared([b.call("eq", top, top.args[0])]) == compared([b.call("eq", top.args[0], top)]) == [top]
    assert not compared([b.call("eq", x, top), b.call("gt", top.args[0], top)])
    assert not rounded([b.max(b.neg(x), "n")])
