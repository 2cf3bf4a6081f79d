"""Matrix products in generated modules, whatever gradients are wanted and whichever results are used.

Products write parts of results, and other steps may read these; cotangents that are missing leave their parts zero.
"""

from collections.abc import Sequence
from itertools import chain, combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, compiled, shape
from torch import Tensor
from variants import close

SPEC = """\
kgen: 1
name: products
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}
kernels:
  difference:  # the gradient of u is computed from that of x, whose parts are products
    inputs: {x: multivector, u: "multivector[n]", weight: "weights(x)[n, m]"}
    body: return mv_linear(x - 2 * u, weight)
  pair:
    inputs: {x: multivector, weight: "weights(x)[n, m]"}
    body: return mv_linear(x, weight), x * x
  nested:  # the first product is a result, and a factor of the second
    inputs: {x: multivector, first: "weights(x, x)[n, m]", second: "weights(x, x)[m, k]"}
    body: |
      y = fcgp(gelu(x), x, first)
      return y, fcgp(y, y, second)
  chain:  # factors of products and what is stored for folds are of one shape
    inputs: {x: [b, n], y: [b, m], s: [b]}
    outputs: {out: [b, n]}
    body: |
      v = tanh(dot(x, y, over=b))
      return tanh(dot(v, tanh(s / (2 + v * v)), over=m))
"""
TWIN = """\
kgen: 1
name: twin
kernels:
  f:  # another result reads the product of the first under another name of its axis
    inputs: {p: [b, c], q: [c, m], w: [m, n], s: [b, n], t: [b, k]}
    outputs: {o: [b, n], u: [b, k]}
    body: |
      r = dot(p, q, over=c)
      d = dot(r, w, over=m)
      return d + s, rename(d, axis=n, to=k) * t
  large:  # the rest alone is more than fp16 holds
    inputs: {p: [b, c], w: [c, n], s: [b, n]}
    body: return dot(p, w, over=c) + s * s
"""
CHAIN = """\
kgen: 1
name: chained
kernels:
  f:
    inputs: {x: [b, n], y: [n, m], z: [m, k], s: [b]}
    body: return dot(tanh(dot(x, rename(y, axis=m, to=k), over=n)), rename(z, axis=k, to=b), over=k) * s
"""
SIZES = {"b": 3, "n": 5, "m": 2, "k": 4}
Given = Sequence[int]


def subsets(count: int) -> list[Given]:
    return list(chain.from_iterable(combinations(range(count), n) for n in range(1, count + 1)))


@pytest.fixture(scope="module")
def of(compiled_folder: Path) -> ModuleType:
    return compiled(SPEC, compiled_folder)


def values(of: ModuleType, kernel: str) -> list[Tensor]:
    random = torch.Generator().manual_seed(0)
    extents = [shape(dims, SIZES) for dims in of.KERNELS[kernel]["inputs"].values()]
    return [torch.randn(extent, generator=random, dtype=torch.float64).to(DEVICE) for extent in extents]


def derived(function: Any, inputs: list[Tensor], wanted: Given, used: Given, twice: Given) -> list[Tensor]:
    """First gradients, and those of some of them by the inputs."""
    leaves = [x.clone().requires_grad_(i in wanted) for i, x in enumerate(inputs)]
    results = function(*leaves)
    results = results if isinstance(results, tuple) else (results,)
    sources = [leaves[i] for i in wanted]
    parts = [*(x.square() for x in sources), *(results[i].sin() for i in used)]
    first = torch.autograd.grad([x.sum() for x in parts if x.requires_grad], sources, create_graph=True)
    second = torch.autograd.grad([first[i].square().sum() for i in twice], sources, materialize_grads=True)
    assert all(torch.equal(x, leaf) for x, leaf in zip(inputs, leaves)), "an input was written to"
    return [*first, *second]


@pytest.mark.parametrize("kernel", ["difference", "pair", "nested", "chain"])
def test_some_gradients_of_some_results(kernel: str, of: ModuleType, poisoned: None) -> None:
    inputs, results = values(of, kernel), len(of.KERNELS[kernel]["outputs"])
    function, reference = getattr(of, kernel), getattr(of, f"{kernel}_reference")
    for wanted in subsets(len(inputs)):
        for used in subsets(results):
            for twice in [(i,) for i in range(len(wanted))]:
                found = derived(function, inputs, wanted, used, twice)
                close(found, derived(reference, inputs, wanted, used, twice))


def test_renamed_in_a_chain(compiled_folder: Path) -> None:
    """m is read as k, and k as b: all three are of one extent, under the outermost one's name."""
    of = compiled(CHAIN, compiled_folder)
    assert of.KERNELS["f"]["inputs"] == {"x": ("b", "n"), "y": ("n", "b"), "z": ("b", "b"), "s": ("b",)}
    inputs = [x.requires_grad_() for x in values(of, "f")]
    found, expected = (function(*inputs) for function in (of.f, of.f_reference))
    close([found], [expected], 1e-12)
    ours, theirs = (torch.autograd.grad(value.sin().sum(), inputs) for value in (found, expected))
    close(ours, theirs, 1e-12)
    with pytest.raises(ValueError, match="z must have shape"):
        of.f(*(x.detach() for x in inputs[:2]), inputs[2].detach()[:, :2], inputs[3].detach())


def test_read_under_another_name(compiled_folder: Path) -> None:
    """A product that another result reads, if only with its axes exchanged, is not added to the first one's rest."""
    of = compiled(TWIN, compiled_folder)
    inputs = [x.requires_grad_() for x in values(of, "f")]
    found, expected = (function(*inputs) for function in (of.f, of.f_reference))
    close(found, expected, 1e-12)
    ours, theirs = (torch.autograd.grad([v.sin().sum() for v in value], inputs) for value in (found, expected))
    close(ours, theirs, 1e-12)


def test_the_rest_may_overflow_alone(compiled_folder: Path) -> None:
    """What a product is added to is not rounded to fp16 before."""
    of = compiled(TWIN, compiled_folder)
    p, w = torch.full((3, 2), -100.0, device=DEVICE), torch.full((2, 4), 200.0, device=DEVICE)
    found = of.large(p.half(), w.half(), torch.full((3, 4), 300.0, device=DEVICE, dtype=torch.float16))
    assert found.dtype == torch.float16 and bool((found == 50000).all())
