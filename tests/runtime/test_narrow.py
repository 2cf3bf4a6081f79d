"""Layers of few features, whose kernels multiply matrices inside: against references, and against CGENN's formulas."""

import itertools
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import DEVICE, ROOT, agree, compiled, draw, results
from torch import Tensor

from kgen.tools.comparison import launches
from kgen.tools.problem import runtime

SIZES = {
    "block": {"b": 19, "i": 5, "n": 6, "m": 6},
    "twice": {"b": 19, "i": 5, "n": 6, "m": 6},
    "planes": {"b": 19, "n": 5, "k": 6},
}
BLADES = ["", "1", "2", "3", "12", "13", "23", "123"]
GRADES = [len(blade) for blade in BLADES]
MOST_LAUNCHES = (2, 9)  # of CGENN's block, forward and backward: kernels, and what adds their partial sums

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture(scope="module")
def blocks(compiled_folder: Path) -> ModuleType:
    return compiled((ROOT / "tests" / "specs" / "blocks.yaml").read_text(encoding="utf-8"), compiled_folder)


@pytest.fixture(params=["narrow", "wide"])
def way(request: pytest.FixtureRequest, blocks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the kernels for few features, and by those for any number."""
    if request.param == "wide":
        monkeypatch.setattr(runtime(blocks, "narrow"), "MOST", 0)
    return str(request.param)


@pytest.mark.parametrize(
    ("kernel", "dtype"),
    [
        *itertools.product(SIZES, (torch.float64, torch.float32)),
        *itertools.product(("twice", "planes"), (torch.bfloat16, torch.float16)),  # of the block, its proof
    ],
    ids=str,
)
def test_agrees(blocks: ModuleType, way: str, kernel: str, dtype: torch.dtype) -> None:
    with launches(blocks) as launched:
        agree(blocks, kernel, draw(blocks, kernel, SIZES[kernel], dtype))
    inside = [name for name in launched if "_narrow_" in name]
    multiplied = DEVICE.type == "cpu" or dtype != torch.float64  # which tensor cores do not
    assert bool(inside) == (way == "narrow" and multiplied), launched


@pytest.mark.parametrize("features", [(1, 1), (17, 28), (64, 33)])
def test_features(blocks: ModuleType, features: tuple[int, int]) -> None:
    """One, more than a tile of tensor cores has, as many as are few; of each as many along other axes."""
    i, n = features
    agree(blocks, "block", draw(blocks, "block", {"b": 3, "i": i, "n": n, "m": n}, torch.float32))


def test_few_features_alone(blocks: ModuleType) -> None:
    """One axis that is longer is enough for the kernels of any number."""
    for i, n in ((65, 3), (3, 65)):
        with launches(blocks) as launched:
            agree(blocks, "block", draw(blocks, "block", {"b": 2, "i": i, "n": n, "m": n}, torch.float32))
        assert launched and not any("_narrow_" in name for name in launched)


@pytest.mark.parametrize("wanted", [("x",), ("w",), ("right", "gain"), ("a", "left")])
def test_some_gradients(blocks: ModuleType, wanted: tuple[str, ...]) -> None:
    agree(blocks, "block", draw(blocks, "block", SIZES["block"], torch.float64), wanted)


def test_no_rows(blocks: ModuleType) -> None:
    found = agree(blocks, "block", draw(blocks, "block", SIZES["block"] | {"b": 0}, torch.float64))
    assert not found["grad_w"].any() and not found["grad_weight"].any()


def test_launches(blocks: ModuleType) -> None:
    """A step of CGENN's block, as many as there are: it is these that cost, not the bytes."""
    inputs = [x.requires_grad_() for x in draw(blocks, "block", SIZES["block"], torch.float32).values()]
    with launches(blocks) as launched:
        out = blocks.block(*inputs)
        forward = len(launched)
        out.backward(torch.ones_like(out))
    assert (forward, len(launched) - forward) == MOST_LAUNCHES, launched


def test_second_derivatives(blocks: ModuleType, way: str) -> None:
    found = []
    for function in (blocks.twice, blocks.twice_reference):
        inputs = [x.requires_grad_() for x in draw(blocks, "twice", SIZES["twice"], torch.float64).values()]
        first = torch.autograd.grad(function(*inputs).sin().sum(), inputs, create_graph=True)
        found.append([*first, *torch.autograd.grad(torch.stack([(g * g).sum() for g in first]).sum(), inputs)])
    for a, b in zip(*found):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# CGENN's own formulas, from models/modules of its repository


def cgenn(x: Tensor, w: Tensor, bias: Tensor, a: Tensor, c: Tensor, right: Tensor, *rest: Tensor) -> Tensor:
    """MVLinear, MVSiLU, SteerableGeometricProductLayer, MVLayerNorm."""
    left, left_bias, s, weight, gain = rest
    h = mv_linear(x, w, bias)
    invariants = torch.stack([h[..., 0], *(square(h, g) for g in (1, 2, 3))], -1)
    h = h * torch.sigmoid(a * invariants + c)[..., GRADES]
    r = mv_linear(h, right)
    norms = torch.stack([smooth(square(r, g)) for g in range(4)], -1)
    r = r / ((torch.sigmoid(s) * (norms - 1) + 1)[..., GRADES] + 1e-6)
    y = (mv_linear(h, left, left_bias) + torch.einsum("bni,nijk,bnk->bnj", h, products(weight), r)) / math.sqrt(2)
    norm = smooth(sum((square(y, g) for g in range(4)), torch.zeros(()))).mean(1)
    return gain[:, None] * y / (norm + 1e-6)[:, None, None]


def mv_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = torch.einsum("bmi,nmi->bni", x, weight[..., GRADES])
    return out if bias is None else torch.cat([out[..., :1] + bias[:, None], out[..., 1:]], -1)


def square(x: Tensor, grade: int) -> Tensor:
    """<x_g ~x_g>_0, in Cl(3,0) the plain sum of squares."""
    return sum((x[..., i] ** 2 for i, g in enumerate(GRADES) if g == grade), torch.zeros(()))


def smooth(q: Tensor) -> Tensor:
    return (q**2 + 1e-16) ** 0.25


def products(weight: Tensor) -> Tensor:
    """The table of products (left, out, right) of blades, with the weight of each path."""
    table, paths = {}, list[tuple[int, int, int]]()
    for (i, u), (k, v) in itertools.product(enumerate(BLADES), repeat=2):
        swaps = sum(p > q for p in u for q in v)
        j = BLADES.index("".join(sorted(set(u) ^ set(v))))
        table[i, j, k] = (-1) ** swaps
        paths.append((GRADES[i], GRADES[j], GRADES[k]))
    order = sorted(set(paths))
    full = torch.zeros(weight.shape[0], 8, 8, 8, dtype=weight.dtype)
    for (i, j, k), sign in table.items():
        full[:, i, j, k] = sign * weight[:, order.index((GRADES[i], GRADES[j], GRADES[k]))]
    return full


def test_block_is_cgenns(blocks: ModuleType, way: str) -> None:
    inputs = draw(blocks, "block", SIZES["block"], torch.float64)
    names = [*inputs]
    found = results(blocks.block, inputs, ["out"], names, {})
    own: dict[str, Any] = {name: x.cpu() for name, x in inputs.items()}
    expected = results(cgenn, own, ["out"], names, {})
    for name, x in expected.items():
        size = float(x.abs().max())
        assert float((found[name].to(DEVICE).cpu() - x).abs().max()) <= 1e-10 * size, name
