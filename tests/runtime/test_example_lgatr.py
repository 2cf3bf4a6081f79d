"""`examples/lgatr`: generated layers in lgatr's model, of which there are stand-ins here.

Set KGEN_LGATR to a folder with lgatr to have them put into its own model, too.
"""

import copy
import math
import os
import sys
from collections.abc import Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from modules import DEVICE, ROOT
from replacing import example_of
from torch import Tensor, nn
from torch.nn.functional import gelu

PACKAGES = os.environ.get("KGEN_LGATR")
C, S = 3, 4  # channels of multivectors and of scalars
SQUARES = [1, 1, -1, -1, -1, -1, -1, -1, 1, 1, 1, 1, 1, 1, -1, -1]  # <x ~x>_0 of each blade

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


class EquiLinear(nn.Module):
    def __init__(self, given: int = S, found: int = S, bias: bool = True, maps: int = 10) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(C, C, maps))
        self.bias = nn.Parameter(torch.randn(C, 1)) if bias and not given else None
        self.s2mvs = nn.Linear(given, 2 * C, bias) if given else None
        self.mvs2s = nn.Linear(2 * C, found, bias) if found else None
        self.s2s = nn.Linear(given, found, bias=False) if given and found else None


class EquiLayerNorm(nn.Module):
    def __init__(self, gains: bool = True, gain: float = 1.0) -> None:
        super().__init__()
        self.epsilon, self.gain, self.mv_channel_dim = torch.tensor(0.01), torch.tensor(gain), -2
        self.weight_mv = nn.Parameter(torch.ones(C, 5)) if gains else None
        self.weight_s = nn.Parameter(torch.ones(S)) if gains else None


class ScalarGatedNonlinearity(nn.Module):
    def __init__(self, function: Any = None) -> None:
        super().__init__()
        self.nonlinearity = function or partial(gelu, approximate="tanh")


class GeometricBilinear(nn.Module):
    def __init__(self, bivector: bool = True) -> None:
        super().__init__()
        self.primitives = SimpleNamespace(bivector=bivector)
        self.linear_left, self.linear_right, self.linear_out = EquiLinear(found=0), EquiLinear(found=0), EquiLinear()
        self.norm = EquiLayerNorm(gains=False)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out_linear = EquiLinear()

    def forward(self, multivectors: Tensor, scalars: Tensor, scale: float = 1.0) -> tuple[Tensor, Tensor]:
        return scale * multivectors, scale * scalars


class Queries(nn.Module):
    """Queries of two heads, which share keys and values, of the tokens themselves."""

    def forward(self, x: Tensor, s: Tensor, *further: None) -> tuple[Tensor, ...]:
        heads, scalars = (torch.stack([y, -2 * y], -1 - y.dim() + 1) for y in (x, s))
        return heads, x[:, None], x[:, None].sin(), scalars, s[:, None], s[:, None].cos()


class Joined(nn.Module):
    """The heads as they are; its map from scalars says that there are some."""

    def __init__(self, s2mvs: nn.Module | None = None) -> None:
        super().__init__()
        self.s2mvs = s2mvs

    def forward(self, x: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        return x, s


class SelfAttention(nn.Module):
    def __init__(self, dropout: nn.Module | None = None, scaled: bool = False, scalars: bool = True) -> None:
        super().__init__()
        self.dropout, self.use_head_scale = dropout, scaled
        self.qkv_module, self.out_linear = Queries(), Joined(nn.Identity() if scalars else None)


class LGATrBlock(nn.Module):
    def __init__(self, *others: nn.Module) -> None:
        super().__init__()
        self.norm1, self.norm2, self.attention = EquiLayerNorm(), EquiLayerNorm(), Attention()
        self.mlp = nn.Module()
        self.mlp.layers = nn.ModuleList([GeometricBilinear(), ScalarGatedNonlinearity(), EquiLinear(), *others])


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's modules, which are forgotten."""
    with example_of("lgatr", "lgatr") as found:
        yield found


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64).to(DEVICE)


def kinds(new: dict[str, nn.Module]) -> dict[str, str]:
    return {name: type(layer).__name__ for name, layer in new.items()}


def test_layers_are_replaced(example: Any) -> None:
    """With their parameters, under the same names."""
    theirs = nn.ModuleDict(
        {"block": LGATrBlock(), "plain": EquiLayerNorm(gains=False), "bilinear": GeometricBilinear()}
    )
    theirs["maps"] = nn.ModuleList(
        [EquiLinear(0, 0), EquiLinear(found=0), EquiLinear(given=0), EquiLinear(), EquiLinear(bias=False)]
    )
    ours = copy.deepcopy(theirs)
    assert kinds(example.replace(ours)) == {
        "block": "Block",
        "block.norm1": "Norm",
        "block.attention.out_linear": "LinearAndScalars",
        "plain": "PlainNorm",
        "bilinear": "Bilinear",
        "maps.0": "Linear",
        "maps.1": "LinearFromScalars",
        "maps.2": "LinearToScalars",
        "maps.3": "LinearAndScalars",
        "maps.4": "UnbiasedLinearAndScalars",
    }
    assert theirs.state_dict().keys() == ours.state_dict().keys()
    assert all(torch.equal(x, ours.state_dict()[name]) for name, x in theirs.state_dict().items())
    only = example.replace(nn.Sequential(LGATrBlock()), ["ScalarGatedNonlinearity"])
    assert kinds(only) == {"0.mlp.layers.1": "Gate"}


def test_layers_that_compute_something_else_are_left(example: Any) -> None:
    others = nn.Sequential(
        EquiLinear(maps=5),
        EquiLinear(0, 0, bias=False),
        EquiLayerNorm(gain=2.0),
        ScalarGatedNonlinearity(torch.relu),
        ScalarGatedNonlinearity(partial(gelu, approximate="none")),
    )
    assert example.replace(others) == {}
    for other in (GeometricBilinear(bivector=False), LGATrBlock(nn.Dropout(0.1))):
        assert "0" not in example.replace(nn.Sequential(other))


def test_a_block_keeps_its_attention(example: Any) -> None:
    """What attention is told, it is told by the new block; what follows is that of the layers one by one."""
    theirs = nn.Sequential(LGATrBlock()).to(DEVICE, torch.float64)
    apart: Any = copy.deepcopy(theirs)[0]
    example.replace(theirs)
    example.replace(apart, example.LAYERS[1:])
    x, s = drawn(2, 4, C, 16), drawn(2, 4, S)
    found = theirs[0](x, s, scale=0.5)
    mixed = [y + 0.5 * z for y, z in zip((x, s), apart.norm1(x, s), strict=True)]
    hidden = apart.norm2(*mixed)
    for inner in apart.mlp.layers:
        hidden = inner(*hidden)
    for one, other, rest in zip(found, hidden, mixed, strict=True):
        torch.testing.assert_close(one, other + rest)


def test_attention_is_replaced(example: Any) -> None:
    """Its maps are the ones that it had; what generated attention has not is left, or refused when it is asked for."""
    model, queries = nn.Sequential(SelfAttention()), Queries()
    model[0].qkv_module = queries
    assert kinds(example.replace(model)) == {"0": "Attention"} and model[0].qkv_module is queries
    x, s = drawn(2, 4, C, 16), drawn(2, 4, S)
    q, k, v, q_s, k_s, v_s = queries(x, s)
    signs = torch.tensor([-1.0 if square < 0 else 1.0 for square in SQUARES]).to(x)
    scores = torch.einsum("bhsci,btci,i->bhst", q, k[:, 0], signs) + torch.einsum("bhse,bte->bhst", q_s, k_s[:, 0])
    weights = (scores / math.sqrt(16 * C + S)).softmax(-1)
    found, found_s = model[0](x, s)
    torch.testing.assert_close(found, torch.einsum("bhst,btci->bshci", weights, v[:, 0]).flatten(2, 3))
    torch.testing.assert_close(found_s, torch.einsum("bhst,bte->bshe", weights, v_s[:, 0]).flatten(2, 3))
    with pytest.raises(ValueError, match="the generated attention takes no attn_mask: leave SelfAttention as it is"):
        model[0](x, s, attn_mask=None)
    others = [SelfAttention(nn.Dropout(0.1)), SelfAttention(scaled=True), SelfAttention(scalars=False)]
    assert example.replace(nn.Sequential(*others)) == {}


def test_the_other_sign_of_the_product_is_seen(example: Any) -> None:
    torch.manual_seed(0)
    theirs = nn.Sequential(GeometricBilinear(), LGATrBlock()).to(DEVICE, torch.float64)
    example.widen(theirs)
    example.replace(theirs)
    x, s = drawn(2, 4, C, 16), drawn(2, 4, S)
    wrong = example.flipped(theirs)
    for one, other in zip(theirs, wrong, strict=True):
        assert (other(x, s)[0] - one(x, s)[0]).norm() > 0.01 * one(x, s)[0].norm()


def test_where_there_is_no_lgatr(example: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lgatr", None)
    with pytest.raises(SystemExit, match="lgatr is not there"):
        example.main(["--packages", str(tmp_path)])


def test_the_example_is_not_taken_for_lgatr(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its folder has the same name, and lies where Python looks."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "lgatr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples")])
    with pytest.raises(SystemExit, match="lgatr is not there"):
        example.library()
    sys.modules.pop("lgatr", None)


@pytest.mark.skipif(not PACKAGES, reason="KGEN_LGATR names no folder")
@pytest.mark.parametrize("scalars", ["2 8 1", "0 8 0"])
def test_its_own_model(example: Any, scalars: str) -> None:
    assert PACKAGES
    sizes = ["--scalars", *scalars.split(), "--blocks", "1", "--size", "1", "--repeats", "1"]
    assert example.main(["--packages", PACKAGES, *sizes]) == 0
