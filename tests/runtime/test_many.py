"""Functions of more tensors than an operator of torch's may have arguments."""

from pathlib import Path
from typing import Any

import pytest
import torch
from modules import DEVICE, compiled

from kgen.tools.comparison import launches
from kgen.tools.problem import runtime

COUNTS = (20, 40, 70)
SPEC = """
kgen: 1
name: many{count}
doc: A layer of many tensors.
kernels:
  layer:
    doc: Scales and shifts, one after the other.
    inputs: {{x: [b, n], {inputs}}}
    outputs: {{out: [b, n]}}
    body: |
      {body}
"""


def spec(count: int) -> str:
    """Of `count` weights."""
    names = [f"w{i}" for i in range(count)]
    lines = [f"x = x * {scale} + sin({shift})" for scale, shift in zip(names[::2], names[1::2])]
    body = "\n      ".join([*lines, "return x"])
    return SPEC.format(count=count, inputs=", ".join(f"{name}: [n]" for name in names), body=body)


@pytest.fixture(scope="module", params=COUNTS)
def layer(request: pytest.FixtureRequest, compiled_folder: Path) -> tuple[Any, int]:
    return compiled(spec(request.param), compiled_folder), request.param


def drawn(count: int, b: int = 3, n: int = 4) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(count)
    x = torch.randn(b, n, generator=random, dtype=torch.float64)
    scales = [1 + 0.2 * torch.randn(n, generator=random, dtype=torch.float64) for _ in range(count)]
    return [t.to(DEVICE).requires_grad_() for t in (x, *scales)]


def by_hand(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    for scale, shift in zip(weights[::2], weights[1::2]):
        x = x * scale + torch.sin(shift)
    return x


def gradients(function: Any, inputs: list[torch.Tensor], again: bool) -> list[torch.Tensor]:
    """The gradients of an energy, or those of the sum of their squares."""
    found = torch.autograd.grad(function(*inputs).square().sum(), inputs, create_graph=again)
    size = torch.stack([g.square().sum() for g in found]).sum()
    return list(torch.autograd.grad(size, inputs)) if again else list(found)


@pytest.mark.parametrize("again", [False, True], ids=["first", "second"])
def test_gradients(layer: tuple[Any, int], again: bool) -> None:
    of, count = layer
    inputs = drawn(count)
    with launches(of) as launched:
        found = gradients(of.layer, inputs, again)
    assert any("double" in name for name in launched) == again
    for x, y in zip(found, gradients(by_hand, inputs, again), strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


def test_which_operators_torch_knows(layer: tuple[Any, int]) -> None:
    """As many orders as have few enough arguments; the forward is one of them below 64 tensors."""
    of, count = layer
    (operator,) = runtime(of, "registration").OPERATORS
    known = []
    while operator.order < 3:
        known.append(operator.op is not None)
        operator = operator.gradient
    assert known == {20: [True, True, True], 40: [True, True, False], 70: [False, False, False]}[count]


def test_under_transforms_and_compilers(layer: tuple[Any, int]) -> None:
    """What torch knows no operator of is the reference there."""
    of, count = layer
    inputs = drawn(count)
    chosen = tuple(range(len(inputs)))
    expected = gradients(by_hand, inputs, again=False)
    found = torch.func.grad(lambda *given: of.layer(*given).square().sum(), chosen)(*inputs)
    for x, y in zip(found, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)
    function: Any = torch.compile(of.layer, backend="aot_eager", fullgraph=True)
    for x, y in zip(gradients(function, inputs, again=False), expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-9, atol=1e-9)


def test_vmap(layer: tuple[Any, int]) -> None:
    of, count = layer
    x, *weights = [t.detach() for t in drawn(count)]
    batch = torch.stack([x, 2 * x, x - 1])
    found = torch.vmap(of.layer, in_dims=(0, *[None] * count))(batch, *weights)
    torch.testing.assert_close(found, torch.stack([by_hand(t, *weights) for t in batch]))
