"""Values one after the other along an axis, and components side by side, against torch's `cat` and `stack`."""

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, compiled
from torch import Tensor

from kgen.tools.comparison import launches

SPEC = """\
kgen: 1
name: joined_values
kernels:
  perceptron:
    inputs: {x: "[b, n]", y: "[b, p]", w: "[h, k]", a: "[k]"}
    outputs: {out: "[b, h]", both: "[b, k]", norm: "[b]"}
    body: |
      both = cat(x, tanh(y), x * x, axis=(n, p, n), to=k) * a
      norm = mean(both ** 2, over=k)
      return dot(both * rsqrt(1 + norm), w, over=k), both, norm
  nested:
    inputs: {x: "[b, n]", y: "[c, n]", s: "[b]"}
    outputs: {out: "[r, k]"}
    body: |
      rows = cat(x * s, y, axis=(b, c), to=r)
      return cat(sin(rows), rows * rows, axis=n, to=k)
  tied:
    inputs: {x: "[..., k]", v: "[n, h]", w: "[p, h]"}
    outputs: {out: "[..., h]", both: "[..., k]"}
    body: |
      weight = cat(v, w, axis=(n, p), to=k)
      out = dot(x, weight, over=k)
      return out, cat(dot(sin(out), v, over=h), dot(out, w, over=h), axis=(n, p), to=k)
  features:
    inputs: {x: "[b, n]", y: "[b, n]", w: "[2, n]"}
    outputs: {first: "[3, b, n]", last: "[b, 2, n]"}
    body: |
      f = components(x * y, w[1], x)
      return f, components(f[2] ** 2, sin(y))
"""
Sizes = Mapping[str, int]


def perceptron(x: Tensor, y: Tensor, w: Tensor, a: Tensor) -> tuple[Tensor, ...]:
    both = torch.cat([x, y.tanh(), x * x], 1) * a
    norm = both.square().mean(1)
    return (both * (1 + norm).rsqrt()[:, None]) @ w.T, both, norm


def nested(x: Tensor, y: Tensor, s: Tensor) -> tuple[Tensor, ...]:
    rows = torch.cat([x * s[:, None], y])
    return (torch.cat([rows.sin(), rows * rows], 1),)


def features(x: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    return torch.stack([x * y, w[1].expand(x.shape), x]), torch.stack([x**2, y.sin()], 1)


BY_TORCH: dict[str, Any] = {"perceptron": perceptron, "nested": nested, "features": features}


def draw(of: ModuleType, kernel: str, sizes: Sizes, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    random = torch.Generator().manual_seed(len(sizes))
    shapes = [[sizes.get(str(d), d) for d in dims] for dims in of.KERNELS[kernel]["inputs"].values()]
    drawn = [torch.randn(*shape, generator=random, dtype=torch.float64) for shape in shapes]
    return [x.to(DEVICE, dtype).requires_grad_() for x in drawn]


def tuples(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def loss(results: tuple[Tensor, ...]) -> Tensor:
    return torch.stack([(x * x.detach().cos()).sum() for x in results]).sum()


def extents(b: int, n: int, p: int) -> Sizes:
    return {"b": b, "n": n, "p": p, "c": p, "h": 4, "k": 2 * n + p}


@pytest.mark.parametrize("kernel", BY_TORCH)
@pytest.mark.parametrize("sizes", [(3, 5, 2), (17, 33, 64), (2, 1, 0), (0, 3, 2), (3, 0, 130)], ids=str)
def test_values_and_gradients_are_those_of_torch(
    kernel: str, sizes: tuple[int, int, int], compiled_folder: Path
) -> None:
    of = compiled(SPEC, compiled_folder)
    inputs = draw(of, kernel, extents(*sizes))
    with launches(of) as launched:
        found, expected = tuples(getattr(of, kernel)(*inputs)), BY_TORCH[kernel](*inputs)
        grads, by_torch = (torch.autograd.grad(loss(results), inputs) for results in (found, expected))
    assert launched
    for x, y in zip((*found, *grads), (*expected, *by_torch), strict=True):
        assert x.is_contiguous()
        torch.testing.assert_close(x, y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kernel", BY_TORCH)
def test_second_order(kernel: str, compiled_folder: Path) -> None:
    of = compiled(SPEC, compiled_folder)
    inputs = draw(of, kernel, extents(2, 3, 2))
    assert torch.autograd.gradcheck(getattr(of, kernel), inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(getattr(of, kernel), inputs, fast_mode=True)


def test_an_extent_that_is_no_sum_is_refused(compiled_folder: Path) -> None:
    of = compiled(SPEC, compiled_folder)
    x, y, w, a = draw(of, "perceptron", extents(2, 3, 2))
    with pytest.raises(ValueError, match=r"perceptron: w must have k = n \+ p \+ n = 8, got 7"):
        of.perceptron(x, y, w[:, :7], a[:7])


def test_inputs_and_results_with_leading_axes(compiled_folder: Path) -> None:
    of = compiled(SPEC, compiled_folder)
    x, v, w = (torch.randn(*shape, dtype=torch.float64).to(DEVICE) for shape in ((2, 3, 7), (4, 5), (3, 5)))
    inputs = [t.requires_grad_() for t in (x, v, w)]
    found, out = of.tied(*inputs), x @ torch.cat([v, w])
    expected = out, torch.cat([out.sin() @ v.T, out @ w.T], -1)
    grads, by_torch = (torch.autograd.grad(loss(results), inputs) for results in (found, expected))
    for a, b in zip((*found, *grads), (*expected, *by_torch), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_gradients_of_both_alone(compiled_folder: Path) -> None:
    """A weight that is read in parts is stored in parts, of which none is left out."""
    of = compiled(SPEC, compiled_folder)
    inputs = draw(of, "perceptron", extents(5, 4, 3))
    (whole,) = torch.autograd.grad(of.perceptron(*inputs)[0].sum(), inputs[2:3])
    (expected,) = torch.autograd.grad(perceptron(*inputs)[0].sum(), inputs[2:3])
    torch.testing.assert_close(whole, expected, rtol=1e-12, atol=1e-12)
