"""`examples/ezgatr`: generated layers in ezgatr's model, of which there are stand-ins here.

Set KGEN_EZGATR to a folder with ezgatr and einops to have them put into its own model, too.
"""

import copy
import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from modules import DEVICE
from replacing import example_of
from torch import nn

PACKAGES = os.environ.get("KGEN_EZGATR")
C, K = 3, 2

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


class EquiLinear(nn.Module):
    def __init__(self, n: int, m: int, bias: bool = True, normalize_basis: bool = True) -> None:
        super().__init__()
        self.in_channels, self.out_channels, self.normalize_basis = n, m, normalize_basis
        self.weight = nn.Parameter(torch.randn(m, n, 9))
        self.bias = nn.Parameter(torch.randn(m)) if bias else None


class EquiRMSNorm(nn.Module):
    def __init__(self, n: int, eps: float | None = None, rescale: bool = True) -> None:
        super().__init__()
        self.in_channels, self.eps = n, eps
        self.weight = nn.Parameter(torch.randn(n)) if rescale else None


class MVOnlyGATrBilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.proj_bil, self.proj_out = EquiLinear(C, 4 * K), EquiLinear(2 * K, C)


class MVOnlyGATrMLP(nn.Module):
    def __init__(self, approximate: str = "tanh") -> None:
        super().__init__()
        self.config = SimpleNamespace(gelu_approximate=approximate)
        self.layer_norm, self.equi_bil, self.proj_out = EquiRMSNorm(C), MVOnlyGATrBilinear(), EquiLinear(C, C)


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's modules, which are forgotten."""
    with example_of("ezgatr", "ezgatr", "einops") as found:
        yield found


def kinds(new: dict[str, nn.Module]) -> dict[str, str]:
    return {name: type(layer).__name__ for name, layer in new.items()}


def test_layers_are_replaced(example: Any) -> None:
    """With their parameters, under the same names."""
    theirs = nn.ModuleDict({"norm": EquiRMSNorm(C), "linear": EquiLinear(C, 4), "mlp": MVOnlyGATrMLP()})
    theirs["bilinear"] = MVOnlyGATrBilinear()
    ours = copy.deepcopy(theirs)
    found = {"norm": "EquiRMSNorm", "linear": "EquiLinear", "mlp": "MLP", "bilinear": "Bilinear"}
    assert kinds(example.replace(ours)) == found
    assert all(torch.equal(x, ours.state_dict()[name]) for name, x in theirs.state_dict().items())
    assert kinds(example.replace(copy.deepcopy(theirs), ["MVOnlyGATrBilinear"])) == {
        "mlp.equi_bil": "Bilinear",
        "bilinear": "Bilinear",
    }


def test_layers_that_compute_something_else_are_left(example: Any) -> None:
    others = nn.Sequential(EquiRMSNorm(C, rescale=False), EquiLinear(C, C, bias=False), EquiLinear(C, C, True, False))
    assert example.replace(others) == {}
    exact = nn.Sequential(MVOnlyGATrMLP("none"))
    assert "0" not in example.replace(exact)


def test_a_reference_is_of_tokens_or_none(example: Any) -> None:
    """Without one joins stay as they are, as with one whose part on e123 is 1."""
    theirs = nn.Sequential(MVOnlyGATrBilinear()).to(DEVICE, torch.float64)
    (ours,) = example.replace(theirs).values()
    x, reference = torch.randn(2, 4, C, 16, dtype=torch.float64, device=DEVICE), torch.zeros(2, 1, 1, 16).to(DEVICE)
    reference[..., 14] = 1.0
    assert torch.equal(ours(x), ours(x, reference.double()))
    assert not torch.equal(ours(x), ours(x, 2 * reference.double()))


def test_the_other_sign_of_the_product_is_seen(example: Any) -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(MVOnlyGATrBilinear(), MVOnlyGATrMLP()).to(DEVICE, torch.float64)
    example.widen(theirs)
    example.replace(theirs)
    x = torch.randn(2, 4, C, 16, dtype=torch.float64, device=DEVICE)
    wrong = example.flipped(theirs)
    for one, other in zip(theirs, wrong, strict=True):
        assert (other(x) - one(x)).norm() > 0.01 * one(x).norm()


def test_where_there_is_no_ezgatr(example: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ezgatr.nets.mv_only_gatr", None)
    with pytest.raises(SystemExit, match="ezgatr is not there"):
        example.main(["--packages", str(tmp_path)])


@pytest.mark.skipif(not PACKAGES, reason="KGEN_EZGATR names no folder")
def test_its_own_model(example: Any) -> None:
    assert PACKAGES
    assert example.main(["--packages", PACKAGES, "--layers", "1", "--size", "1", "--repeats", "1"]) == 0
