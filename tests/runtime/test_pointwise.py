"""Pointwise functions: exact in their whole domain, with torch's subgradients at kinks, and NaN where torch has it."""

import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from modules import DEVICE, compiled
from torch import Tensor

from benchmarks import pointwise
from kgen.tools.comparison import launches

DTYPES = [torch.float16, torch.float32, torch.float64]
if DEVICE.type != "cpu":  # the interpreter cuts bf16 off where it should round, and takes denormals for other numbers
    DTYPES.append(torch.bfloat16)

KINKS = """\
kgen: 1
name: kinks
kernels:
  of_relu: {inputs: {x: [n]}, body: return relu(x)}
  of_abs: {inputs: {x: [n]}, body: return abs(x)}
  of_sqrt: {inputs: {x: [n]}, body: return sqrt(x)}
  of_maximum: {inputs: {x: [n], y: [n]}, body: "return maximum(x, y)"}
  of_minimum: {inputs: {x: [n], y: [n]}, body: "return minimum(x, y)"}
  of_clamp: {inputs: {x: [n]}, body: "return minimum(maximum(x, -1), 1)"}
  of_where: {inputs: {x: [n], y: [n]}, body: "return where(x > 0, x * y, y)"}
  of_max: {inputs: {x: [b, n]}, body: "return max(x, over=n)"}
  of_column_max: {inputs: {x: [b, n]}, body: "return max(x, over=b)"}
  of_gate: {inputs: {x: [b, n]}, body: "return x * exp(sum(x, over=n))"}
"""


def clamp(x: Tensor) -> Tensor:
    return torch.minimum(torch.maximum(x, x.new_tensor(-1.0)), x.new_tensor(1.0))


FUNCTIONS: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "relu": (1, torch.relu),
    "abs": (1, torch.abs),
    "sqrt": (1, torch.sqrt),
    "maximum": (2, torch.maximum),
    "minimum": (2, torch.minimum),
    "clamp": (1, clamp),
    "where": (2, lambda x, y: torch.where(x > 0, x * y, y)),
}

pytestmark = [
    pytest.mark.usefixtures("poisoned"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # of infinities and NaN, which are wanted here
]


@pytest.fixture(scope="module")
def alone(compiled_folder: Path) -> ModuleType:
    return compiled(pointwise.spec(), compiled_folder)


@pytest.fixture(scope="module")
def kinks(compiled_folder: Path) -> ModuleType:
    return compiled(KINKS, compiled_folder)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", pointwise.FUNCTIONS)
def test_no_less_exact_than_torch(name: str, dtype: torch.dtype, alone: ModuleType) -> None:
    """Values and two derivatives, element by element, from -1e4 to 1e4, denormals and infinities included."""
    with launches(alone) as launched:
        rows = list(pointwise.errors(alone, name, dtype, DEVICE))
    assert len(launched) >= 2
    assert {row.order: row.excess for row in rows if row.excess > 1} == {}


def test_the_benchmark_compiles_its_own(tmp_path: Path) -> None:
    assert {f"of_{name}" for name in pointwise.FUNCTIONS} == set(pointwise.compiled(tmp_path).KERNELS)


def test_what_is_less_exact_is_found(alone: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sigmoid that cancels, and one that is off by a thousandth at one argument alone."""
    for wrong in (lambda x: 0.5 + 0.5 * torch.tanh(0.5 * x), lambda x: torch.sigmoid(x) * (1 + 1e-3 * (x == -8.0))):
        monkeypatch.setattr(alone, "of_sigmoid", wrong)
        assert next(iter(pointwise.errors(alone, "sigmoid", torch.float32, DEVICE))).excess > 1


def gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    leaves = [x.clone().requires_grad_() for x in inputs]
    value = function(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves, torch.full_like(value, 3.0))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_kinks(name: str, dtype: torch.dtype, kinks: ModuleType) -> None:
    """At zeros, ties and NaN: kernel and reference are torch's."""
    count, function = FUNCTIONS[name]
    values = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, math.inf, -math.inf, math.nan], dtype=dtype, device=DEVICE)
    pairs = torch.cartesian_prod(values, values)
    inputs = [pairs[:, i].contiguous() for i in range(2)][:count]
    expected = gradients(function, inputs)
    for of in (getattr(kinks, f"of_{name}"), getattr(kinks, f"of_{name}_reference")):
        for found, exact in zip(gradients(of, inputs), expected):
            torch.testing.assert_close(found, exact, rtol=1e-6, atol=0, equal_nan=True)


@pytest.mark.parametrize(("name", "dim"), [("of_max", 1), ("of_column_max", 0)])
@pytest.mark.parametrize("n", [5, 300])
def test_ties_and_nan_of_a_maximum(name: str, dim: int, n: int, kinks: ModuleType) -> None:
    """Ties share; one NaN is the maximum, as torch.amax has it."""
    x = torch.randint(-2, 2, (7, n), generator=torch.Generator().manual_seed(0)).double().to(DEVICE)
    x[3, 2] = math.nan
    expected = gradients(lambda x: torch.amax(x, dim), [x])
    for found, exact in zip(gradients(getattr(kinks, name), [x]), expected):
        torch.testing.assert_close(found, exact, rtol=0, atol=0, equal_nan=True)


def test_gate_that_underflows(kinks: ModuleType) -> None:
    """Nothing is divided by an exponential, which may be zero."""
    x = torch.full((2, 40), -5.0, device=DEVICE)
    x[1] = 0.01
    for found, exact in zip(gradients(kinks.of_gate, [x]), gradients(kinks.of_gate_reference, [x])):
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-30)
