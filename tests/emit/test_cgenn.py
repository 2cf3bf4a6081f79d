"""CGENN's layers: modules of `cgenn2d`, `cgenn3d`, `cgenn_sta` and `cgenn5d` beside the layers in plain torch.

State dicts load, with the authors' keys and shapes; values, every gradient by name and second derivatives are the same;
versors that are not of unit length commute with all of them. What the proofs ask of functions is asked there.
"""

import re
from collections.abc import Callable
from typing import Any

import cgenn
import pytest
import torch
from modules import DEVICE, ROOT, module
from torch import Tensor, nn

from kgen.tools.comparison import launches

METRICS = {"cgenn2d": (1.0,) * 2, "cgenn3d": (1.0,) * 3, "cgenn_sta": (1.0, -1.0, -1.0, -1.0), "cgenn5d": (1.0,) * 5}
INPUTS, OUTPUTS = 3, 4
Pair = tuple[Callable[[Any], nn.Module], Callable[[Any], nn.Module]]
LAYERS: dict[str, Pair] = {  # theirs, of an algebra, and ours, of a package
    "linear": (lambda a: cgenn.MVLinear(a, INPUTS, OUTPUTS), lambda of: of.MVLinear(INPUTS, OUTPUTS)),
    "linear of channels": (
        lambda a: cgenn.MVLinear(a, INPUTS, OUTPUTS, subspaces=False),
        lambda of: of.MVLinear(INPUTS, OUTPUTS, subspaces=False),
    ),
    "silu": (lambda a: cgenn.MVSiLU(a, INPUTS), lambda of: of.MVSiLU(INPUTS)),
    "silu of norms": (
        lambda a: cgenn.MVSiLU(a, INPUTS, invariant="norm"),
        lambda of: of.MVSiLU(INPUTS, invariant="norm"),
    ),
    "normalization": (lambda a: cgenn.NormalizationLayer(a, INPUTS), lambda of: of.NormalizationLayer(INPUTS)),
    "layer norm": (lambda a: cgenn.MVLayerNorm(a, INPUTS), lambda of: of.MVLayerNorm(INPUTS)),
    "steerable": (
        lambda a: cgenn.SteerableGeometricProductLayer(a, INPUTS),
        lambda of: of.SteerableGeometricProductLayer(INPUTS),
    ),
    "fully connected": (
        lambda a: cgenn.FullyConnectedSteerableGeometricProductLayer(a, INPUTS, OUTPUTS),
        lambda of: of.FullyConnectedSteerableGeometricProductLayer(INPUTS, OUTPUTS),
    ),
    "block": (lambda a: cgenn.block(a, INPUTS, OUTPUTS), lambda of: of.CEMLPBlock(INPUTS, OUTPUTS)),
}
SMALL = ("cgenn2d", "cgenn_sta")  # no sign of a square and no grade is missing

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


def pair(name: str, layer: str) -> tuple[Any, Any]:
    """Theirs with random parameters, and ours with the same, from the state dict."""
    torch.manual_seed(0)
    make, own = LAYERS[layer]
    theirs = cgenn.scattered(make(cgenn.CliffordAlgebra(METRICS[name]))).to(DEVICE, torch.float64)
    ours = own(module(name)).to(DEVICE, torch.float64)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def drawn(name: str, *lead: int, seed: int = 1) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    shape = (*lead, INPUTS, 2 ** len(METRICS[name]))
    return torch.randn(shape, generator=random, dtype=torch.float64).to(DEVICE).requires_grad_()


def derivatives(layer: Any, x: Tensor) -> dict[str, Tensor]:
    """The value and every gradient by name."""
    out = layer(x)
    sources = {"x": x, **dict(layer.named_parameters())}
    factors = torch.randn(out.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(out)
    found = torch.autograd.grad(out, list(sources.values()), factors)
    return {"out": out.detach()} | dict(zip(sources, found))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", METRICS)
def test_state_dicts_have_the_same_keys_and_shapes(name: str, layer: str) -> None:
    theirs, ours = pair(name, layer)
    kept = {key: x for key, x in theirs.state_dict().items() if "algebra." not in key}
    assert list(ours.state_dict()) == list(kept) and len(kept) < len(theirs.state_dict())
    assert all(torch.equal(x, kept[key]) for key, x in ours.state_dict().items())
    missing, unexpected = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert not unexpected and all("algebra." in key for key in missing)


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", [*SMALL, pytest.param("cgenn5d", marks=pytest.mark.slow)])
def test_values_and_gradients_are_the_same(name: str, layer: str) -> None:
    theirs, ours = pair(name, layer)
    x = drawn(name, 2, 3)
    with launches(module(name)) as launched:
        found = derivatives(ours, x)
    expected = derivatives(theirs, x)
    assert launched and all(g.abs().max() > 1e-3 for g in expected.values())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    again = derivatives(ours, x)
    assert all(torch.equal(g, again[key]) for key, g in found.items()), "a second run gives other bits"


@pytest.mark.parametrize("layer", ["silu", "steerable", "block"])
def test_second_derivatives_are_the_same(layer: str) -> None:
    """Of a squared force, as where energies are learned: by kernels, and by the reference beyond `order`."""

    def squared_force(of: Any, x: Tensor) -> tuple[Tensor, ...]:
        (force,) = torch.autograd.grad(of(x)[..., 0].sum(), x, create_graph=True)
        loss = force.square().sum()
        return torch.autograd.grad(loss, [x, *of.parameters()], materialize_grads=True)

    theirs, ours = pair("cgenn2d", layer)
    x = drawn("cgenn2d", 3)
    found, expected = squared_force(ours, x), squared_force(theirs, x)
    assert sum(bool(g.any()) for g in expected) > len(expected) / 2
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


# versors


def product(algebra: Any, x: Tensor, y: Tensor) -> Tensor:
    return torch.einsum("...i,ijk,...k->...j", x, algebra.cayley.to(x), y)


def versor(algebra: Any, count: int) -> tuple[Tensor, Tensor]:
    """A product of vectors, neither null nor of unit length, and its inverse."""
    random = torch.Generator().manual_seed(count)
    one = torch.eye(len(algebra.grades), dtype=torch.float64)[0]
    there = back = one
    for _ in range(count):
        v = torch.zeros_like(one)
        while product(algebra, v, v)[0].abs() < 0.5:
            v[1 : algebra.dim + 1] = 1.5 * torch.randn(algebra.dim, generator=random, dtype=torch.float64)
        there, back = product(algebra, there, v), product(algebra, v / product(algebra, v, v)[0], back)
    return there, back


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", ["cgenn2d", "cgenn3d", "cgenn_sta", pytest.param("cgenn5d", marks=pytest.mark.slow)])
def test_layers_commute_with_versors(name: str, layer: str) -> None:
    """An even and an odd one, with random parameters."""
    _, ours = pair(name, layer)
    algebra, x = cgenn.CliffordAlgebra(METRICS[name]), drawn(name, 2).detach()
    for count in (2, 3):
        there, back = versor(algebra, count)
        assert (product(algebra, there, back)[0] - 1).abs() < 1e-12 and abs(there.norm() - 1) > 0.1
        signs = torch.tensor([(-1.0) ** (g * count) for g in algebra.grades], dtype=torch.float64)

        def turn(y: Tensor, by: Tensor = there, undo: Tensor = back, signs: Tensor = signs) -> Tensor:
            return product(algebra, product(algebra, by, signs * y.cpu()), undo).to(DEVICE)

        with torch.no_grad():
            torch.testing.assert_close(ours(turn(x)), turn(ours(x)), rtol=1e-9, atol=1e-9)
        assert not torch.allclose(turn(x), x)


# what does not fit


def test_what_does_not_fit_is_told_by_key_and_shape() -> None:
    of, (theirs, _) = module("cgenn3d"), pair("cgenn3d", "block")
    other, _ = pair("cgenn_sta", "block")
    with pytest.raises(RuntimeError, match=re.escape("0.weight: copying a param with shape torch.Size([4, 3, 5])")):
        of.CEMLPBlock(INPUTS, OUTPUTS, device=DEVICE).load_state_dict(other.state_dict())
    with pytest.raises(RuntimeError, match=re.escape("the shape in current model is torch.Size([5, 3, 4])")):
        of.CEMLPBlock(INPUTS, 5, device=DEVICE).load_state_dict(theirs.state_dict())
    missing = {key: x for key, x in theirs.state_dict().items() if key != "2.normalization.a"}
    with pytest.raises(RuntimeError, match='Missing key.*"2.normalization.a"'):
        of.CEMLPBlock(INPUTS, OUTPUTS, device=DEVICE).load_state_dict(missing)
    with pytest.raises(RuntimeError, match='Unexpected key.*"2.scale"'):
        of.CEMLPBlock(INPUTS, OUTPUTS, device=DEVICE).load_state_dict({**theirs.state_dict(), "2.scale": torch.ones(1)})
    whole, _ = pair("cgenn3d", "linear")
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        of.MVLinear(INPUTS, OUTPUTS, subspaces=False, device=DEVICE).load_state_dict(whole.state_dict())


def test_initial_values_are_the_authors() -> None:
    of = module("cgenn_sta")
    torch.manual_seed(0)
    layer = of.CEMLPBlock(16, 400, device=DEVICE)
    scales = {"0.weight": 16**-0.5, "2.weight": 5**-0.5, "2.linear_right.weight": 0.05, "2.linear_left.weight": 0.05}
    for name, parameter in layer.named_parameters():
        if name in scales:
            assert abs(float(parameter.detach().std()) / scales[name] - 1) < 0.05, name
        else:
            assert torch.equal(parameter, torch.full_like(parameter, name in ("1.a", "3.a"))), name
    full = of.FullyConnectedSteerableGeometricProductLayer(16, 100, device=DEVICE)
    assert abs(float(full.weight.detach().std()) * (16 * 5) ** 0.5 - 1) < 0.05


def test_the_specs_differ_in_their_algebra_alone() -> None:
    """And in what is left to the reference, and what has kernels for few channels: 16 blades do not fit a thread."""
    texts = set()
    for name in METRICS:
        text = (ROOT / "specs" / f"{name}.yaml").read_text(encoding="utf-8")
        text = re.sub(r"\n    (order: 1|narrow: true)  # .*", "", text.replace(name, "NAME"))
        texts.add(re.sub(r"Cl\(\d,\d\)|signature: .*", "", text))
    assert len(texts) == 1
