"""Kernels over two and three axes, in which folds, row reductions and repeated results meet, and second derivatives."""

import pytest
import torch
from modules import ROOT, agree, compiled, draw, module

KERNELS = [
    "components_fold_differently",
    "wider_result_beside_a_fold",
    "sum_beside_max",
    "nested_attention",
    "softmax_of_missing_axes",
    "row_that_may_vanish",
]
SIZES = [{"b": 3, "h": 4, "n": 5}, {"b": 2, "h": 3, "n": 70}, {"b": 17, "h": 2, "n": 3}]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_axes(kernel: str, sizes: dict[str, int], compiled_folder, poisoned) -> None:  # type: ignore[no-untyped-def]
    of = compiled((ROOT / "tests" / "specs" / "axes.yaml").read_text(encoding="utf-8"), compiled_folder)
    agree(of, kernel, draw(of, kernel, sizes))


def test_inputs_that_share_a_history() -> None:
    """Differentiating gradients must not change the gradients: x in both places, and a function of x beside x."""
    vga2d = module("vga2d")
    x = torch.randn(4, 3, 5, dtype=torch.float64, requires_grad=True)
    for y in (x, x.sin()):
        loss = vga2d.geometric_product(x, y).square().sum()
        (first,) = torch.autograd.grad(loss, x, retain_graph=True)
        (again,) = torch.autograd.grad(loss, x, create_graph=True)
        assert torch.allclose(first, again, rtol=1e-12)


def test_gradients_of_gradients() -> None:
    vga2d = module("vga2d")
    x, y = (torch.randn(4, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    w = torch.randn(2, 10, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda *a: vga2d.fused_gelu_sgp_norm(*a), (x, y, w))
