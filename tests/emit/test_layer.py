"""`Layer` of vga2d and vga3d: flash-clifford's formula, written here from scratch, in fp64; and its equivariance.

flash-clifford keeps multivectors as (blade, batch, feature). Its Layer is a linear map with a matrix for each grade and
a bias, a gate by the scalar blade, the weighted product of x with the map's result, and an RMS norm of each grade.
"""

import itertools
from typing import Any

import pytest
import torch
from modules import DEVICE, module
from torch import Tensor

from kgen.tools.comparison import launches

BLADES = {2: ["", "1", "2", "12"], 3: ["", "1", "2", "3", "12", "13", "23", "123"]}
EPS = 1e-6

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


@pytest.fixture(autouse=True)
def _full_precision() -> Any:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


# the formula


def grades(dims: int) -> list[int]:
    return [len(blade) for blade in BLADES[dims]]


def cayley(dims: int) -> list[tuple[int, int, int, int]]:
    """(left, right, out, sign) of the products of blades: each swap of two vectors changes the sign, equal ones go."""
    found = []
    for (i, left), (j, right) in itertools.product(enumerate(BLADES[dims]), repeat=2):
        word = left + right
        swaps = sum(a > b for a, b in itertools.combinations(word, 2))
        sign = -1 if swaps % 2 else 1
        out = "".join(sorted(vector for vector in word if word.count(vector) == 1))
        found.append((i, j, BLADES[dims].index(out), sign))
    return found


def paths(dims: int) -> list[tuple[int, int, int]]:
    """Grades of left operand, result and right operand, sorted: the order of flash-clifford's weights."""
    grade = grades(dims)
    return sorted({(grade[i], grade[k], grade[j]) for i, j, k, _ in cayley(dims)})


def flash_clifford(
    x: Tensor, gp_weight: Tensor, linear_weight: Tensor, bias: Tensor, *, use_fc: bool, normalize: bool
) -> Tensor:
    """Its Layer's forward; the bias has the shape (1, 1, n), or (blade, 1, n) for other blades than all."""
    dims = {4: 2, 8: 3}[x.shape[0]]
    y = torch.bmm(x, linear_weight[grades(dims)]) + bias
    x, y = (v * (0.5 + 0.5 * torch.erf(v[:1] / 2**0.5)) for v in (x, y))
    out = product(x, y, gp_weight, use_fc)
    return torch.cat([rms_norm(part) for part in by_grade(out, dims)]) if normalize else out


def product(x: Tensor, y: Tensor, weight: Tensor, use_fc: bool) -> Tensor:
    dims = {4: 2, 8: 3}[x.shape[0]]
    grade, order = grades(dims), paths(dims)
    terms: list[list[Tensor]] = [[] for _ in grade]
    for i, j, k, sign in cayley(dims):
        path = order.index((grade[i], grade[k], grade[j]))
        pair = sign * x[i] * y[j]
        terms[k].append(pair @ weight[path] if use_fc else pair * weight[:, path])
    return torch.stack([torch.stack(those).sum(0) for those in terms])


def by_grade(out: Tensor, dims: int) -> list[Tensor]:
    return [out[[i for i, own in enumerate(grades(dims)) if own == grade]] for grade in range(dims + 1)]


def rms_norm(part: Tensor) -> Tensor:
    return part / (part.square().sum(0).mean(-1, keepdim=True) + EPS).sqrt()


# its weights


def state(dims: int, n: int, use_fc: bool) -> dict[str, Tensor]:
    """A state dict as flash-clifford's Layer(n, dims, use_fc=use_fc) has it, with a bias as after training."""
    random = torch.Generator().manual_seed(dims * n + use_fc)
    count, scale = len(paths(dims)), (n if use_fc else n * (dims + 1)) ** -0.5
    return {
        "gp_weight": torch.randn((count, n, n) if use_fc else (n, count), generator=random) / (dims + 1) ** 0.5,
        "linear_weight": torch.randn(dims + 1, n, n, generator=random) * scale,
        "linear_bias": torch.randn(1, 1, n, generator=random),
        "weight_expansion": torch.tensor(grades(dims), dtype=torch.long),
    }


def layer(dims: int, n: int, use_fc: bool, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    """Ours, with that state loaded."""
    of = module(f"vga{dims}d")
    assert [blade.removeprefix("e") for blade in of.BLADES] == BLADES[dims]
    result = of.Layer(n, use_fc=use_fc, device=DEVICE, **options)
    result.load_state_dict(state(dims, n, use_fc), strict=True)
    return result.to(dtype)


def features(dims: int, n: int, dtype: torch.dtype = torch.float32) -> Tensor:
    random = torch.Generator().manual_seed(8)
    return torch.randn(2**dims, 7, n, generator=random, dtype=torch.float64).to(DEVICE, dtype)


def close(name: str, found: Tensor | None, expected: Tensor | None, tolerance: float = 1e-5) -> None:
    assert found is not None and expected is not None and found.shape == expected.shape
    size = float(expected.abs().max())
    error = float((found.double() - expected.double()).abs().max())
    assert size > 0 and error <= tolerance * size, f"{name} is off by {error / size:.1e} of its largest value"


# the same outputs and gradients


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("use_fc", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("bias", "n"), [("all", 5), ("all", 17), ("scalar", 5)])
def test_layer_is_flash_cliffords(dims: int, use_fc: bool, normalize: bool, bias: str, n: int) -> None:
    ours = layer(dims, n, use_fc, normalize=normalize, bias=bias)
    x = features(dims, n).requires_grad_()
    with launches(module(f"vga{dims}d")) as launched:
        out = ours(x)
    assert launched
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).to(DEVICE)
    out.backward(cotangent)

    leaves = {name: p.to(DEVICE).double() for name, p in state(dims, n, use_fc).items() if name != "weight_expansion"}
    leaves["x"] = x.detach().double()
    for leaf in leaves.values():
        leaf.requires_grad_()
    blades = torch.ones(2**dims, 1, 1, dtype=torch.float64, device=DEVICE)
    if bias == "scalar":
        blades[1:] = 0
    full = leaves["linear_bias"] * blades
    expected = flash_clifford(
        leaves["x"], leaves["gp_weight"], leaves["linear_weight"], full, use_fc=use_fc, normalize=normalize
    )
    grads = dict(zip(leaves, torch.autograd.grad(expected, list(leaves.values()), cotangent.double())))
    close("the output", out.detach(), expected.detach())
    close("the gradient of x", x.grad, grads["x"])
    for name, parameter in ours.named_parameters():
        close(f"the gradient of {name}", parameter.grad, grads[name])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("use_fc", [False, True])
def test_layer_starts_as_flash_cliffords(dims: int, use_fc: bool) -> None:
    n = 200
    torch.manual_seed(0)
    fresh = module(f"vga{dims}d").Layer(n, use_fc=use_fc)
    own = state(dims, n, use_fc)
    own["linear_bias"] = torch.zeros(1, 1, n)
    assert list(fresh.state_dict()) == [name for name in own if name != "weight_expansion"]
    for name, parameter in fresh.named_parameters():
        assert parameter.shape == own[name].shape and parameter.dtype == own[name].dtype
        assert abs(float(parameter.detach().std() - own[name].std())) <= 0.05 * float(own[name].std()), name


def test_layer_shows_its_options() -> None:
    shown = repr(module("vga3d").Layer(4, use_fc=True))
    assert shown == "Layer(n_features=4, normalize=True, eps=1e-06, use_fc=True, bias='scalar')"


# equivariance


def transformation(dims: int, reflect: bool) -> Tensor:
    """A random rotation, after a reflection if `reflect`, on all blades: its minors."""
    random = torch.Generator().manual_seed(10)
    q, _ = torch.linalg.qr(torch.randn(dims, dims, generator=random, dtype=torch.float64))
    if (torch.linalg.det(q) < 0) != reflect:
        q[:, 0] *= -1
    vectors = [[int(vector) - 1 for vector in blade] for blade in BLADES[dims]]
    matrix = torch.zeros(2**dims, 2**dims, dtype=torch.float64)
    for (i, out), (j, given) in itertools.product(enumerate(vectors), repeat=2):
        if len(out) == len(given):
            matrix[i, j] = torch.linalg.det(q[out][:, given]) if out else 1
    return matrix.to(DEVICE)


def deviation(dims: int, use_fc: bool, reflect: bool, bias: str, normalize: bool) -> float:
    """How far the layer of the transformed features is from the transformed features of the layer, of the largest."""
    ours = layer(dims, 5, use_fc, torch.float64, bias=bias, normalize=normalize)
    x, matrix = features(dims, 5, torch.float64), transformation(dims, reflect)
    with torch.no_grad():
        before, after = ours(torch.tensordot(matrix, x, 1)), torch.tensordot(matrix, ours(x), 1)
    return float((before - after).abs().max() / after.abs().max())


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("use_fc", [False, True])
@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("normalize", [True, False])
def test_layer_is_equivariant_unless_its_bias_is_everywhere(
    dims: int, use_fc: bool, reflect: bool, normalize: bool
) -> None:
    assert deviation(dims, use_fc, reflect, "scalar", normalize) < 1e-10
    assert deviation(dims, use_fc, reflect, "all", normalize) > 1e-2
