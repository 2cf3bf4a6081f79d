"""Functions that are differentiable in part: inputs outside `grads`, several results of which one is used."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, compiled
from torch import Tensor
from torch.autograd import forward_ad
from torch.overrides import BaseTorchFunctionMode
from variants import close, launching, variants_of

SPEC = """\
kgen: 1
name: partly
algebra: {signature: [2, 0, 0]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path]}
kernels:
  act:
    inputs: {x: multivector, s: "scalar[n]", w: [n]}
    outputs: {out: multivector, size: [b]}
    grads: [x, w]
    body: |
      y = x * x * w + s * x
      return y, sum(norm_squared(x) * w, over=n)
"""
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture(scope="module")
def of(compiled_folder: Path) -> ModuleType:
    return compiled(SPEC, compiled_folder)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    x, s, w = (torch.randn(shape, generator=random, dtype=torch.float64) for shape in ((4, 2, 3), (3,), (3,)))
    return x.to(DEVICE).requires_grad_(), s.to(DEVICE), w.to(DEVICE).requires_grad_()


class Act(torch.nn.Module):
    def __init__(self, of: ModuleType) -> None:
        super().__init__()
        self.act = of.act

    def forward(self, *inputs: Tensor) -> Any:
        return self.act(*inputs)


def plain(of: ModuleType, inputs: Any) -> Any:
    return of.act(*inputs)


def with_mode(of: ModuleType, inputs: Any) -> Any:
    with BaseTorchFunctionMode():
        return of.act(*inputs)


def elsewhere(of: ModuleType, inputs: Any) -> Any:
    return of.act(*(x.detach().to("meta").requires_grad_(x.requires_grad) for x in inputs))


def transformed(of: ModuleType, inputs: Any) -> Any:
    x, s, w = (x.detach() for x in inputs)
    return torch.func.grad(lambda s: of.act(x, s, w)[1].sum())(s)


def dual(of: ModuleType, inputs: Any) -> Any:
    x, s, w = inputs
    with forward_ad.dual_level():
        return of.act(x, forward_ad.make_dual(s.detach(), torch.ones_like(s)), w)  # type: ignore[no-untyped-call]


def in_jvp(of: ModuleType, inputs: Any) -> Any:
    x, s, w = (x.detach() for x in inputs)
    return torch.func.jvp(lambda s: of.act(x, s, w), (s,), (torch.ones_like(s),))


def in_compiled(of: ModuleType, inputs: Any) -> Any:
    function: Any = torch.compile(of.act, backend="aot_eager")
    return function(*inputs)


@pytest.mark.parametrize("call", [plain, with_mode, elsewhere, transformed, in_compiled, dual, in_jvp])
def test_no_gradient_is_defined(call: Callable[..., Any], of: ModuleType, inputs: Any) -> None:
    """Asked for a derivative that the spec does not give, a function says for which input; it never returns zeros."""
    with pytest.raises(ValueError, match="act: s (requires grad|has a tangent), but no gradient"):
        call(of, (inputs[0], inputs[1].requires_grad_(), inputs[2]))


def test_no_gradient_is_needed(of: ModuleType, inputs: Any) -> None:
    """Where nothing is differentiated, such an input may require grad."""
    with torch.no_grad(), launching(of):
        close(of.act(inputs[0], inputs[1].requires_grad_(), inputs[2]), of.act_reference(*inputs))


def test_derivatives_of_the_others(of: ModuleType, inputs: Any) -> None:
    """All that torch asks for, with an input between them that has no gradient, and two results."""
    (variant,) = variants_of(of, "partly")
    x, s, w = inputs
    checks: dict[str, Any] = {"check_forward_ad": True, "check_batched_grad": True, "fast_mode": True}
    with launching(of):
        assert torch.autograd.gradcheck(lambda x, w: variant(x, s, w), (x, w), **checks)
        assert torch.autograd.gradgradcheck(lambda x, w: variant(x, s, w), (x, w), fast_mode=True)
        torch.library.opcheck(variant.operator.op, inputs)
    of_vmap = torch.vmap(of.act, (None, 0, None))(x, torch.stack([s, 2 * s]), w)
    close([part[1] for part in of_vmap], [*of.act_reference(x, 2 * s, w)])


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)], ids=str)
@pytest.mark.parametrize("context", [None, BaseTorchFunctionMode], ids=["direct", "operators"])
def test_results_that_are_not_used(
    used: tuple[int, ...], context: Any, of: ModuleType, inputs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their cotangents reach the gradient as None, not as zeros in memory."""
    (variant,) = variants_of(of, "partly")
    seen: list[tuple[bool, ...]] = []
    known = variant.operator.gradient.run

    def run(*arguments: Any) -> Any:
        seen.append(tuple(x is not None for x in arguments[3:5]))
        return known(*arguments)

    monkeypatch.setattr(variant.operator.gradient, "run", run)
    x, _, w = inputs
    with context() if context else torch.enable_grad():
        results: Any = of.act(*inputs)
        found = torch.autograd.grad(sum(results[i].square().sum() for i in used), (x, w))
    reference: Any = of.act_reference(*inputs)
    close(found, torch.autograd.grad(sum(reference[i].square().sum() for i in used), (x, w)))
    assert seen == [tuple(i in used for i in range(2))]


@pytest.mark.parametrize("used", [(0,), (1,)], ids=str)
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("context", [None, BaseTorchFunctionMode], ids=["direct", "operators"])
def test_higher_orders_of_results_that_are_used(
    used: tuple[int, ...], order: int, context: Any, of: ModuleType, inputs: Any
) -> None:
    """What was missing in the first gradient is missing in those of it."""
    (variant,) = variants_of(of, "partly")
    x, _, w = inputs

    def derived(function: Callable[..., Any]) -> tuple[Tensor, ...]:
        results: Any = function(*inputs)
        value = sum(results[i].square().sum() for i in used)
        for _ in range(order - 1):
            parts = torch.autograd.grad(value, (x, w), create_graph=True)
            value = sum(part.square().sum() for part in parts)
        return torch.autograd.grad(value, (x, w))

    expected = derived(variant.reference)
    with context() if context else torch.enable_grad():
        close(derived(variant), expected)


def test_an_exported_program_refuses_it_too(of: ModuleType, inputs: Any) -> None:
    x, s, w = inputs
    program = torch.export.export(Act(of), (x, s, w)).module()
    out, _ = program(x, s.requires_grad_(), w)
    with pytest.raises(ValueError, match="act: s requires grad, but no gradient"):
        out.sum().backward()
