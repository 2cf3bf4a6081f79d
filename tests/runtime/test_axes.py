"""Second derivatives, where inputs share a history and where gradients have one."""

import pytest
import torch
from modules import module


def test_inputs_that_share_a_history() -> None:
    """Differentiating gradients must not change the gradients: x in both places, and a function of x beside x."""
    vga2d = module("vga2d")
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    for y in (x, x.sin()):
        loss = vga2d.geometric_product(x, y).square().sum()
        (first,) = torch.autograd.grad(loss, x, retain_graph=True)
        (again,) = torch.autograd.grad(loss, x, create_graph=True)
        assert torch.allclose(first, again, rtol=1e-12)


@pytest.mark.slow
def test_gradients_of_gradients() -> None:
    vga2d = module("vga2d")
    x, y = (torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    w = torch.randn(2, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *a: vga2d.fused_gelu_sgp_norm(*a), (x, y, w))
