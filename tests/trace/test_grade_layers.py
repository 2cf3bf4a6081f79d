"""CGENN's gates and norms, a line each in `tests/specs/grades.yaml`, against torch code that knows slices of blades.

In two algebras, and their references in degenerate and negative ones: values, every gradient by name, second order,
versors, modules.
"""

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from types import ModuleType

import pytest
import torch
from modules import DEVICE, ROOT, compiled, draw, run
from test_groups import drawing, isometry, moved
from torch import Tensor

from kgen.reference import source as reference
from kgen.spec.load import load
from kgen.trace.trace import equivariance, trace

Signature = tuple[int, int, int]
SPEC = (ROOT / "tests" / "specs" / "grades.yaml").read_text(encoding="utf-8")
SIGNATURES = [(3, 0, 0), (1, 3, 0)]
SOME = {"mv_silu_of_some": (1, 2), "normalization_of_some": (0, 2)}
LEAD, FEATURES = (2, 3), 5

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning:triton")  # of lanes that a mask discards


def text(signature: Signature) -> str:
    """The spec over another algebra."""
    named = SPEC.replace("name: grades", "name: grades" + "".join(map(str, signature)))
    return named.replace("[1, 3, 0]", str([*signature]))


@pytest.fixture(params=SIGNATURES, ids=lambda s: "".join(map(str, s)))
def signature(request: pytest.FixtureRequest) -> Signature:
    found: Signature = request.param
    return found


@pytest.fixture
def of(signature: Signature, compiled_folder: Path) -> ModuleType:
    return compiled(text(signature), compiled_folder)


# the layers, of tensors (…, channels, blades) and parameters (channels, grades)


class Layers:
    """CGENN's formulas over the blades of some grades."""

    def __init__(self, signature: Signature, grades: tuple[int, ...]) -> None:
        p, q, _ = signature
        squares = [1.0] * p + [-1.0] * q
        self.grades = grades
        self.norms = [[math.prod(blade) for blade in combinations(squares, grade)] for grade in grades]

    def parts(self, x: Tensor) -> list[Tensor]:
        return list(torch.split(x, [len(norms) for norms in self.norms], -1))

    def squared(self, x: Tensor) -> list[Tensor]:
        """<x_g ~x_g>_0: a blade times its reverse is the product of its generators' squares."""
        return [(part**2 @ torch.tensor(norms).to(part)) for part, norms in zip(self.parts(x), self.norms)]

    def sizes(self, x: Tensor) -> list[Tensor]:
        return [smooth(square) for square in self.squared(x)]

    def gated(self, x: Tensor, a: Tensor, b: Tensor, by: list[Tensor]) -> Tensor:
        """a, b: one column for each of x's grades."""
        found = []
        for i, (grade, part) in enumerate(zip(self.grades, self.parts(x))):
            q = part[..., 0] if grade == 0 else by[i]
            found.append(part / (1 + torch.exp(-(a[:, i] * q + b[:, i])))[..., None])
        return torch.cat(found, -1)

    def mv_silu(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.gated(x, a, b, self.squared(x))

    def mv_silu_norm(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return self.gated(x, a, b, self.sizes(x))

    def mv_silu_of_some(self, x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a has a column and b a row for each grade of the algebra."""
        return self.gated(x, a[:, self.grades], b.T[:, self.grades], self.squared(x))

    def normalization(self, x: Tensor, a: Tensor) -> Tensor:
        shares = (1 / (1 + torch.exp(-a))).unbind(-1)
        found = zip(self.parts(x), shares, self.sizes(x))
        return torch.cat([part / (share * (size - 1) + 1 + 1e-6)[..., None] for part, share, size in found], -1)

    normalization_of_some = normalization

    def layer_norm(self, x: Tensor, a: Tensor) -> Tensor:
        size = smooth(torch.stack(self.squared(x)).sum(0))
        return x * a[:, None] / (size.mean(-1, keepdim=True)[..., None] + 1e-6)


def smooth(square: Tensor) -> Tensor:
    """The norm of a squared norm of any sign."""
    return (square**2 + 1e-16) ** 0.25


KERNELS = ("mv_silu", "mv_silu_norm", "normalization", "layer_norm", *SOME)


def oracle(kernel: str, signature: Signature) -> Callable[..., Tensor]:
    layer: Callable[..., Tensor] = getattr(
        Layers(signature, SOME.get(kernel, tuple(range(sum(signature) + 1)))), kernel
    )
    return layer


def derivatives(function: Callable[..., Tensor], inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The value, every gradient by name, and the gradients of a sum of all gradients, each with random factors."""
    random = torch.Generator().manual_seed(3)
    leaves = {name: x.detach().clone().requires_grad_() for name, x in inputs.items()}
    out = function(*leaves.values())
    cotangent = torch.randn(out.shape, generator=random, dtype=torch.float64).to(out).requires_grad_()
    first = torch.autograd.grad(out, list(leaves.values()), cotangent, create_graph=True)
    factors = [torch.randn(g.shape, generator=random, dtype=torch.float64).to(g) for g in first]
    total = torch.stack([(g * factor).sum() for g, factor in zip(first, factors)]).sum()
    second = torch.autograd.grad(total, [*leaves.values(), cotangent])
    found = {"out": out} | {f"grad_{name}": g for name, g in zip(leaves, first)}
    return found | {f"second_{name}": g for name, g in zip((*leaves, "cotangent"), second)}


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_are_the_layers_to_second_order(kernel: str, signature: Signature, of: ModuleType) -> None:
    inputs = draw(of, kernel, {"n": FEATURES}, lead=LEAD)
    run(of, kernel, inputs)  # launches
    found = derivatives(getattr(of, kernel), inputs)
    expected = derivatives(oracle(kernel, signature), inputs)
    assert len(expected) == 2 * len(inputs) + 2 and all(x.abs().sum() > 0 for x in expected.values())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
def test_references_are_the_layers(kernel: str, signature: Signature, of: ModuleType) -> None:
    inputs = draw(of, kernel, {"n": FEATURES}, lead=LEAD)
    found = derivatives(getattr(of, f"{kernel}_reference"), inputs)
    torch.testing.assert_close(found, derivatives(oracle(kernel, signature), inputs), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("signature", [(3, 0, 0), (0, 3, 0), (1, 3, 0), (2, 0, 1)])
@pytest.mark.parametrize("kernel", KERNELS)
def test_they_commute_with_versors(kernel: str, signature: Signature) -> None:
    """Three reflections, by minors of their matrix."""
    spec = load("specs/unshipped.yaml", text(signature))
    (found,) = (k for k in spec.kernels if k.name == kernel)
    labels, random = trace(spec, found, {}).outputs[0].tensor.labels, drawing(4)
    a, inputs = isometry(signature, random), {}
    for tensor in trace(spec, found, {}).inputs:
        inputs[tensor.name] = random(*(d if isinstance(d, int) else {"b": 2, "n": 3}[d] for d in tensor.dims))
    turned = inputs | {"x": turn(moved(spec, turn(inputs["x"], -1), labels, a), 0)}
    (before,), (after,) = (reference.evaluate(spec, kernel, given, {}) for given in (inputs, turned))
    torch.testing.assert_close(after, turn(moved(spec, turn(before, -1), labels, a), 0))
    assert not torch.allclose(after, before)
    assert equivariance(spec, found) == "pin"


def turn(x: Tensor, blade: int) -> Tensor:
    return x.movedim(blade, -1 if blade == 0 else 0)


def test_modules_take_parameters_as_cgenn_stores_them(of: ModuleType, signature: Signature) -> None:
    grades = sum(signature) + 1
    torch.manual_seed(1)
    a, b = torch.randn(2, 1, 7, grades, device=DEVICE)
    x = torch.randn(2, 7, 2 ** sum(signature), device=DEVICE)
    gate = of.MVSiLU(7, device=DEVICE)
    gate.load_state_dict({"a": a, "b": b})
    torch.testing.assert_close(gate(x), oracle("mv_silu", signature)(x, a[0], b[0]))
    norm = of.NormalizationLayer(7, device=DEVICE)
    assert norm.a.shape == (7, grades) and not norm.a.any()
    torch.testing.assert_close(norm(x), oracle("normalization", signature)(x, norm.a))
    some = of.MVSiLUOfSome(7)
    assert some.a.shape == (1, 7, grades) and some.b.shape == (grades, 7)
