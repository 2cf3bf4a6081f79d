"""Weights that are declared for grades, or have more grades than what they are applied to: kernels against einsum.

The expected values are written with einsum over blades that are listed here; nothing of the compiler or the reference
takes part in them. Kernels run on a GPU or in Triton's interpreter.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from modules import agree, compiled, draw, turned
from torch import Tensor

from kgen.tools.comparison import launches

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards

TEXT = """\
kgen: 1
name: graded
algebra: {signature: [2, 0, 1]}
layout:
  multivector: [blade, b, n]
  weights: {order: [left, out, right], memory: [n, path], fully_connected: [path, n, m], gradewise: [grade, n, m]}
kernels:
  translated:
    inputs: {x: multivector, w: "weights(x)[n, m]", v: "weights(grades(1, 2, 3))[n, m]"}
    body: return mv_linear(x, w) + mv_linear(e0 * x, v)
  part:
    inputs: {x: multivector, w: "weights(x)[n, m]"}
    body: return mv_linear(x.grade(0, 2), w)
  part_of_its_own:
    inputs: {x: multivector, w: "weights(grades(0, 2))[n, m]", c: "[m]"}
    body: return mv_linear(x.grade(0, 2), w, c)
  halves:
    inputs: {x: multivector, y: even, w: "weights(multivector)[n, m]"}
    body: return mv_linear(odd(x), w) + mv_linear(tanh(y.e) * y, w)
  steered:
    inputs: {x: even, y: multivector, w: "weights(x, grades(1, 2))"}
    body: return sgp(x, y.grade(1), w)
  connected:
    inputs: {x: multivector, y: multivector, w: "weights(even, y)[n, m]"}
    body: return fcgp(x.grade(0), y.grade(1, 2), w)
"""
GRADES = (0, 1, 1, 1, 2, 2, 2, 3)  # of e e0 e1 e2 e01 e02 e12 e012
RAISED = ((0, 1), (2, 4), (3, 5), (6, 7))  # e0 times the first blade is the second, and zero for the others
SIZES = {"b": 3, "n": 5, "m": 4}


def linear(x: Tensor, weight: Tensor, grades: tuple[int, ...], weighted: tuple[int, ...] = (0, 1, 2, 3)) -> Tensor:
    """On all blades: those of `grades` by the matrix of their grade, of which `weight` has those in `weighted`."""
    zero = x[0] @ weight[0] * 0
    return torch.stack([x[i] @ weight[weighted.index(g)] if g in grades else zero for i, g in enumerate(GRADES)])


def raised(x: Tensor) -> Tensor:
    """e0 x."""
    out = [torch.zeros_like(x[0])] * 8
    for source, target in RAISED:
        out[target] = x[source]
    return torch.stack(out)


def on(x: Tensor, *grades: int) -> Tensor:
    return x[[i for i, g in enumerate(GRADES) if g in grades]]


def whole(y: Tensor) -> Tensor:
    """An even multivector on all blades."""
    zero = torch.zeros_like(y[0])
    return torch.stack([y[0], zero, zero, zero, y[1], y[2], y[3], zero])


def translated(x: Tensor, w: Tensor, v: Tensor) -> Tensor:
    return linear(x, w, (0, 1, 2, 3)) + linear(raised(x), v, (1, 2, 3), weighted=(1, 2, 3))


def part(x: Tensor, w: Tensor) -> Tensor:
    return on(linear(x, w, (0, 2)), 0, 2)


def part_of_its_own(x: Tensor, w: Tensor, c: Tensor) -> Tensor:
    out = on(linear(x, w, (0, 2), weighted=(0, 2)), 0, 2)
    return torch.cat([out[:1] + c, out[1:]])


def halves(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    return linear(x, w, (1, 3)) + linear(whole(torch.tanh(y[0]) * y), w, (0, 2))


def steered(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """(s + x01 e01 + x02 e02 + x12 e12) (y0 e0 + y1 e1 + y2 e2), of the six paths 011, 211 and 231."""
    a, b, c = w[:, 0], w[:, 3], w[:, 5]
    s, x01, x02, x12 = x
    _, y0, y1, y2 = y[:4]
    vector = [a * s * y0 + b * (x01 * y1 + x02 * y2), a * s * y1 + b * x12 * y2, a * s * y2 - b * x12 * y1]
    return torch.stack([*vector, c * (x01 * y2 - x02 * y1 + x12 * y0)])


def connected(x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """The scalar of x times the vector and the bivector of y: paths 011 and 022."""
    products = x[:1] * on(y, 1, 2)
    return torch.cat([products[:3] @ w[1], products[3:] @ w[2]])


EXPECTED: Mapping[str, Callable[..., Tensor]] = {
    f.__name__: f for f in (translated, part, part_of_its_own, halves, steered, connected)
}


def blades_first(x: Tensor) -> Tensor:
    return x.movedim(-1, 0)


@pytest.fixture(params=["blade first", "blade last"])
def graded(request: pytest.FixtureRequest, compiled_folder: Path) -> tuple[ModuleType, bool]:
    last = request.param == "blade last"
    return compiled(turned(TEXT).replace("graded", "graded_last") if last else TEXT, compiled_folder), last


def derivatives(function: Callable[..., Any], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The result, each gradient of something that is not linear in it, and the gradients of their sum of sines."""
    leaves = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    out = function(*leaves.values())
    first = torch.autograd.grad(out.sin().sum(), list(leaves.values()), create_graph=True)
    total = torch.stack([(g * torch.linspace(1, 2, g.numel()).view(g.shape).to(g)).sin().sum() for g in first]).sum()
    second = torch.autograd.grad(total, list(leaves.values()))
    found = {"out": out, **{f"d {name}": g for name, g in zip(leaves, first)}}
    return {**found, **{f"dd {name}": g for name, g in zip(leaves, second)}}


@pytest.mark.parametrize("kernel", EXPECTED)
def test_values_and_derivatives(graded: tuple[ModuleType, bool], kernel: str) -> None:
    of, last = graded
    inputs = draw(of, kernel, SIZES)

    def expected(*values: Tensor) -> Tensor:
        moved = [blades_first(x) if last and name in "xy" else x for name, x in zip(inputs, values)]
        out = EXPECTED[kernel](*moved)
        return out.movedim(0, -1) if last else out

    with launches(of) as launched:
        found = derivatives(getattr(of, kernel), inputs)
    assert launched
    by_hand = derivatives(expected, inputs)
    assert all(value.any() for value in by_hand.values())
    torch.testing.assert_close(found, by_hand, rtol=1e-9, atol=1e-9)  # of a dict it names the entry
    agree(of, kernel, inputs)


def test_grades_that_are_not_there_take_no_part(graded: tuple[ModuleType, bool]) -> None:
    """Their weights may be NaN, and have a gradient of zero; the result has no place for them."""
    of, last = graded
    x, w = draw(of, "part", SIZES).values()
    w = w.clone()
    w[1::2] = math.nan
    w.requires_grad_()
    out = of.part(x, w)
    assert out.shape[-1 if last else 0] == 4 and out.isfinite().all()
    (grad,) = torch.autograd.grad(out.sum(), w)
    assert not grad[1::2].any() and grad[::2].isfinite().all() and grad[::2].all()


@pytest.mark.parametrize(
    ("kernel", "products"), [("part", 4), ("part_of_its_own", 4), ("halves", 8), ("translated", 12)]
)
def test_what_vanishes_is_not_computed(graded: tuple[ModuleType, bool], kernel: str, products: int) -> None:
    """There is a product of matrices for each blade that a value has, four for e0 x, however many weights have."""
    of, _ = graded
    work = of.KERNELS[kernel]["work"]["forward"]
    assert [counts["product"] for counts in work.values() if "product" in counts] == [products]


def test_shapes_and_paths(graded: tuple[ModuleType, bool]) -> None:
    of, _ = graded
    assert of.PATHS["translated.v"] == ((1,), (2,), (3,)) and of.PATHS["part_of_its_own.w"] == ((0,), (2,))
    assert of.PATHS["connected.w"][:3] == ((0, 0, 0), (0, 1, 1), (0, 2, 2))
    assert [of.PATHS["steered.w"][i] for i in (0, 3, 5)] == [(0, 1, 1), (2, 1, 1), (2, 3, 1)]
    assert len(of.PATHS["steered.w"]) == 6
    x, w, v = draw(of, "translated", SIZES).values()
    with pytest.raises(ValueError, match="v"):
        of.translated(x, w, w)
    for name in of.CONVENTIONS:
        assert torch.equal(of.weights_from(of.weights_to(v, name, of="translated.v"), name, of="translated.v"), v)


def turn(x: Tensor, angle: float, mirrored: bool) -> Tensor:
    """The rotation, or the reflection at an axis, of the plane e1 e2 on all blades, of which e0 is left as it is."""
    c, s = math.cos(angle), math.sin(angle)
    sign = -1 if mirrored else 1
    e, e0, e1, e2, e01, e02, e12, e012 = x
    plane = [c * e1 - s * e2, sign * (s * e1 + c * e2)]
    moments = [c * e01 - s * e02, sign * (s * e01 + c * e02)]
    return torch.stack([e, e0, *plane, *moments, sign * e12, sign * e012])


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("kernel", ["translated", "part", "part_of_its_own"])
def test_equivariant_in_the_plane(compiled_folder: Path, kernel: str, mirrored: bool) -> None:
    """Scalars stay, so a bias may be added to them; e0, by which `translated` multiplies, is left as it is."""
    of = compiled(TEXT, compiled_folder)
    x, *weights = draw(of, kernel, SIZES).values()
    function = getattr(of, kernel)
    out, moved = function(x, *weights), function(turn(x, 0.7, mirrored), *weights)
    out = out if kernel == "translated" else whole(out)
    expected = turn(out, 0.7, mirrored)
    assert not torch.allclose(expected, out)
    torch.testing.assert_close(moved, expected if kernel == "translated" else on(expected, 0, 2), rtol=1e-9, atol=1e-9)
    claimed = "The function is equivariant under all versors of the algebra." in function.__doc__
    assert claimed == (kernel != "translated"), "a constant blade has coordinates"
