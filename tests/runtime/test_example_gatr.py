"""`examples/gatr`: generated layers in GATr's model, of which there are stand-ins here.

Set KGEN_GATR to a checkout of the authors' code to have them put into its own model, too.
"""

import copy
import os
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from modules import DEVICE
from replacing import example_of
from torch import Tensor, nn

CHECKOUT = os.environ.get("KGEN_GATR")
C, K, S = 3, 2, 4  # channels of multivectors, and of what is multiplied; of scalars

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


class EquiLinear(nn.Module):
    def __init__(self, n: int, m: int, given: int | None = S, found: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(m, n, 9))
        self.bias = nn.Parameter(torch.randn(m, 1)) if given is None else None
        self.s2mvs = nn.Linear(given, m) if given else None
        self.mvs2s = nn.Linear(n, found) if found else None
        self.s2s = nn.Linear(given, found, bias=False) if given and found else None


class GeometricBilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear_left, self.linear_right = EquiLinear(C, K), EquiLinear(C, K)
        self.linear_join_left, self.linear_join_right = EquiLinear(C, K), EquiLinear(C, K)
        self.linear_out = EquiLinear(2 * K, C, S, S)


class EquiLayerNorm(nn.Module):
    def __init__(self, axis: int = -2) -> None:
        super().__init__()
        self.mv_channel_dim, self.epsilon = axis, 0.01


class ScalarGatedNonlinearity(nn.Module):
    def __init__(self, gate: Any) -> None:
        super().__init__()
        self.gated_nonlinearity = gate


def gated_gelu(x: Tensor, gates: Tensor) -> Tensor:
    return x * nn.functional.gelu(gates, approximate="tanh")


def gated_relu(x: Tensor, gates: Tensor) -> Tensor:
    return x * nn.functional.relu(gates)


@pytest.fixture(scope="module")
def example() -> Iterator[Any]:
    """The example's modules, which are forgotten."""
    with example_of("gatr", "gatr", "einops", "opt_einsum", "xformers") as found:
        yield found


@pytest.fixture
def bilinear(example: Any) -> Any:
    """The generated bilinear layer."""
    torch.manual_seed(0)
    theirs = nn.Sequential(GeometricBilinear()).to(DEVICE, torch.float64)
    example.widen(theirs)
    return example.replace(theirs)["0"]


def random(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, device=DEVICE)


def test_layers_are_replaced(example: Any) -> None:
    """With the parameters that they had, under the same names."""
    theirs = nn.ModuleDict({"norm": EquiLayerNorm(), "linear": EquiLinear(C, 4), "bilinear": GeometricBilinear()})
    theirs["gate"] = ScalarGatedNonlinearity(gated_gelu)
    before, ours = dict(theirs.named_parameters()), theirs
    found = {name: type(layer).__name__ for name, layer in example.replace(ours).items()}
    maps = ("left", "right", "join_left", "join_right", "out")
    assert found == {"norm": "Norm", "linear": "Linear", "bilinear": "Bilinear", "gate": "Gate"} | {
        f"bilinear.linear_{name}": "Linear" for name in maps
    }
    after = dict(ours.named_parameters())
    assert before.keys() == after.keys() and all(after[name] is x for name, x in before.items())


def test_layers_that_compute_something_else_are_left(example: Any) -> None:
    others = nn.Sequential(EquiLayerNorm(-3), ScalarGatedNonlinearity(gated_relu))
    assert example.replace(others) == {}
    asked = nn.Sequential(GeometricBilinear())
    assert list(example.replace(asked, ["GeometricBilinear"])) == ["0"]


def test_scalars_are_mixed_in_and_out(example: Any) -> None:
    """Those that are given change the scalar part alone; without any, the map's own bias is there."""
    (mixed,) = example.replace(nn.Sequential(EquiLinear(C, K, S, S)).to(DEVICE, torch.float64)).values()
    x, s = random(2, C, 16), random(2, S)
    (one, of_one), (other, of_other) = mixed(x, s), mixed(x, scalars=s + 1)
    assert torch.equal(one[..., 1:], other[..., 1:])
    torch.testing.assert_close(other[..., 0] - one[..., 0], mixed.s2mvs.weight.sum(-1).expand(2, K))
    torch.testing.assert_close(of_other - of_one, mixed.s2s.weight.sum(-1).expand(2, S))
    (alone,) = example.replace(nn.Sequential(EquiLinear(C, K, None)).to(DEVICE, torch.float64)).values()
    found, none = alone(torch.zeros_like(x))
    assert none is None and torch.equal(found[..., 0], alone.bias[:, 0].expand(2, K))


def test_a_reference_is_of_all_channels_or_of_each(bilinear: Any) -> None:
    x, s, reference = random(2, 4, C, 16), random(2, 4, S), random(2, 1, 1, 16)
    one = bilinear(x, reference, scalars=s)[0]
    each = bilinear(x, reference.expand(2, 1, K, 16), scalars=s)[0]
    torch.testing.assert_close(each, one)
    canonical = torch.eye(16, dtype=torch.float64, device=DEVICE)[14]
    torch.testing.assert_close(bilinear(x, canonical, scalars=s), bilinear(x, canonical.expand(2, 1, 1, 16), scalars=s))
    assert not torch.allclose(bilinear(x, canonical, scalars=s)[0], one)


@pytest.mark.parametrize("factor", ["linear_left", "linear_join_left"])
def test_another_sign_is_seen(example: Any, bilinear: Any, factor: str) -> None:
    """Of the product and of the join."""
    x, s, reference = random(2, 4, C, 16), random(2, 4, S), random(16)
    wrong = example.flipped(nn.Sequential(copy.deepcopy(bilinear)), factor)[0]
    one, other = (layer(x, reference, scalars=s)[0] for layer in (bilinear, wrong))
    assert (other - one).norm() > 0.01 * one.norm()


def test_norms_and_gates_are_those_of_formulas(example: Any) -> None:
    """Of multivectors by what is invariant, of scalars as torch has it."""
    theirs = nn.Sequential(EquiLayerNorm(), ScalarGatedNonlinearity(gated_gelu))
    norm, gate = example.replace(theirs).values()
    x, s = random(2, C, 16), random(2, S)
    known = x[..., [0, 2, 3, 4, 8, 9, 10, 14]].square().sum(-1, keepdim=True).mean(-2, keepdim=True)
    torch.testing.assert_close(norm(x, scalars=s), (x / known.sqrt(), nn.functional.layer_norm(s, (S,))))
    torch.testing.assert_close(norm(x / 100, scalars=s)[0], x / 10)  # by the root of epsilon
    torch.testing.assert_close(gate(x, scalars=s), (gated_gelu(x, x[..., :1]), nn.functional.gelu(s)))


def test_where_there_is_no_gatr(example: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gatr.nets.gatr", None)
    with pytest.raises(SystemExit, match="GATr is not there"):
        example.main(["--gatr", str(tmp_path)])


@pytest.mark.skipif(not CHECKOUT, reason="KGEN_GATR names no checkout")
@pytest.mark.parametrize("options", [[], ["--reference", "canonical", "--scalars", "0", "8", "0"]])
def test_its_own_model(example: Any, options: list[str]) -> None:
    assert CHECKOUT
    small = ["--blocks", "1", "--size", "1", "--repeats", "1"]
    assert example.main(["--gatr", CHECKOUT, *small, *options]) == 0


@pytest.mark.skipif(not CHECKOUT, reason="KGEN_GATR names no checkout")
def test_keys_have_biases_without_gradients(example: Any) -> None:
    """Which is why they are not compared."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        model = example.build(CHECKOUT, blocks=1).requires_grad_()
        draw = partial(torch.randn, dtype=torch.float64)
        example.replace(model)
        example.forward(model, **example.items(draw, 1, 2)).square().sum().backward()
    finally:
        torch.set_default_dtype(default)
    linear = model.blocks[0].attention.qkv_module.k_linear
    for bias in (linear.s2mvs.bias, linear.mvs2s.bias):
        assert bias.grad.norm() < 1e-10 * linear.weight.grad.norm()
